#include "tensor/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/status.h"
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

// How the groups of a block with minima (Q2_K, Q4_K, Q5_K) are stored.
struct AffineFormat {
  int max_q;      // Largest stored value.
  int max_scale;  // Largest stored scale and minimum.
};

// The scales of such a block: group g's values are d * scale[g] * q - min * minimum[g].
struct AffineScales {
  std::uint16_t d = 0;    // float16
  std::uint16_t min = 0;  // float16
  ScaleMin groups[16] = {};
};

// Spans each group from its least value, or 0 if that is above 0 (a minimum can only lower the
// group), to its largest.
template <std::size_t kNumGroups>
AffineScales choose_affine_scales(Values x, const AffineFormat& format) {
  const std::size_t group_len = x.size() / kNumGroups;
  float steps[kNumGroups];
  float minima[kNumGroups];
  for (std::size_t g = 0; g < kNumGroups; ++g) {
    const auto [low, high] = std::ranges::minmax(x.subspan(g * group_len, group_len));
    minima[g] = -std::min(low, 0.0f);
    steps[g] = std::max(high + minima[g], 0.0f) / static_cast<float>(format.max_q);
  }
  const auto max_scale = static_cast<float>(format.max_scale);
  AffineScales scales;
  scales.d = f32_to_f16(*std::ranges::max_element(steps) / max_scale);
  scales.min = f32_to_f16(*std::ranges::max_element(minima) / max_scale);
  const float inverse_d = inverse_or_zero(f16_to_f32(scales.d));
  const float inverse_min = inverse_or_zero(f16_to_f32(scales.min));
  for (std::size_t g = 0; g < kNumGroups; ++g) {
    const auto store = [&](float value) {
      return static_cast<std::uint8_t>(round_to(value, 0, format.max_scale));
    };
    scales.groups[g] = {store(steps[g] * inverse_d), store(minima[g] * inverse_min)};
  }
  return scales;
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

void encode(Values x, BlockQ2_K& block) {
  constexpr AffineFormat kFormat = {.max_q = 3, .max_scale = 15};
  const AffineScales scales = choose_affine_scales<16>(x, kFormat);
  block.d = scales.d;
  block.min = scales.min;
  for (std::size_t g = 0; g < 16; ++g) {
    block.scales[g] =
        static_cast<std::uint8_t>(scales.groups[g].scale | (scales.groups[g].min << 4));
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_bit_pair(block.qs, i, affine_q(x[i], scales, i / 16, kFormat.max_q));
  }
}

// Nibble of value i in the layout Q4_K and Q5_K share.
void set_k_nibble(std::uint8_t* qs, std::size_t i, int q) {
  merge_bits(qs[i / 64 * 32 + i % 32], q << (i % 64 / 32 * 4));
}

void encode(Values x, BlockQ4_K& block) {
  constexpr AffineFormat kFormat = {.max_q = 15, .max_scale = 63};
  const AffineScales scales = choose_affine_scales<8>(x, kFormat);
  block.d = scales.d;
  block.min = scales.min;
  for (std::size_t g = 0; g < 8; ++g) {
    pack_k_scale_min(block.scales, g, scales.groups[g]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_k_nibble(block.qs, i, affine_q(x[i], scales, i / 32, kFormat.max_q));
  }
}

void encode(Values x, BlockQ5_K& block) {
  constexpr AffineFormat kFormat = {.max_q = 31, .max_scale = 63};
  const AffineScales scales = choose_affine_scales<8>(x, kFormat);
  block.d = scales.d;
  block.min = scales.min;
  for (std::size_t g = 0; g < 8; ++g) {
    pack_k_scale_min(block.scales, g, scales.groups[g]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int q = affine_q(x[i], scales, i / 32, kFormat.max_q);
    set_k_nibble(block.qs, i, q & 15);
    merge_bits(block.qh[i % 32], (q >> 4) << (i / 32));
  }
}

// The scales of a block without minima: group g's values are d * scale[g] * level.
struct SignedScales {
  std::uint16_t d = 0;  // float16
  int groups[16] = {};

  float step(std::size_t group) const { return f16_to_f32(d) * static_cast<float>(groups[group]); }
};

// Maps each group's extreme to `end_level`, the level farthest from zero, so that it is stored
// without clipping; scales are in [-max_scale, max_scale].
template <std::size_t kNumGroups>
SignedScales choose_signed_scales(Values x, float end_level, int max_scale) {
  const std::size_t group_len = x.size() / kNumGroups;
  float steps[kNumGroups];
  for (std::size_t g = 0; g < kNumGroups; ++g) {
    steps[g] = extreme(x.subspan(g * group_len, group_len)) / end_level;
  }
  SignedScales scales;
  scales.d = f32_to_f16(max_magnitude(steps) / static_cast<float>(max_scale));
  const float inverse_d = inverse_or_zero(f16_to_f32(scales.d));
  for (std::size_t g = 0; g < kNumGroups; ++g) {
    scales.groups[g] = round_to(steps[g] * inverse_d, -max_scale, max_scale);
  }
  return scales;
}

void encode(Values x, BlockQ3_K& block) {
  const SignedScales scales = choose_signed_scales<16>(x, -4.0f, 31);
  block.d = scales.d;
  for (std::size_t g = 0; g < 16; ++g) {
    pack_q3_k_scale(block.scales, g, scales.groups[g]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int q = round_to(x[i] * inverse_or_zero(scales.step(i / 16)), -4, 3) + 4;
    set_bit_pair(block.qs, i, q & 3);
    merge_bits(block.hmask[i % 32], (q >> 2) << (i / 32));
  }
}

void encode(Values x, BlockQ6_K& block) {
  const SignedScales scales = choose_signed_scales<16>(x, -32.0f, 127);
  block.d = scales.d;
  for (std::size_t g = 0; g < 16; ++g) {
    block.scales[g] = static_cast<std::int8_t>(scales.groups[g]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int q = round_to(x[i] * inverse_or_zero(scales.step(i / 16)), -32, 31) + 32;
    const std::size_t half = i / 128;
    const std::size_t k = i % 128 / 32;
    const std::size_t l = i % 32;
    merge_bits(block.ql[half * 64 + l + 32 * (k % 2)], (q & 15) << (k / 2 * 4));
    merge_bits(block.qh[half * 32 + l], (q >> 4) << (2 * k));
  }
}

int nearest_iq4_level(float x) {
  const auto* level = std::ranges::min_element(
      kIQ4Levels, {}, [x](std::int8_t candidate) { return std::abs(x - candidate); });
  return static_cast<int>(level - kIQ4Levels);
}

void encode(Values x, BlockIQ4_NL& block) {
  block.d = f32_to_f16(extreme(x) / kIQ4Levels[0]);
  const float inverse = inverse_or_zero(f16_to_f32(block.d));
  for (std::size_t i = 0; i < x.size(); ++i) {
    set_nibble(block.qs, i, nearest_iq4_level(x[i] * inverse));
  }
}

void encode(Values x, BlockIQ4_XS& block) {
  const SignedScales scales = choose_signed_scales<8>(x, kIQ4Levels[0], 31);
  block.d = scales.d;
  for (std::size_t g = 0; g < 8; ++g) {
    const int stored = scales.groups[g] + 32;
    merge_bits(block.scales_l[g / 2], (stored & 15) << (g % 2 * 4));
    block.scales_h = static_cast<std::uint16_t>(block.scales_h | ((stored >> 4) << (2 * g)));
    const float inverse = inverse_or_zero(scales.step(g));
    for (std::size_t i = 0; i < 32; ++i) {
      set_nibble(block.qs + g * 16, i, nearest_iq4_level(x[g * 32 + i] * inverse));
    }
  }
}

template <typename Block>
void encode_row(Values values, std::span<std::byte> data) {
  for (std::size_t i = 0; i < values.size() / Block::kLen; ++i) {
    Block block = {};  // The encoders merge bits into zeros.
    encode(values.subspan(i * Block::kLen, Block::kLen), block);
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
    case DType::kQ2_K:
      return encode_row<BlockQ2_K>(values, data);
    case DType::kQ3_K:
      return encode_row<BlockQ3_K>(values, data);
    case DType::kQ4_K:
      return encode_row<BlockQ4_K>(values, data);
    case DType::kQ5_K:
      return encode_row<BlockQ5_K>(values, data);
    case DType::kQ6_K:
      return encode_row<BlockQ6_K>(values, data);
    case DType::kIQ4_NL:
      return encode_row<BlockIQ4_NL>(values, data);
    case DType::kIQ4_XS:
      return encode_row<BlockIQ4_XS>(values, data);
  }
}

}  // namespace hearth
