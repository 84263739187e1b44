#include "tokenizer/byte_pieces.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace hearth {

std::optional<unsigned char> parse_byte_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  const char* const digits_end = piece.data() + 5;
  const auto [end, code] = std::from_chars(piece.data() + 3, digits_end, value, 16);
  if (code != std::errc() || end != digits_end) return std::nullopt;
  return static_cast<unsigned char>(value);
}

BytePieces::BytePieces(const Vocabulary& vocabulary) : BytePieces() {
  for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
    const auto id = static_cast<TokenId>(idx);
    if (vocabulary.kind(id) != TokenKind::kByte) continue;
    if (const auto byte = parse_byte_piece(vocabulary.piece(id))) ids_[*byte] = id;
  }
}

bool BytePieces::has_all() const {
  return std::ranges::find(ids_, kNone) == ids_.end();
}

bool BytePieces::append(std::string_view bytes, std::vector<TokenId>& out) const {
  const auto id_of = [this](char byte) { return ids_[static_cast<unsigned char>(byte)]; };
  if (std::ranges::any_of(bytes, [&](char byte) { return id_of(byte) == kNone; })) return false;
  for (const char byte : bytes)
    out.push_back(id_of(byte));
  return true;
}

}  // namespace hearth
