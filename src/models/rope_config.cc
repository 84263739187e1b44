#include <cmath>
#include <string_view>
#include <utility>

#include "models/architectures.h"
#include "models/config_reader.h"

namespace hearth {
namespace {

constexpr std::string_view kAttnFactor = "rope.scaling.attn_factor";
constexpr std::string_view kYarnAttnFactor = "rope.scaling.yarn_attn_factor";
constexpr std::string_view kLongAttnFactor = "rope.scaling.long_attn_factor";

// Some writers say -1 where nothing is stated.
Status read_ext_factor(const ConfigReader& reader, RopeConfig& rope) {
  constexpr std::string_view kKey = "rope.scaling.yarn_ext_factor";
  constexpr double kUnset = -1.0;
  HEARTH_ASSIGN_OR_RETURN(const double share, reader.number(kKey, kUnset));
  rope.yarn_ext_factor = share == kUnset ? 1.0 : share;
  if (rope.yarn_ext_factor >= 0.0 && rope.yarn_ext_factor <= 1.0) return {};
  return make_status(StatusCode::kDataLoss, "{} is {}; it must be 0 to 1, or -1 for unset",
                     reader.full(kKey), share);
}

// YaRN's temperature: stated as a whole, or what follows from the factor times what is stated.
// Converters copy `attention_factor` of config.json, which is the whole, to `yarn_attn_factor`, and
// those of some families to `attn_factor`, elsewhere a multiplier. Writers that mean nothing by
// `yarn_attn_factor` say 1 (llama.cpp, which reads neither it nor another whole).
Status read_temperature(const ConfigReader& reader, const Architecture& row, RopeConfig& rope) {
  const bool extended = rope.factor > 1.0 && rope.yarn_ext_factor != 0.0;
  const double usual = extended ? 1.0 + 0.1 * std::log(rope.factor) : 1.0;
  HEARTH_ASSIGN_OR_RETURN(const double stated,
                          reader.positive_number(kAttnFactor, row.whole_attn_factor ? usual : 1.0));
  HEARTH_ASSIGN_OR_RETURN(const double whole, reader.positive_number(kYarnAttnFactor, 1.0));
  rope.attn_factor = row.whole_attn_factor ? stated : usual * stated;
  if (whole != 1.0) rope.attn_factor = whole;
  HEARTH_ASSIGN_OR_RETURN(
      rope.attn_factor, reader.positive_number("rope.scaling.attention_factor", rope.attn_factor));
  return {};
}

Status read_yarn(const ConfigReader& reader, const Architecture& row, RopeConfig& rope) {
  rope.scaling = RopeScaling::kYarn;
  HEARTH_RETURN_IF_ERROR(read_ext_factor(reader, rope));
  HEARTH_RETURN_IF_ERROR(read_temperature(reader, row, rope));
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_beta_fast,
                          reader.positive_number("rope.scaling.yarn_beta_fast", 32.0));
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_beta_slow,
                          reader.positive_number("rope.scaling.yarn_beta_slow", 1.0));
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_truncate,
                          reader.flag("rope.scaling.yarn_truncate", row.yarn_truncate));
  return {};
}

Status read_kind(const ConfigReader& reader, const Architecture& row, RopeConfig& rope) {
  HEARTH_ASSIGN_OR_RETURN(auto kind, reader.text("rope.scaling.type"));
  // Older files only have the linear factor, under its own name.
  HEARTH_ASSIGN_OR_RETURN(const double linear, reader.positive_number("rope.scale_linear", 1.0));
  HEARTH_ASSIGN_OR_RETURN(rope.factor, reader.positive_number("rope.scaling.factor", linear));
  if (!kind) {
    rope.scaling = rope.factor == 1.0 ? RopeScaling::kNone : RopeScaling::kLinear;
    return {};
  }
  if (*kind == "none") {
    rope.factor = 1.0;
    return {};
  }
  if (*kind == "linear") {
    rope.scaling = RopeScaling::kLinear;
    return {};
  }
  if (*kind == "yarn") return read_yarn(reader, row, rope);
  if (*kind == "longrope") {
    rope.scaling = RopeScaling::kLong;
    return {};
  }
  return make_status(
      StatusCode::kUnimplemented,
      "{} is '{}'; supported are none, linear, longrope and yarn (and Llama-3 scaling through the "
      "tensor rope_freqs.weight)",
      reader.full("rope.scaling.type"), *kind);
}

// Files of LongRoPE need not say so: they have its tensors.
Status read_long_factors(const ConfigReader& reader, RopeConfig& rope) {
  HEARTH_ASSIGN_OR_RETURN(auto short_factors,
                          reader.positive_vector("rope_factors_short.weight", rope.rope_dim / 2));
  HEARTH_ASSIGN_OR_RETURN(rope.long_freq_factors,
                          reader.positive_vector("rope_factors_long.weight", rope.rope_dim / 2));
  if (short_factors.empty() && rope.long_freq_factors.empty() &&
      rope.scaling != RopeScaling::kLong) {
    return {};
  }
  if (short_factors.empty() || rope.long_freq_factors.empty()) {
    return make_status(StatusCode::kDataLoss,
                       "LongRoPE needs the tensors 'rope_factors_short.weight' and "
                       "'rope_factors_long.weight', and the file lacks {}",
                       short_factors.empty() ? "the first" : "the second");
  }
  if (!rope.freq_factors.empty() || rope.factor != 1.0) {
    return make_status(StatusCode::kDataLoss,
                       "the file scales its rotations both by LongRoPE and in another way");
  }
  rope.scaling = RopeScaling::kLong;
  rope.freq_factors = std::move(short_factors);
  HEARTH_ASSIGN_OR_RETURN(rope.attn_factor, reader.positive_number(kAttnFactor, 1.0));
  HEARTH_ASSIGN_OR_RETURN(rope.long_attn_factor,
                          reader.positive_number(kLongAttnFactor, rope.attn_factor));
  return {};
}

// Without such a scaling no family is known to have a magnitude other than 1.
Status refuse_unscaled_magnitude(const ConfigReader& reader, const RopeConfig& rope) {
  if (rope.scaling == RopeScaling::kYarn || rope.scaling == RopeScaling::kLong) return {};
  for (const std::string_view key : {kAttnFactor, kYarnAttnFactor, kLongAttnFactor}) {
    HEARTH_ASSIGN_OR_RETURN(const double factor, reader.number(key, 1.0));
    if (factor == 1.0) continue;
    return make_status(StatusCode::kUnimplemented,
                       "{} is {}; without yarn or longrope only 1 is supported", reader.full(key),
                       factor);
  }
  return {};
}

// Files whose weights lie otherwise than the architecture's name implies say so.
Status read_layout(const ConfigReader& reader, RopeConfig& rope) {
  HEARTH_ASSIGN_OR_RETURN(const auto layout, reader.text("rope.layout"));
  if (!layout) return {};
  if (*layout != "halves" && *layout != "interleaved") {
    return make_status(StatusCode::kDataLoss, "{} is '{}'; it must be halves or interleaved",
                       reader.full("rope.layout"), *layout);
  }
  rope.layout = *layout == "halves" ? RopeLayout::kHalves : RopeLayout::kInterleaved;
  return {};
}

Status read_original_context(const ConfigReader& reader, std::size_t context_len,
                             RopeConfig& rope) {
  HEARTH_ASSIGN_OR_RETURN(
      auto original, reader.optional_size("rope.scaling.original_context_length", kMaxPositions));
  if (!original && rope.scaling == RopeScaling::kLong) {
    return make_status(StatusCode::kDataLoss, "metadata key '{}' is missing",
                       reader.full("rope.scaling.original_context_length"));
  }
  rope.original_context_len = context_len;
  if (rope.factor > 1.0) {
    rope.original_context_len =
        static_cast<std::size_t>(static_cast<double>(context_len) / rope.factor);
  }
  if (original) rope.original_context_len = *original;
  return {};
}

}  // namespace

Status read_rope(const ConfigReader& reader, const Architecture& row, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  HEARTH_RETURN_IF_ERROR(read_layout(reader, rope));
  HEARTH_ASSIGN_OR_RETURN(auto rope_dim,
                          reader.optional_size("rope.dimension_count", kMaxDimension));
  rope.rope_dim = rope_dim.value_or(static_cast<std::uint32_t>(config.heads.head_dim));
  if (rope.rope_dim > config.heads.head_dim || rope.rope_dim % 2 != 0) {
    return make_status(StatusCode::kDataLoss,
                       "{} is {}; it must be even and at most the head dimension {}",
                       reader.full("rope.dimension_count"), rope.rope_dim, config.heads.head_dim);
  }
  HEARTH_ASSIGN_OR_RETURN(rope.freq_base, reader.positive_number("rope.freq_base", 10000.0));
  HEARTH_RETURN_IF_ERROR(read_kind(reader, row, rope));
  HEARTH_ASSIGN_OR_RETURN(rope.freq_factors,
                          reader.positive_vector("rope_freqs.weight", rope.rope_dim / 2));
  HEARTH_RETURN_IF_ERROR(read_long_factors(reader, rope));
  HEARTH_RETURN_IF_ERROR(refuse_unscaled_magnitude(reader, rope));
  HEARTH_RETURN_IF_ERROR(read_original_context(reader, config.context_len, rope));

  config.local_rope.layout = rope.layout;
  config.local_rope.rope_dim = rope.rope_dim;
  HEARTH_ASSIGN_OR_RETURN(
      config.local_rope.freq_base,
      reader.positive_number("rope.freq_base_swa",
                             row.local_freq_base > 0.0 ? row.local_freq_base : rope.freq_base));
  return {};
}

}  // namespace hearth
