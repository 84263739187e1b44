// Finds the tokens that are matched as a whole in the input, before any model sees it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace hearth {

struct SpecialToken {
  std::string text;  // As it appears in the input; not empty.
  TokenId id = -1;
  bool is_control = false;         // Matches only where the input may contain special tokens.
  bool eats_space_before = false;  // White space around it is dropped.
  bool eats_space_after = false;
  bool whole_words_only = false;  // Not where a letter or digit stands beside it.
};

// Immutable. The leftmost match wins, of several at one place the longest (Hugging Face
// `tokenizers`, AddedVocabulary; an order that differs from "longest in the text first" only when
// matches overlap).
class SpecialMatcher {
 public:
  explicit SpecialMatcher(std::vector<SpecialToken> tokens);

  bool empty() const { return tokens_.empty(); }
  bool has_control() const;
  // Whether white space beside some token is dropped.
  bool eats_space() const;

  // Bytes [begin, end) of the text stand for the token, white space that it eats among them.
  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
    TokenId id = -1;
  };

  // The first match that starts at or after `from`. Control tokens count only when they end at or
  // before `parse_end(position)` for the position where they start.
  template <typename ParseEnd>
  std::optional<Match> find(std::string_view text, std::size_t from,
                            const ParseEnd& parse_end) const {
    for (std::size_t at = from; at < text.size(); ++at) {
      const Range bucket = buckets_[static_cast<unsigned char>(text[at])];
      if (bucket.begin == bucket.end) continue;
      const SpecialToken* token = longest_at(text.substr(at), bucket, parse_end(at) - at);
      if (token == nullptr) continue;
      if (!token->whole_words_only || stands_alone(text, at, at + token->text.size())) {
        return with_spaces(text, from, at, *token);
      }
      at += token->text.size() - 1;
    }
    return std::nullopt;
  }

 private:
  struct Range {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
  };
  // `parse_bytes`: how many of the bytes at the start of `text` may become a control token.
  const SpecialToken* longest_at(std::string_view text, Range range, std::size_t parse_bytes) const;
  static bool stands_alone(std::string_view text, std::size_t begin, std::size_t end);
  static Match with_spaces(std::string_view text, std::size_t from, std::size_t at,
                           const SpecialToken& token);

  std::vector<SpecialToken> tokens_;  // Sorted by text.
  std::array<Range, 256> buckets_{};  // By first byte.
};

}  // namespace hearth
