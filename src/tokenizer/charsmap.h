// SentencePiece's precompiled normalization table: a double-array trie of texts and, for each, what
// replaces it. Layout: sentencepiece, normalizer.cc; the trie's units: darts-clone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth {

// Immutable and safe from several threads; keeps its own copy.
class CharsMap {
 public:
  static constexpr std::size_t kMaxReplacementBytes = 1024;

  // kDataLoss for a table that is cut off, kOutOfRange for replacements beyond the limit.
  static Result<CharsMap> parse(std::string_view blob);

  struct Match {
    std::size_t length = 0;  // Bytes at the start of the text.
    std::string_view replacement;
  };
  // The table's longest or shortest key that `text` begins with.
  std::optional<Match> longest(std::string_view text) const;
  std::optional<Match> shortest(std::string_view text) const;

  std::size_t max_replacement_bytes() const { return max_replacement_bytes_; }

 private:
  CharsMap() = default;
  std::optional<Match> find(std::string_view text, bool stop_at_first) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;  // Each ends with NUL.
  std::size_t max_replacement_bytes_ = 0;
};

// The text of a base64 text (RFC 4648, with padding), as tokenizer.json holds the table.
Result<std::string> decode_base64(std::string_view text);

}  // namespace hearth
