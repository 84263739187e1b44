// The JSON of answers: OpenAI's chat completion and text completion objects, whole and in chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "engine/request.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

enum class AnswerKind : std::uint8_t { kChat, kCompletion };

// One token with its log-probabilities.
struct ScoredToken {
  TokenId id = 0;
  std::size_t text_offset = 0;               // In code points of the answer's text.
  std::optional<PositionLogprobs> logprobs;  // Unset for a prompt's first token.
};

struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
  std::uint64_t cached_tokens = 0;
};

json::Value usage_json(const Usage& usage);

// What all chunks of one answer share, and the shapes around the text. Immutable; borrows the
// tokenizer.
class AnswerFormat {
 public:
  struct Header {
    AnswerKind kind = AnswerKind::kChat;
    std::string id;
    std::int64_t created = 0;
    std::string model;
    std::string fingerprint;
    bool with_logprobs = false;
  };

  AnswerFormat(Header header, const Tokenizer& tokenizer)
      : header_(std::move(header)), tokenizer_(tokenizer) {}

  AnswerKind kind() const { return header_.kind; }

  // The object around choices; `usage` follows if given.
  json::Value envelope(bool is_chunk, json::Array choices, std::optional<json::Value> usage) const;

  // Chunk choices: a chat's first one, text, and the end.
  json::Value role_choice(std::size_t index) const;
  json::Value text_choice(std::size_t index, std::string text,
                          const std::vector<ScoredToken>& tokens) const;
  json::Value end_choice(std::size_t index, FinishReason reason) const;

  // A choice of a whole answer.
  json::Value whole_choice(std::size_t index, std::string text,
                           const std::vector<ScoredToken>& tokens, FinishReason reason) const;

 private:
  json::Value logprobs(const std::vector<ScoredToken>& tokens) const;
  json::Value chat_logprobs(const std::vector<ScoredToken>& tokens) const;
  json::Value legacy_logprobs(const std::vector<ScoredToken>& tokens) const;
  std::string token_text(TokenId id) const;

  Header header_;
  const Tokenizer& tokenizer_;
};

// Counts the code points of a text that arrives in pieces which may split them.
class CodePointCounter {
 public:
  // Complete code points so far; malformed bytes count as one each, as U+FFFD would.
  std::size_t count() const { return count_; }
  void push(std::string_view bytes);

 private:
  std::string incomplete_;
  std::size_t count_ = 0;
};

}  // namespace hearth
