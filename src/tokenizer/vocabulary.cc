#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace hearth {

namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

constexpr std::array<std::string_view, 9> kSpecialIdKeys = {
    "bos_token_id",     "eos_token_id",     "eot_token_id",
    "eom_token_id",     "unknown_token_id", "padding_token_id",
    "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id"};

std::string full_key(std::string_view key) {
  return fmt::format("{}{}", kPrefix, key);
}

// token_type as the GGUF specification numbers it.
std::optional<TokenKind> kind_from(std::int64_t token_type) {
  switch (token_type) {
    case 1:
      return TokenKind::kNormal;
    case 2:
      return TokenKind::kUnknown;
    case 3:
      return TokenKind::kControl;
    case 4:
      return TokenKind::kUserDefined;
    case 5:
      return TokenKind::kUnused;
    case 6:
      return TokenKind::kByte;
    default:
      return std::nullopt;
  }
}

bool is_searched_for(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined ||
         kind == TokenKind::kUnknown;
}

Status read_scores(const ModelFile& file, std::vector<float>& scores) {
  const std::string key = full_key("scores");
  const MetadataValue* value = file.find(key);
  if (value == nullptr) return {};
  if (const auto* doubles = std::get_if<std::vector<double>>(value)) {
    scores.reserve(doubles->size());
    for (const double score : *doubles)
      scores.push_back(static_cast<float>(score));
  } else if (const auto* integers = std::get_if<std::vector<std::int64_t>>(value)) {
    scores.reserve(integers->size());
    for (const std::int64_t score : *integers)
      scores.push_back(static_cast<float>(score));
  } else {
    return make_status(StatusCode::kDataLoss, "'{}' is not an array of numbers", key);
  }
  for (std::size_t idx = 0; idx < scores.size(); ++idx) {
    if (std::isnan(scores[idx])) {
      return make_status(StatusCode::kDataLoss, "'{}' entry {} is not a number", key, idx);
    }
  }
  return {};
}

Status read_token_types(const ModelFile& file, std::span<const std::int64_t>& types) {
  const std::string key = full_key("token_type");
  const MetadataValue* value = file.find(key);
  if (value == nullptr) return {};
  const auto* integers = std::get_if<std::vector<std::int64_t>>(value);
  if (integers == nullptr) {
    return make_status(StatusCode::kDataLoss, "'{}' is not an array of integers", key);
  }
  types = *integers;
  return {};
}

Status read_flags(const ModelFile& file, TokenizerMetadata& metadata) {
  HEARTH_ASSIGN_OR_RETURN(metadata.add_bos, file.find_bool(full_key("add_bos_token")));
  HEARTH_ASSIGN_OR_RETURN(metadata.add_eos, file.find_bool(full_key("add_eos_token")));
  HEARTH_ASSIGN_OR_RETURN(metadata.add_space_prefix, file.find_bool(full_key("add_space_prefix")));
  HEARTH_ASSIGN_OR_RETURN(metadata.remove_extra_whitespaces,
                          file.find_bool(full_key("remove_extra_whitespaces")));
  return {};
}

}  // namespace

std::optional<TokenId> TokenizerMetadata::id_of(std::string_view key) const {
  for (const NamedId& named : ids) {
    if (named.key == key) return static_cast<TokenId>(named.id);
  }
  return std::nullopt;
}

Result<TokenizerMetadata> read_tokenizer_metadata(const ModelFile& file) {
  TokenizerMetadata metadata;
  HEARTH_ASSIGN_OR_RETURN(const auto model, file.find_text(full_key("model")));
  if (!model) {
    return error(StatusCode::kNotFound, "the file has no tokenizer ('{}' is missing)",
                 full_key("model"));
  }
  metadata.model = *model;
  HEARTH_ASSIGN_OR_RETURN(const auto pre, file.find_text(full_key("pre")));
  metadata.pre = pre.value_or("");
  HEARTH_ASSIGN_OR_RETURN(const auto name, file.find_text("general.name"));
  metadata.model_name = name.value_or("");

  HEARTH_ASSIGN_OR_RETURN(const auto* tokens, file.find_texts(full_key("tokens")));
  if (tokens == nullptr) {
    return error(StatusCode::kDataLoss, "'{}' is missing", full_key("tokens"));
  }
  metadata.tokens = *tokens;
  HEARTH_ASSIGN_OR_RETURN(const auto* merges, file.find_texts(full_key("merges")));
  if (merges != nullptr) metadata.merges = *merges;
  HEARTH_RETURN_IF_ERROR(read_scores(file, metadata.scores));
  HEARTH_RETURN_IF_ERROR(read_token_types(file, metadata.token_types));
  metadata.has_charsmap = file.find(full_key("precompiled_charsmap")) != nullptr;

  for (const std::string_view key : kSpecialIdKeys) {
    HEARTH_ASSIGN_OR_RETURN(const auto id, file.find_uint32(full_key(key)));
    if (id) metadata.ids.push_back({.key = key, .id = *id});
  }
  HEARTH_RETURN_IF_ERROR(read_flags(file, metadata));
  return metadata;
}

Result<Vocabulary> Vocabulary::create(const TokenizerMetadata& metadata) {
  const std::size_t num_tokens = metadata.tokens.size();
  if (num_tokens == 0) {
    return error(StatusCode::kDataLoss, "'{}' is empty", full_key("tokens"));
  }
  if (num_tokens > kMaxTokens) {
    return error(StatusCode::kOutOfRange, "'{}' has {} entries; the limit is {}",
                 full_key("tokens"), num_tokens, kMaxTokens);
  }
  if (!metadata.token_types.empty() && metadata.token_types.size() != num_tokens) {
    return error(StatusCode::kDataLoss, "'{}' has {} entries for {} tokens", full_key("token_type"),
                 metadata.token_types.size(), num_tokens);
  }
  if (!metadata.scores.empty() && metadata.scores.size() != num_tokens) {
    return error(StatusCode::kDataLoss, "'{}' has {} entries for {} tokens", full_key("scores"),
                 metadata.scores.size(), num_tokens);
  }

  Vocabulary vocabulary(num_tokens);
  vocabulary.scores_ = metadata.scores;
  vocabulary.offsets_.reserve(num_tokens + 1);
  vocabulary.offsets_.push_back(0);
  vocabulary.kinds_.reserve(num_tokens);
  for (std::size_t idx = 0; idx < num_tokens; ++idx) {
    const std::string_view text = metadata.tokens[idx];
    const auto kind =
        metadata.token_types.empty() ? TokenKind::kNormal : kind_from(metadata.token_types[idx]);
    if (!kind) {
      return error(StatusCode::kDataLoss, "'{}' of token {} is {}; known are 1 to 6",
                   full_key("token_type"), idx, metadata.token_types[idx]);
    }
    const std::size_t limit = is_searched_for(*kind) ? kMaxSpecialBytes : kMaxPieceBytes;
    if (text.size() > limit) {
      return error(StatusCode::kOutOfRange, "token {} has {} bytes; the limit is {}", idx,
                   text.size(), limit);
    }
    vocabulary.text_ += text;
    vocabulary.offsets_.push_back(vocabulary.text_.size());
    vocabulary.kinds_.push_back(*kind);
    vocabulary.max_piece_bytes_ = std::max(vocabulary.max_piece_bytes_, text.size());
  }

  const auto text_at = [&vocabulary](std::uint32_t idx) { return vocabulary.piece_at(idx); };
  for (std::uint32_t idx = 0; idx < num_tokens; ++idx) {
    if (!vocabulary.index_.insert(idx, text_at)) {
      return error(StatusCode::kDataLoss, "'{}' holds spellings made to collide",
                   full_key("tokens"));
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
