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
#include "formats/model_file.h"
#include "tokenizer/piece_index.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// A model file's tokenizer.ggml.* metadata (keys as in the GGUF specification) with types checked,
// before anything is made of it. Texts and spans borrow from the file.
struct TokenizerMetadata {
  std::string_view model;       // tokenizer.ggml.model: "gpt2", "llama"
  std::string_view pre;         // tokenizer.ggml.pre; empty when absent.
  std::string_view model_name;  // general.name; empty when absent.
  std::span<const std::string_view> tokens;
  std::span<const std::int64_t> token_types;  // Empty: all normal.
  std::span<const std::string_view> merges;
  std::vector<float> scores;  // Empty: all 0.
  bool has_charsmap = false;  // tokenizer.ggml.precompiled_charsmap is there.

  struct NamedId {
    std::string_view key;  // Without the "tokenizer.ggml." in front.
    std::uint32_t id = 0;
  };
  std::vector<NamedId> ids;  // Those present, of kSpecialIdKeys.

  std::optional<bool> add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;

  std::optional<TokenId> id_of(std::string_view key) const;
};

// kNotFound when the file has no tokenizer, kDataLoss for a value of a wrong type.
Result<TokenizerMetadata> read_tokenizer_metadata(const ModelFile& file);

// Owns the spellings. Immutable once the tokenizer is loaded; views live as long as the vocabulary.
class Vocabulary {
 public:
  // Longer entries are refused: ordinary ones by the first limit, those that are searched for in
  // every text (control and user-defined tokens) by the second.
  static constexpr std::size_t kMaxPieceBytes = 64u << 10;
  static constexpr std::size_t kMaxSpecialBytes = 1024;
  static constexpr std::size_t kMaxTokens = 4u << 20;

  // kDataLoss for tables of different lengths and unknown token types, kOutOfRange beyond the
  // limits.
  static Result<Vocabulary> create(const TokenizerMetadata& metadata);

  std::size_t size() const { return kinds_.size(); }
  bool contains(TokenId id) const { return id >= 0 && static_cast<std::size_t>(id) < size(); }

  // For ids that contains().
  std::string_view piece(TokenId id) const { return piece_at(static_cast<std::uint32_t>(id)); }
  TokenKind kind(TokenId id) const { return kinds_[static_cast<std::size_t>(id)]; }
  float score(TokenId id) const {
    return scores_.empty() ? 0.0f : scores_[static_cast<std::size_t>(id)];
  }
  void set_kind(TokenId id, TokenKind kind) { kinds_[static_cast<std::size_t>(id)] = kind; }

  // Of several entries with one spelling the last.
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
  std::vector<float> scores_;
  PieceIndex index_;
  std::size_t max_piece_bytes_ = 0;
};

}  // namespace hearth
