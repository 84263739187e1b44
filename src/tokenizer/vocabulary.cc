#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <utility>

namespace hearth {

namespace {

bool is_searched_for(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined ||
         kind == TokenKind::kUnknown;
}

}  // namespace

Result<Vocabulary> Vocabulary::create(VocabularyTables tables) {
  const std::size_t num_tokens = tables.tokens.size();
  if (num_tokens == 0) return error(StatusCode::kDataLoss, "'{}' is empty", tables.name);
  if (num_tokens > kMaxTokens) {
    return error(StatusCode::kOutOfRange, "'{}' has {} entries; the limit is {}", tables.name,
                 num_tokens, kMaxTokens);
  }
  for (const std::size_t size : {tables.kinds.size(), tables.scores.size()}) {
    if (size == 0 || size == num_tokens) continue;
    return error(StatusCode::kDataLoss, "'{}' has {} entries for {} tokens",
                 size == tables.kinds.size() ? "token_type" : "scores", size, num_tokens);
  }

  Vocabulary vocabulary(num_tokens);
  vocabulary.scores_ = std::move(tables.scores);
  vocabulary.kinds_ = std::move(tables.kinds);
  vocabulary.kinds_.resize(num_tokens, TokenKind::kNormal);
  vocabulary.offsets_.reserve(num_tokens + 1);
  vocabulary.offsets_.push_back(0);
  for (std::size_t idx = 0; idx < num_tokens; ++idx) {
    const std::string_view text = tables.tokens[idx];
    const std::size_t limit =
        is_searched_for(vocabulary.kinds_[idx]) ? kMaxSpecialBytes : kMaxPieceBytes;
    if (text.size() > limit) {
      return error(StatusCode::kOutOfRange, "token {} has {} bytes; the limit is {}", idx,
                   text.size(), limit);
    }
    vocabulary.text_ += text;
    vocabulary.offsets_.push_back(vocabulary.text_.size());
    vocabulary.max_piece_bytes_ = std::max(vocabulary.max_piece_bytes_, text.size());
  }

  const auto text_at = [&vocabulary](std::uint32_t idx) { return vocabulary.piece_at(idx); };
  for (std::uint32_t idx = 0; idx < num_tokens; ++idx) {
    if (vocabulary.piece_at(idx).empty()) continue;
    if (!vocabulary.index_.insert(idx, text_at)) {
      return error(StatusCode::kDataLoss, "'{}' holds spellings made to collide", tables.name);
    }
  }
  return vocabulary;
}

std::optional<TokenId> Vocabulary::find(std::string_view piece) const {
  const auto idx = index_.find(piece, [this](std::uint32_t at) { return piece_at(at); });
  if (!idx) return std::nullopt;
  return static_cast<TokenId>(*idx);
}

}  // namespace hearth
