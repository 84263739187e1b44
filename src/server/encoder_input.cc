#include "server/encoder_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace hearth {
namespace {

ApiError too_long(const std::string& path, std::size_t num_tokens, std::size_t max_tokens,
                  std::string_view length) {
  ApiError error = invalid_field(
      path, "context_length_exceeded",
      fmt::format("This model's maximum context length is {} tokens, but '{}' has {}. Shorten it, "
                  "or ask for it to be cut with 'truncate_prompt_tokens': -1.",
                  max_tokens, path, length));
  error.details = {{"n_prompt_tokens", static_cast<std::int64_t>(num_tokens)},
                   {"n_ctx", static_cast<std::int64_t>(max_tokens)}};
  return error;
}

// How many ids of two texts stay when `room` are left for both.
std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second,
                                                  std::size_t room) {
  const bool swapped = first > second;
  auto [shorter, longer] = std::minmax(first, second);
  std::size_t short_part = shorter;
  std::size_t long_part = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (short_part + long_part > room) {
    short_part = room / 2;
    long_part = short_part + room % 2;
  }
  return swapped ? std::pair(long_part, short_part) : std::pair(short_part, long_part);
}

}  // namespace

InputPreparer::InputPreparer(const ModelRef& model, const Truncation& truncation,
                             std::stop_token stop)
    : model_(model),
      truncation_(truncation),
      stop_(std::move(stop)),
      max_tokens_(std::min(truncation.max_tokens.value_or(SIZE_MAX), model.max_model_len())) {}

ApiResult<void> InputPreparer::check() const {
  const std::size_t limit = model_.max_model_len();
  if (truncation_.max_tokens.value_or(0) <= limit) return {};
  return std::unexpected(invalid_field(
      "truncate_prompt_tokens", "value_out_of_range",
      fmt::format("'truncate_prompt_tokens' is {}, but the model reads at most {} tokens; -1 cuts "
                  "to that.",
                  *truncation_.max_tokens, limit)));
}

// Before megabytes are tokenized that cannot fit.
ApiResult<void> InputPreparer::check_length(std::span<const std::string_view> texts,
                                            const std::string& path) const {
  if (truncation_.allowed) return {};
  std::vector<TextSpan> spans;
  std::size_t num_bytes = 0;
  for (const std::string_view text : texts) {
    spans.push_back({.text = text, .special = SpecialText::kPlain});
    num_bytes += text.size();
  }
  const std::size_t min_tokens = model_.tokenizer->min_tokens(spans);
  if (min_tokens <= max_tokens_) return {};
  return std::unexpected(
      too_long(path, min_tokens, max_tokens_,
               fmt::format("{} bytes, which are at least {} tokens", num_bytes, min_tokens)));
}

// As one text, so that tokens are those of the whole; what users wrote never becomes a special one.
ApiResult<EmbeddingInput> InputPreparer::join(std::string_view first,
                                              std::string_view second) const {
  const EncoderConfig& config = model_.embedder->config();
  EmbeddingInput input;
  if (config.pair_template && config.pair_template->empty()) {
    return std::unexpected(invalid_field(
        "model", "unsupported_model",
        "The model's files do not say how it reads two texts: there is no template 'rerank' "
        "('tokenizer.chat_template.rerank' of GGUF files)."));
  }
  if (config.pair_template) {
    const std::string_view whole = *config.pair_template;
    std::vector<TextSpan> spans;
    std::size_t from = 0;
    for (std::size_t at = 0; at < whole.size();) {
      const bool query = whole.substr(at).starts_with(kQueryPlace);
      if (!query && !whole.substr(at).starts_with(kDocumentPlace)) {
        ++at;
        continue;
      }
      spans.push_back({.text = whole.substr(from, at - from), .special = SpecialText::kParse});
      spans.push_back({.text = query ? first : second, .special = SpecialText::kPlain});
      at += query ? kQueryPlace.size() : kDocumentPlace.size();
      from = at;
    }
    spans.push_back({.text = whole.substr(from), .special = SpecialText::kParse});
    input.tokens = model_.tokenizer->encode(spans, /*add_special=*/false, stop_);
    return input;
  }
  EncodedPair pair = model_.tokenizer->encode_pair(first, second, SpecialText::kPlain, stop_);
  input.tokens = std::move(pair.ids);
  // Where there is only one type the tokenizer may still tell two apart, for other models.
  if (config.num_token_types > 1) {
    input.token_types.assign(pair.type_ids.begin(), pair.type_ids.end());
  }
  return input;
}

ApiResult<void> InputPreparer::check_text(std::string_view text, const std::string& path) const {
  if (truncation_.allowed) return {};
  const std::string_view texts[] = {text};
  if (auto fits = check_length(texts, path); !fits) return fits;
  const auto alone = join(text, "");
  if (!alone) return std::unexpected(alone.error());
  const std::size_t num_tokens = alone->tokens.size();
  if (num_tokens <= max_tokens_) return {};
  return std::unexpected(
      too_long(path, num_tokens, max_tokens_, fmt::format("{} tokens", num_tokens)));
}

// Special tokens that the tokenizer put around texts, and never makes from them.
bool InputPreparer::is_frame(TokenId id) const {
  return model_.tokenizer->kind(id) == TokenKind::kControl &&
         id != model_.tokenizer->special().unknown;
}

// A sequence as the tokenizer frames it: special ids, a text, and for pairs special ids between and
// a second text, special ids. Offsets into the ids.
struct InputPreparer::Pieces {
  std::size_t first_begin = 0, first_end = 0, second_begin = 0, second_end = 0;
};

// Cuts ids off the ends of the texts, never special ones. False when that leaves nothing of them.
bool InputPreparer::cut(EmbeddingInput& input) const {
  const std::vector<TokenId>& ids = input.tokens;
  const auto skip = [&](std::size_t from, bool frame) {
    while (from < ids.size() && is_frame(ids[from]) == frame)
      ++from;
    return from;
  };
  Pieces at;
  at.first_begin = skip(0, true);
  at.first_end = skip(at.first_begin, false);
  at.second_begin = skip(at.first_end, true);
  at.second_end = skip(at.second_begin, false);
  const std::size_t first = at.first_end - at.first_begin;
  const std::size_t second = at.second_end - at.second_begin;
  const std::size_t num_special = ids.size() - first - second;
  if (num_special >= max_tokens_) return false;
  const auto [keep_first, keep_second] = longest_first(first, second, max_tokens_ - num_special);
  const auto erase = [&](auto& values) {
    if (values.empty()) return;
    const auto place = [&values](std::size_t offset) {
      return values.begin() + static_cast<std::ptrdiff_t>(offset);
    };
    values.erase(place(at.second_begin + keep_second), place(at.second_end));
    values.erase(place(at.first_begin + keep_first), place(at.first_end));
  };
  erase(input.tokens);
  erase(input.token_types);
  return input.tokens.size() <= max_tokens_;
}

ApiResult<void> InputPreparer::add_sequence(EmbeddingInput input, const std::string& path) {
  if (stop_.stop_requested()) {
    return std::unexpected(
        unavailable("unavailable", "The request ended before its texts were read."));
  }
  if (input.tokens.empty()) {
    return std::unexpected(
        invalid_field(path, "empty_input", fmt::format("'{}' has no tokens.", path)));
  }
  const bool is_long = input.tokens.size() > max_tokens_;
  if (is_long && !truncation_.allowed) {
    return std::unexpected(too_long(path, input.tokens.size(), max_tokens_,
                                    fmt::format("{} tokens", input.tokens.size())));
  }
  if (is_long && !cut(input)) {
    return std::unexpected(invalid_field(
        path, "value_out_of_range",
        fmt::format("'{}' cannot be cut to {} tokens: its special tokens leave no room.", path,
                    max_tokens_)));
  }
  out_.num_tokens += input.tokens.size();
  out_.num_truncated += is_long ? 1 : 0;
  out_.truncated.push_back(is_long);
  out_.inputs.push_back(std::move(input));
  return {};
}

ApiResult<void> InputPreparer::add(const PromptInput& input, std::string_view prompt,
                                   const std::string& path) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&input)) {
    return add_sequence({.tokens = *ids, .token_types = {}}, path);
  }
  const std::string& text = std::get<std::string>(input);
  const std::string_view parts[] = {prompt, text};
  if (auto fits = check_length(parts, path); !fits) return fits;
  const TextSpan spans[] = {{.text = prompt, .special = SpecialText::kPlain},
                            {.text = text, .special = SpecialText::kPlain}};
  return add_sequence(
      {.tokens = model_.tokenizer->encode(spans, /*add_special=*/true, stop_), .token_types = {}},
      path);
}

ApiResult<void> InputPreparer::add_pair(std::string_view first, std::string_view second,
                                        const std::string& path) {
  const bool templated = model_.embedder->config().pair_template.has_value();
  if (!templated && !model_.tokenizer->joins_pairs()) {
    return std::unexpected(invalid_field(
        "model", "unsupported_model",
        "The model's file does not say what stands between two texts ('tokenizer.ggml"
        ".add_sep_token' is missing). Convert the model anew, or serve its Hugging Face "
        "directory."));
  }
  const std::string_view parts[] = {first, second};
  if (auto fits = check_length(parts, path); !fits) return fits;
  auto input = join(first, second);
  if (!input) return std::unexpected(input.error());
  if (templated && input->tokens.size() > max_tokens_) {
    return std::unexpected(invalid_field(
        path, "context_length_exceeded",
        fmt::format(
            "'{}' and the query have {} tokens in the model's template, which reads at most "
            "{}, and cannot be cut: the question stands behind them.",
            path, input->tokens.size(), max_tokens_)));
  }
  return add_sequence(*std::move(input), path);
}

}  // namespace hearth
