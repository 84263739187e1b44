#include "server/answer_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace hearth {
namespace {

// JSON has no infinities; this is what OpenAI's API shows for a token that cannot come.
constexpr double kLowestLogprob = -9999.0;

json::Value logprob_value(float logprob) {
  const double value = static_cast<double>(logprob);
  return value >= kLowestLogprob ? value : kLowestLogprob;  // NaN as well.
}

std::string_view finish_text(FinishReason reason) {
  return reason == FinishReason::kLength ? "length" : "stop";
}

json::Value byte_list(std::string_view bytes) {
  json::Array out;
  for (const char c : bytes)
    out.emplace_back(static_cast<int>(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

json::Value usage_json(const Usage& usage) {
  const auto count = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  return json::Object{
      {"prompt_tokens", count(usage.prompt_tokens)},
      {"completion_tokens", count(usage.completion_tokens)},
      {"total_tokens", count(usage.prompt_tokens + usage.completion_tokens)},
      {"prompt_tokens_details", json::Object{{"cached_tokens", count(usage.cached_tokens)}}},
      {"completion_tokens_details", json::Object{{"reasoning_tokens", 0}}}};
}

json::Value AnswerFormat::envelope(bool is_chunk, json::Array choices,
                                   std::optional<json::Value> usage) const {
  std::string_view object = "text_completion";
  if (header_.kind == AnswerKind::kChat) {
    object = is_chunk ? "chat.completion.chunk" : "chat.completion";
  }
  json::Object out{{"id", header_.id},
                   {"object", object},
                   {"created", header_.created},
                   {"model", header_.model},
                   {"choices", std::move(choices)}};
  if (usage) out.append("usage", *std::move(usage));
  out.append("system_fingerprint", header_.fingerprint);
  return out;
}

json::Value AnswerFormat::role_choice(std::size_t index) const {
  return json::Object{{"index", static_cast<std::int64_t>(index)},
                      {"delta", json::Object{{"role", "assistant"}, {"content", ""}}},
                      {"logprobs", nullptr},
                      {"finish_reason", nullptr}};
}

json::Value AnswerFormat::text_choice(std::size_t index, std::string text,
                                      const std::vector<ScoredToken>& tokens) const {
  json::Object out{{"index", static_cast<std::int64_t>(index)}};
  if (header_.kind == AnswerKind::kChat) {
    out.append("delta", json::Object{{"content", std::move(text)}});
  } else {
    out.append("text", std::move(text));
  }
  out.append("logprobs", logprobs(tokens));
  out.append("finish_reason", nullptr);
  return out;
}

json::Value AnswerFormat::end_choice(std::size_t index, FinishReason reason) const {
  json::Object out{{"index", static_cast<std::int64_t>(index)}};
  if (header_.kind == AnswerKind::kChat) {
    out.append("delta", json::Object());
  } else {
    out.append("text", "");
  }
  out.append("logprobs", nullptr);
  out.append("finish_reason", finish_text(reason));
  return out;
}

json::Value AnswerFormat::whole_choice(std::size_t index, std::string text,
                                       const std::vector<ScoredToken>& tokens,
                                       FinishReason reason) const {
  json::Object out{{"index", static_cast<std::int64_t>(index)}};
  if (header_.kind == AnswerKind::kChat) {
    out.append(
        "message",
        json::Object{{"role", "assistant"}, {"content", std::move(text)}, {"refusal", nullptr}});
  } else {
    out.append("text", std::move(text));
  }
  out.append("logprobs", logprobs(tokens));
  out.append("finish_reason", finish_text(reason));
  return out;
}

json::Value AnswerFormat::logprobs(const std::vector<ScoredToken>& tokens) const {
  if (!header_.with_logprobs) return nullptr;
  return header_.kind == AnswerKind::kChat ? chat_logprobs(tokens) : legacy_logprobs(tokens);
}

// A token as text; one that is not valid UTF-8 by itself in the spelling of OpenAI's API.
std::string AnswerFormat::token_text(TokenId id) const {
  std::string bytes = tokenizer_.token_bytes(id, /*render_control=*/true);
  if (utf8::is_valid(bytes)) return bytes;
  std::string out = "bytes:";
  for (const char c : bytes)
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

json::Value AnswerFormat::chat_logprobs(const std::vector<ScoredToken>& tokens) const {
  const auto entry = [this](const TokenLogprob& token) {
    return json::Object{{"token", token_text(token.id)},
                        {"logprob", logprob_value(token.logprob)},
                        {"bytes", byte_list(tokenizer_.token_bytes(token.id, true))}};
  };
  json::Array content;
  for (const ScoredToken& token : tokens) {
    if (!token.logprobs) continue;
    json::Array top;
    for (const TokenLogprob& alternative : token.logprobs->top)
      top.emplace_back(entry(alternative));
    json::Object out = entry(token.logprobs->chosen);
    out.append("top_logprobs", std::move(top));
    content.emplace_back(std::move(out));
  }
  return json::Object{{"content", std::move(content)}, {"refusal", nullptr}};
}

json::Value AnswerFormat::legacy_logprobs(const std::vector<ScoredToken>& tokens) const {
  json::Array texts, values, tops, offsets;
  for (const ScoredToken& token : tokens) {
    texts.emplace_back(token_text(token.id));
    offsets.emplace_back(static_cast<std::int64_t>(token.text_offset));
    if (!token.logprobs) {
      values.emplace_back(nullptr);
      tops.emplace_back(nullptr);
      continue;
    }
    values.push_back(logprob_value(token.logprobs->chosen.logprob));
    // Best first: of two tokens with the same text the more probable one stays. The chosen token is
    // always there.
    json::Object top;
    for (const TokenLogprob& alternative : token.logprobs->top) {
      std::string text = token_text(alternative.id);
      if (top.find(text) == nullptr)
        top.append(std::move(text), logprob_value(alternative.logprob));
    }
    std::string chosen = token_text(token.id);
    if (top.find(chosen) == nullptr) {
      top.append(std::move(chosen), logprob_value(token.logprobs->chosen.logprob));
    }
    tops.emplace_back(std::move(top));
  }
  return json::Object{{"tokens", std::move(texts)},
                      {"token_logprobs", std::move(values)},
                      {"top_logprobs", std::move(tops)},
                      {"text_offset", std::move(offsets)}};
}

void CodePointCounter::push(std::string_view bytes) {
  incomplete_ += bytes;
  const std::size_t held = utf8::incomplete_suffix_length(incomplete_);
  std::string_view complete = std::string_view(incomplete_).substr(0, incomplete_.size() - held);
  while (!complete.empty()) {
    complete.remove_prefix(utf8::decode(complete).length);
    ++count_;
  }
  incomplete_.erase(0, incomplete_.size() - held);
}

}  // namespace hearth
