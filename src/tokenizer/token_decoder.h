// From a token's spelling in the vocabulary to the bytes that it stands for in a running text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// Each code point stands for a byte (byte_level.h), but for user-defined tokens.
struct SpelledBytes {};
// "<0x0A>" of the kind kByte stands for one byte.
struct NumberedBytes {};
// An expression (see Regex) is replaced.
struct RegexSubstitute {
  std::string pattern, content;
};
// Up to so many of one character are dropped at the ends of each token.
struct TrimEnds {
  std::string character;
  std::size_t num_start = 0, num_stop = 0;
};
// Tokens are words with a space in front, but for those that continue one.
struct JoinWords {
  std::string continuing_prefix;  // Empty: none continues.
  bool cleanup = false;           // No space before punctuation and English contractions.
};

using TokenDecoderStep =
    std::variant<SpelledBytes, NumberedBytes, SubstituteStep, RegexSubstitute, TrimEnds, JoinWords>;

// Immutable and safe from several threads.
class TokenDecoder {
 public:
  // No step list may make a token longer than this many times.
  static constexpr std::size_t kMaxGrowth = 64;

  // Steps for each token, one after the other. A whole text loses up to `num_leading_spaces` at its
  // start. kOutOfRange beyond the limit; errors of a pattern as Regex::compile() gives them.
  static Result<TokenDecoder> create(std::vector<TokenDecoderStep> steps,
                                     std::size_t num_leading_spaces);
  TokenDecoder() = default;  // A token's spelling is what it stands for.

  std::string bytes_of(std::string_view piece, TokenKind kind, RegexScratch& scratch) const;
  std::size_t num_leading_spaces() const { return num_leading_spaces_; }

 private:
  std::vector<TokenDecoderStep> steps_;
  std::vector<Regex> regexes_;  // Of the RegexSubstitute steps, in order.
  std::size_t num_leading_spaces_ = 0;
};

}  // namespace hearth
