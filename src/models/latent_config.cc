// Configurations of latent attention (see LatentConfig). Files have its sizes in one of two ways:
// of the heads as they are cached, with those of the model's own heads beside them, or of the
// latter alone, which is the older way.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "models/architectures.h"
#include "models/config_reader.h"

namespace hearth {
namespace {

constexpr std::string_view kKeyLength = "attention.key_length";
constexpr std::string_view kValueLength = "attention.value_length";
constexpr std::string_view kOwnKeyLength = "attention.key_length_mla";
constexpr std::string_view kOwnValueLength = "attention.value_length_mla";

// Where the heads' own sizes are stated too, the cached ones follow from them.
Status check_cached_length(const ConfigReader& reader, std::string_view key, std::size_t expected) {
  HEARTH_ASSIGN_OR_RETURN(const auto stated, reader.optional_size(key, kMaxDimension));
  if (!stated || *stated == expected) return {};
  return make_status(StatusCode::kDataLoss, "{} is {}; by the latent's length it is {}",
                     reader.full(key), *stated, expected);
}

}  // namespace

Status read_latent_heads(const ConfigReader& reader, ModelConfig& config) {
  LatentConfig& latent = config.latent;
  HEARTH_ASSIGN_OR_RETURN(latent.rank, reader.size("attention.kv_lora_rank", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(const auto query_rank,
                          reader.optional_size("attention.q_lora_rank", kMaxDimension));
  latent.query_rank = query_rank.value_or(0);
  HEARTH_ASSIGN_OR_RETURN(const std::size_t rope_dim,
                          reader.size("rope.dimension_count", kMaxDimension));
  const bool both = reader.find(kOwnKeyLength) != nullptr;
  const std::string_view key_name = both ? kOwnKeyLength : kKeyLength;
  HEARTH_ASSIGN_OR_RETURN(const std::size_t key_len, reader.size(key_name, kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(latent.value_dim,
                          reader.size(both ? kOwnValueLength : kValueLength, kMaxDimension));
  if (key_len <= rope_dim) {
    return make_status(StatusCode::kDataLoss, "{} ({}) must be more than {} ({})",
                       reader.full(key_name), key_len, reader.full("rope.dimension_count"),
                       rope_dim);
  }
  latent.key_dim = key_len - rope_dim;
  if (both) {
    HEARTH_RETURN_IF_ERROR(check_cached_length(reader, kKeyLength, latent.rank + rope_dim));
    HEARTH_RETURN_IF_ERROR(check_cached_length(reader, kValueLength, latent.rank));
  }
  config.heads.num_kv_heads = 1;
  config.heads.head_dim = latent.rank + rope_dim;
  config.heads.value_dim = latent.rank;
  HEARTH_ASSIGN_OR_RETURN(config.heads.num_heads,
                          reader.size("attention.head_count", kMaxDimension));
  const std::size_t widest = std::max(config.heads.head_dim, key_len + latent.value_dim);
  if (config.heads.num_heads * widest > kMaxDimension) {
    return make_status(StatusCode::kDataLoss, "{} heads of {} values exceed the limit of {}",
                       config.heads.num_heads, widest, kMaxDimension);
  }
  return {};
}

// The key holds a tenth of what config.json calls `mscale_all_dim`. Where it is stated, rotations
// keep their magnitude: every known model has as much for `mscale`, and files hold no other.
Status read_latent_scale(const ConfigReader& reader, ModelConfig& config) {
  constexpr std::string_view kKey = "rope.scaling.yarn_log_multiplier";
  RopeConfig& rope = config.rope;
  const double own_len = static_cast<double>(config.latent.key_dim + rope.rope_dim);
  HEARTH_ASSIGN_OR_RETURN(const double scale,
                          reader.positive_number("attention.scale", 1.0 / std::sqrt(own_len)));
  HEARTH_ASSIGN_OR_RETURN(const double multiplier, reader.number(kKey, 0.0));
  const bool scaled = multiplier != 0.0 && rope.factor > 1.0;
  if (scaled && rope.scaling != RopeScaling::kYarn) {
    return make_status(StatusCode::kUnimplemented, "{} is {}; without yarn only 0 is supported",
                       reader.full(kKey), multiplier);
  }
  const double temperature = scaled ? 1.0 + multiplier * std::log(rope.factor) : 1.0;
  config.attention_scale = static_cast<float>(scale * temperature * temperature);
  if (!scaled) return {};
  HEARTH_ASSIGN_OR_RETURN(rope.attn_factor,
                          reader.positive_number("rope.scaling.attention_factor", 1.0));
  return {};
}

}  // namespace hearth
