#include "server/prompt.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

#include "tokenizer/chat_prompt.h"

namespace hearth {
namespace {

ApiError too_long(const ModelRef& model, std::size_t num_tokens, std::string_view problem) {
  const std::size_t max_len = model.max_model_len();
  ApiError error = invalid_field(
      "", "context_length_exceeded",
      fmt::format("This model's maximum context length is {} tokens, but the prompt has {}. "
                  "Shorten the prompt.",
                  max_len, problem));
  error.details = {{"n_prompt_tokens", static_cast<std::int64_t>(num_tokens)},
                   {"n_ctx", static_cast<std::int64_t>(max_len)}};
  return error;
}

// What can be said of the length of a prompt that is not tokenized yet.
ApiResult<void> check_text_length(const ModelRef& model, std::span<const TextSpan> spans) {
  const std::size_t min_tokens = model.tokenizer->min_tokens(spans);
  if (min_tokens <= model.max_model_len()) return {};
  std::size_t num_bytes = 0;
  for (const TextSpan& span : spans)
    num_bytes += span.text.size();
  return std::unexpected(
      too_long(model, min_tokens,
               fmt::format("{} bytes, which are at least {} tokens (of at most {} bytes each)",
                           num_bytes, min_tokens, model.tokenizer->max_token_bytes())));
}

// As the reference libraries offer it to templates: tools and documents exist, but are none.
json::Object template_context(const ModelRef& model, const ChatInput& input) {
  json::Object context{{"messages", input.messages},
                       {"add_generation_prompt", input.add_generation_prompt},
                       {"tools", nullptr},
                       {"documents", nullptr}};
  for (const json::Member& member : input.template_kwargs)
    context.append(member.key, member.value);
  add_special_tokens(*model.tokenizer, context);
  return context;
}

ApiError stopped() {
  return unavailable("unavailable", "The request ended before its prompt was read.");
}

}  // namespace

ApiResult<PreparedPrompt> prepare_chat(const ModelRef& model, const ChatInput& input,
                                       const PromptOptions& options) {
  if (model.chat_template == nullptr) {
    return std::unexpected(invalid_field(
        "messages", "no_chat_template",
        fmt::format("The model '{}' cannot be asked by chat: {}. Use /v1/completions.", model.name,
                    model.chat_template_problem)));
  }
  const auto rendered =
      model.chat_template->render(template_context(model, input), {.stop = options.stop});
  if (options.stop.stop_requested()) return std::unexpected(stopped());
  if (!rendered) {
    return std::unexpected(
        invalid_field("messages", "chat_template_error", rendered.error().message()));
  }
  const std::vector<TextSpan> spans = text_spans(*rendered);
  if (options.must_fit) {
    if (auto fits = check_text_length(model, spans); !fits) return std::unexpected(fits.error());
  }
  PreparedPrompt prompt;
  prompt.ids = input.add_special_tokens
                   ? encode_prompt(*model.tokenizer, spans, options.stop)
                   : model.tokenizer->encode(spans, /*add_special=*/false, options.stop);
  if (options.stop.stop_requested()) return std::unexpected(stopped());
  return prompt;
}

ApiResult<PreparedPrompt> prepare_text(const ModelRef& model, const PromptInput& input,
                                       bool add_special_tokens, const PromptOptions& options) {
  const Tokenizer& tokenizer = *model.tokenizer;
  PreparedPrompt prompt;
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&input)) {
    prompt.ids = *ids;
    for (const TokenId id : *ids)
      prompt.text += tokenizer.token_bytes(id, /*render_control=*/true);
    return prompt;
  }
  prompt.text = std::get<std::string>(input);
  if (options.must_fit) {
    const TextSpan span{.text = prompt.text, .special = SpecialText::kParse};
    if (auto fits = check_text_length(model, {&span, 1}); !fits)
      return std::unexpected(fits.error());
  }
  prompt.ids = tokenizer.encode(prompt.text, add_special_tokens, SpecialText::kParse, options.stop);
  if (options.stop.stop_requested()) return std::unexpected(stopped());
  const SpecialTokens& special = tokenizer.special();
  if (add_special_tokens && special.add_bos && special.bos) {
    const bool doubled =
        prompt.ids.size() >= 2 && prompt.ids[0] == *special.bos && prompt.ids[1] == *special.bos;
    if (doubled) {
      prompt.ids.erase(prompt.ids.begin());
    } else if (!prompt.ids.empty() && prompt.ids.front() == *special.bos) {
      prompt.num_added = 1;
    }
  }
  return prompt;
}

ApiResult<void> check_prompt_length(const ModelRef& model, const PreparedPrompt& prompt,
                                    const GenerationParams& params) {
  if (prompt.ids.empty()) {
    return std::unexpected(invalid_field("prompt", "empty_prompt", "The prompt has no tokens."));
  }
  const std::size_t max_len = model.max_model_len();
  const std::size_t shortest_answer = params.max_tokens == 0u ? 0 : 1;
  if (prompt.ids.size() + shortest_answer <= max_len) return {};
  return std::unexpected(
      too_long(model, prompt.ids.size(),
               fmt::format("{} tokens{}", prompt.ids.size(),
                           shortest_answer == 1 ? " and the answer needs at least one" : "")));
}

}  // namespace hearth
