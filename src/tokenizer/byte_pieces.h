// Tokens that stand for one byte each ("<0x0A>"), for text that no other token covers.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace hearth {

// The byte that "<0x0A>" stands for.
std::optional<unsigned char> parse_byte_piece(std::string_view piece);

class BytePieces {
 public:
  BytePieces() { ids_.fill(kNone); }
  // Those of the vocabulary that are of the kind kByte.
  explicit BytePieces(const Vocabulary& vocabulary);

  bool has_all() const;
  bool has(unsigned char byte) const { return ids_[byte] != kNone; }
  // Appends one id for each byte, if there is one for each of them.
  bool append(std::string_view bytes, std::vector<TokenId>& out) const;

 private:
  static constexpr TokenId kNone = -1;
  std::array<TokenId, 256> ids_{};
};

}  // namespace hearth
