// The table of tokens: spelling, kind and score by id, id by spelling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/piece_index.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// What a vocabulary is made of; the texts are copied. `name` is what error messages call the list.
struct VocabularyTables {
  std::string_view name;
  std::span<const std::string_view> tokens;
  std::vector<TokenKind> kinds;  // Empty: all normal.
  std::vector<double> scores;    // Empty: all 0. No NaN.
};

// Owns the spellings. Immutable once the tokenizer is loaded; views live as long as the vocabulary.
class Vocabulary {
 public:
  // Longer entries are refused: ordinary ones by the first limit, those that are searched for in
  // every text (control and user-defined tokens) by the second.
  static constexpr std::size_t kMaxPieceBytes = 64u << 10;
  static constexpr std::size_t kMaxSpecialBytes = 1024;
  static constexpr std::size_t kMaxTokens = 4u << 20;

  // kDataLoss for an empty list and tables of different lengths, kOutOfRange beyond the limits.
  static Result<Vocabulary> create(VocabularyTables tables);

  std::size_t size() const { return kinds_.size(); }
  bool contains(TokenId id) const { return id >= 0 && static_cast<std::size_t>(id) < size(); }

  // For ids that contains().
  std::string_view piece(TokenId id) const { return piece_at(static_cast<std::uint32_t>(id)); }
  TokenKind kind(TokenId id) const { return kinds_[static_cast<std::size_t>(id)]; }
  double score(TokenId id) const {
    return scores_.empty() ? 0.0 : scores_[static_cast<std::size_t>(id)];
  }
  void set_kind(TokenId id, TokenKind kind) { kinds_[static_cast<std::size_t>(id)] = kind; }

  // Of several entries with one spelling the last; nullopt for an empty text.
  std::optional<TokenId> find(std::string_view piece) const;
  std::size_t max_piece_bytes() const { return max_piece_bytes_; }

 private:
  explicit Vocabulary(std::size_t num_tokens) : index_(num_tokens) {}

  std::string_view piece_at(std::uint32_t idx) const {
    return std::string_view(text_).substr(offsets_[idx], offsets_[idx + 1] - offsets_[idx]);
  }

  std::string text_;                  // All spellings, one after the other.
  std::vector<std::size_t> offsets_;  // size() + 1
  std::vector<TokenKind> kinds_;
  std::vector<double> scores_;
  PieceIndex index_;
  std::size_t max_piece_bytes_ = 0;
};

}  // namespace hearth
