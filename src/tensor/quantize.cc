#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/status.h"
#include "tensor/block_fit.h"
#include "tensor/float16.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

using Values = std::span<const float>;

// `x` cut off towards zero and limited to [low, high]; also for values no int can hold.
int truncate_to(float x, int low, int high) {
  if (!(x > static_cast<float>(low))) return low;
  if (x >= static_cast<float>(high)) return high;
  return static_cast<int>(x);
}

// `x` rounded to the nearest integer, halves away from zero, and limited to [low, high].
int round_to(float x, int low, int high) {
  return truncate_to(std::round(x), low, high);
}

float inverse_or_zero(float x) {
  return x == 0.0f ? 0.0f : 1.0f / x;
}

// The value of the largest magnitude, with its sign; the first of several.
float extreme(Values values) {
  return *std::ranges::max_element(values, {}, [](float x) { return std::abs(x); });
}

float max_magnitude(Values values) {
  return std::abs(extreme(values));
}

// The level nearest to `x`; of two as near the lower one.
template <typename Level, std::size_t kCount>
int nearest_level(const Level (&levels)[kCount], float x) {
  const auto* level = std::ranges::min_element(
      levels, {}, [x](Level candidate) { return std::abs(x - static_cast<float>(candidate)); });
  return static_cast<int>(level - levels);
}

// Adds bits to a byte of a block whose bits for them are still clear.
void merge_bits(std::uint8_t& byte, int bits) {
  byte = static_cast<std::uint8_t>(byte | bits);
}

// Nibble i of a 32-value group in the order of Q4_0.
void set_nibble(std::uint8_t* qs, std::size_t i, int q) {
  merge_bits(qs[i % 16], q << (i / 16 * 4));
}

void encode(Values x, BlockQ4_0& block) {
  const float d = extreme(x) / -8.0f;
  const float inverse = inverse_or_zero(d);
  block.d = f32_to_f16(d);
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_nibble(block.qs, i, truncate_to(x[i] * inverse + 8.5f, 0, 15));
  }
}

void encode(Values x, BlockQ4_1& block) {
  const auto [min, max] = std::ranges::minmax(x);
  const float d = (max - min) / 15.0f;
  const float inverse = inverse_or_zero(d);
  block.d = f32_to_f16(d);
  block.m = f32_to_f16(min);
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_nibble(block.qs, i, truncate_to((x[i] - min) * inverse + 0.5f, 0, 15));
  }
}

void set_five_bits(std::uint8_t* qs, std::uint8_t* qh, std::size_t i, int q) {
  set_nibble(qs, i, q & 15);
  merge_bits(qh[i / 8], (q >> 4) << (i % 8));
}

void encode(Values x, BlockQ5_0& block) {
  const float d = extreme(x) / -16.0f;
  const float inverse = inverse_or_zero(d);
  block.d = f32_to_f16(d);
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_five_bits(block.qs, block.qh, i, truncate_to(x[i] * inverse + 16.5f, 0, 31));
  }
}

void encode(Values x, BlockQ5_1& block) {
  const auto [min, max] = std::ranges::minmax(x);
  const float d = (max - min) / 31.0f;
  const float inverse = inverse_or_zero(d);
  block.d = f32_to_f16(d);
  block.m = f32_to_f16(min);
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_five_bits(block.qs, block.qh, i, truncate_to((x[i] - min) * inverse + 0.5f, 0, 31));
  }
}

void encode(Values x, BlockQ8_0& block) {
  const float d = max_magnitude(x) / 127.0f;
  const float inverse = inverse_or_zero(d);
  block.d = f32_to_f16(d);
  for (std::size_t i = 0; i < x.size(); ++i) {
    block.qs[i] = static_cast<std::int8_t>(round_to(x[i] * inverse, -127, 127));
  }
}

// The stored value nearest to `x`, given the rounded scales of its group.
int affine_q(float x, const AffineScales& scales, std::size_t group, int max_q) {
  const float step = f16_to_f32(scales.d) * static_cast<float>(scales.groups[group].scale);
  const float minimum = f16_to_f32(scales.min) * static_cast<float>(scales.groups[group].min);
  return round_to((x + minimum) * inverse_or_zero(step), 0, max_q);
}

// Bits 0 and 1 of value i in the layout Q2_K and Q3_K share.
void set_bit_pair(std::uint8_t* qs, std::size_t i, int q) {
  merge_bits(qs[i / 128 * 32 + i % 32], q << (i % 128 / 32 * 2));
}

void fit(const WeightedValues& values, BlockQ2_K& block) {
  constexpr AffineFormat kFormat = {.num_groups = 16, .max_q = 3, .max_scale = 15};
  const AffineScales scales = fit_affine_scales(values, kFormat);
  block.d = scales.d;
  block.min = scales.min;
  for (std::size_t g = 0; g < 16; ++g) {
    block.scales[g] =
        static_cast<std::uint8_t>(scales.groups[g].scale | (scales.groups[g].min << 4));
  }
  for (std::size_t i = 0; i < values.len; ++i) {
    set_bit_pair(block.qs, i, affine_q(values.x[i], scales, i / 16, kFormat.max_q));
  }
}

// Nibble of value i in the layout Q4_K and Q5_K share.
void set_k_nibble(std::uint8_t* qs, std::size_t i, int q) {
  merge_bits(qs[i / 64 * 32 + i % 32], q << (i % 64 / 32 * 4));
}

void fit(const WeightedValues& values, BlockQ4_K& block) {
  constexpr AffineFormat kFormat = {.num_groups = 8, .max_q = 15, .max_scale = 63};
  const AffineScales scales = fit_affine_scales(values, kFormat);
  block.d = scales.d;
  block.min = scales.min;
  for (std::size_t g = 0; g < 8; ++g) {
    pack_k_scale_min(block.scales, g, scales.groups[g]);
  }
  for (std::size_t i = 0; i < values.len; ++i) {
    set_k_nibble(block.qs, i, affine_q(values.x[i], scales, i / 32, kFormat.max_q));
  }
}

void fit(const WeightedValues& values, BlockQ5_K& block) {
  constexpr AffineFormat kFormat = {.num_groups = 8, .max_q = 31, .max_scale = 63};
  const AffineScales scales = fit_affine_scales(values, kFormat);
  block.d = scales.d;
  block.min = scales.min;
  for (std::size_t g = 0; g < 8; ++g) {
    pack_k_scale_min(block.scales, g, scales.groups[g]);
  }
  for (std::size_t i = 0; i < values.len; ++i) {
    const int q = affine_q(values.x[i], scales, i / 32, kFormat.max_q);
    set_k_nibble(block.qs, i, q & 15);
    merge_bits(block.qh[i % 32], (q >> 4) << (i / 32));
  }
}

float step_of(const SignedScales& scales, std::size_t group) {
  return f16_to_f32(scales.d) * static_cast<float>(scales.groups[group]);
}

void fit(const WeightedValues& values, BlockQ3_K& block) {
  constexpr SignedFormat kFormat = {
      .num_groups = 16, .levels = {.low = -4, .high = 3}, .min_scale = -32, .max_scale = 31};
  const SignedScales scales = fit_signed_scales(values, kFormat);
  block.d = scales.d;
  for (std::size_t g = 0; g < 16; ++g) {
    pack_q3_k_scale(block.scales, g, scales.groups[g]);
  }
  for (std::size_t i = 0; i < values.len; ++i) {
    const int q = round_to(values.x[i] * inverse_or_zero(step_of(scales, i / 16)), -4, 3) + 4;
    set_bit_pair(block.qs, i, q & 3);
    merge_bits(block.hmask[i % 32], (q >> 2) << (i / 32));
  }
}

void fit(const WeightedValues& values, BlockQ6_K& block) {
  constexpr SignedFormat kFormat = {
      .num_groups = 16, .levels = {.low = -32, .high = 31}, .min_scale = -128, .max_scale = 127};
  const SignedScales scales = fit_signed_scales(values, kFormat);
  block.d = scales.d;
  for (std::size_t g = 0; g < 16; ++g) {
    block.scales[g] = static_cast<std::int8_t>(scales.groups[g]);
  }
  for (std::size_t i = 0; i < values.len; ++i) {
    const int q = round_to(values.x[i] * inverse_or_zero(step_of(scales, i / 16)), -32, 31) + 32;
    const std::size_t half = i / 128;
    const std::size_t k = i % 128 / 32;
    const std::size_t l = i % 32;
    merge_bits(block.ql[half * 64 + l + 32 * (k % 2)], (q & 15) << (k / 2 * 4));
    merge_bits(block.qh[half * 32 + l], (q >> 4) << (2 * k));
  }
}

constexpr SignedLevels kIQ4 = {
    .low = kIQ4Levels[0], .high = kIQ4Levels[std::size(kIQ4Levels) - 1], .kind = LevelKind::kIQ4};

void fit(const WeightedValues& values, BlockIQ4_NL& block) {
  block.d = nearest_f16(fit_signed(values, kIQ4));
  const float inverse = inverse_or_zero(f16_to_f32(block.d));
  for (std::size_t i = 0; i < values.len; ++i) {
    set_nibble(block.qs, i, nearest_level(kIQ4Levels, values.x[i] * inverse));
  }
}

void fit(const WeightedValues& values, BlockIQ4_XS& block) {
  constexpr SignedFormat kFormat = {
      .num_groups = 8, .levels = kIQ4, .min_scale = -32, .max_scale = 31};
  const SignedScales scales = fit_signed_scales(values, kFormat);
  block.d = scales.d;
  for (std::size_t g = 0; g < 8; ++g) {
    const int stored = scales.groups[g] + 32;
    merge_bits(block.scales_l[g / 2], (stored & 15) << (g % 2 * 4));
    block.scales_h = static_cast<std::uint16_t>(block.scales_h | ((stored >> 4) << (2 * g)));
    const float inverse = inverse_or_zero(step_of(scales, g));
    for (std::size_t i = 0; i < 32; ++i) {
      set_nibble(block.qs + g * 16, i, nearest_level(kIQ4Levels, values.x[g * 32 + i] * inverse));
    }
  }
}

void set_nf4_levels(Values x, BlockNF4& block) {
  const float inverse = inverse_or_zero(block.absmax);
  for (std::size_t i = 0; i < x.size(); ++i)
    set_nibble(block.qs + i / 32 * 16, i % 32, nearest_level(kNF4Levels, x[i] * inverse));
}

void encode(Values x, BlockNF4& block) {
  block.absmax = max_magnitude(x);
  set_nf4_levels(x, block);
}

void fit(const WeightedValues& values, BlockNF4& block) {
  block.absmax = fit_signed(values, {.low = -1, .high = 1, .kind = LevelKind::kNF4});
  set_nf4_levels({values.x, values.len}, block);
}

// The scale of a block of 32 values, rounded as it is stored, and the nearest level to each value.
template <typename Emit>
void fit_levels(const WeightedValues& values, const SignedLevels& levels, std::uint16_t& d,
                Emit emit) {
  d = nearest_f16(fit_signed(values, levels));
  const float inverse = inverse_or_zero(f16_to_f32(d));
  for (std::size_t i = 0; i < values.len; ++i)
    emit(i, round_to(values.x[i] * inverse, levels.low, levels.high) - levels.low);
}

void fit(const WeightedValues& values, BlockQ4_0& block) {
  fit_levels(values, {.low = -8, .high = 7}, block.d,
             [&](std::size_t i, int q) { set_nibble(block.qs, i, q); });
}

void fit(const WeightedValues& values, BlockQ5_0& block) {
  fit_levels(values, {.low = -16, .high = 15}, block.d,
             [&](std::size_t i, int q) { set_five_bits(block.qs, block.qh, i, q); });
}

template <typename Block, typename Emit>
void fit_steps(const WeightedValues& values, int max_q, Block& block, Emit emit) {
  const AffineFit found = fit_affine(values, max_q);
  block.d = nearest_f16(found.scale);
  block.m = nearest_f16(found.offset);
  const float inverse = inverse_or_zero(f16_to_f32(block.d));
  const float offset = f16_to_f32(block.m);
  for (std::size_t i = 0; i < values.len; ++i)
    emit(i, round_to((values.x[i] - offset) * inverse, 0, max_q));
}

void fit(const WeightedValues& values, BlockQ4_1& block) {
  fit_steps(values, 15, block, [&](std::size_t i, int q) { set_nibble(block.qs, i, q); });
}

void fit(const WeightedValues& values, BlockQ5_1& block) {
  fit_steps(values, 31, block,
            [&](std::size_t i, int q) { set_five_bits(block.qs, block.qh, i, q); });
}

template <typename Block>
void encode_row(Values values, std::span<std::byte> data) {
  for (std::size_t i = 0; i < values.size() / Block::kLen; ++i) {
    Block block = {};  // The encoders merge bits into zeros.
    encode(values.subspan(i * Block::kLen, Block::kLen), block);
    std::memcpy(data.data() + i * sizeof(Block), &block, sizeof(Block));
  }
}

// Importances of a block as weights: of a size whose sums stay in float's range, and none quite
// zero, since inputs that one text leaves unused may count in another. A power of two changes no
// digits.
void weigh(Values importance, std::span<float> weights) {
  constexpr float kLeastWeight = 0x1p-16f;
  const float largest = std::ranges::max(importance);
  const double factor = largest == 0.0f ? 0.0 : std::ldexp(1.0, -std::ilogb(largest));
  std::ranges::transform(importance, weights.begin(), [&](float value) {
    return static_cast<float>(static_cast<double>(value) * factor) + kLeastWeight;
  });
}

// Equal weights where no importance is given, or none of a block's values has any.
template <typename Block>
void fit_row(Values values, Values importance, std::span<std::byte> data) {
  float weights[Block::kLen];
  std::ranges::fill(weights, 1.0f);
  for (std::size_t i = 0; i < values.size() / Block::kLen; ++i) {
    if (!importance.empty()) weigh(importance.subspan(i * Block::kLen, Block::kLen), weights);
    Block block = {};
    fit({values.data() + i * Block::kLen, weights, Block::kLen}, block);
    std::memcpy(data.data() + i * sizeof(Block), &block, sizeof(Block));
  }
}

template <typename Narrow>
void narrow_row(Values values, std::span<std::byte> data, Narrow narrow) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto stored = narrow(values[i]);
    std::memcpy(data.data() + i * sizeof(stored), &stored, sizeof(stored));
  }
}

std::int32_t nearest_int32(float x) {
  // The largest float32 below 2^31 bounds what converts without overflow.
  return static_cast<std::int32_t>(std::clamp(std::round(x), -0x1p31f, 0x1.fffffep30f));
}

}  // namespace

bool can_quantize(DType dtype) {
  switch (dtype) {
    case DType::kIQ1_S:
    case DType::kIQ1_M:
    case DType::kIQ2_XXS:
    case DType::kIQ2_XS:
    case DType::kIQ2_S:
    case DType::kIQ3_XXS:
    case DType::kIQ3_S:
    case DType::kTQ1_0:
    case DType::kTQ2_0:
    case DType::kMXFP4:
      return false;
    default:
      return true;
  }
}

void quantize_row(DType dtype, std::span<const float> values, std::span<std::byte> data) {
  HEARTH_CHECK(data.size() == row_bytes(dtype, values.size()));
  switch (dtype) {
    case DType::kF32:
      return narrow_row(values, data, [](float x) { return x; });
    case DType::kF16:
      return narrow_row(values, data, f32_to_f16);
    case DType::kBF16:
      return narrow_row(values, data, f32_to_bf16);
    case DType::kI32:
      return narrow_row(values, data, nearest_int32);
    case DType::kQ4_0:
      return encode_row<BlockQ4_0>(values, data);
    case DType::kQ4_1:
      return encode_row<BlockQ4_1>(values, data);
    case DType::kQ5_0:
      return encode_row<BlockQ5_0>(values, data);
    case DType::kQ5_1:
      return encode_row<BlockQ5_1>(values, data);
    case DType::kQ8_0:
      return encode_row<BlockQ8_0>(values, data);
    case DType::kNF4:
      return encode_row<BlockNF4>(values, data);
    default:
      return quantize_weight_row(dtype, values, {}, data);
  }
}

void quantize_weight_row(DType dtype, std::span<const float> values,
                         std::span<const float> importance, std::span<std::byte> data) {
  HEARTH_CHECK(data.size() == row_bytes(dtype, values.size()));
  HEARTH_CHECK(importance.empty() || importance.size() == values.size());
  switch (dtype) {
    case DType::kQ4_0:
      return fit_row<BlockQ4_0>(values, importance, data);
    case DType::kQ4_1:
      return fit_row<BlockQ4_1>(values, importance, data);
    case DType::kQ5_0:
      return fit_row<BlockQ5_0>(values, importance, data);
    case DType::kQ5_1:
      return fit_row<BlockQ5_1>(values, importance, data);
    case DType::kQ2_K:
      return fit_row<BlockQ2_K>(values, importance, data);
    case DType::kQ3_K:
      return fit_row<BlockQ3_K>(values, importance, data);
    case DType::kQ4_K:
      return fit_row<BlockQ4_K>(values, importance, data);
    case DType::kQ5_K:
      return fit_row<BlockQ5_K>(values, importance, data);
    case DType::kQ6_K:
      return fit_row<BlockQ6_K>(values, importance, data);
    case DType::kIQ4_NL:
      return fit_row<BlockIQ4_NL>(values, importance, data);
    case DType::kIQ4_XS:
      return fit_row<BlockIQ4_XS>(values, importance, data);
    case DType::kNF4:
      return fit_row<BlockNF4>(values, importance, data);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
    case DType::kQ8_0:  // With so many levels there is nothing to gain.
      return quantize_row(dtype, values, data);
    default:
      HEARTH_CHECK(can_quantize(dtype));
  }
}

}  // namespace hearth
