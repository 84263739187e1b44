#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/status.h"
#include "tensor/block_types.h"
#include "tensor/code_blocks.h"
#include "tensor/float16.h"
#include "tensor/quant_blocks.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

// Nibbles of a 32-value group in order of value.
template <typename Emit>
void for_each_nibble(const std::uint8_t* qs, Emit emit) {
  for (std::size_t i = 0; i < 16; ++i)
    emit(i, qs[i] & 15);
  for (std::size_t i = 0; i < 16; ++i)
    emit(i + 16, qs[i] >> 4);
}

int fifth_bit(const std::uint8_t* qh, std::size_t i) {
  return ((qh[i / 8] >> (i % 8)) & 1) << 4;
}

void decode(const BlockQ4_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for_each_nibble(block.qs, [&](std::size_t i, int q) { out[i] = d * static_cast<float>(q - 8); });
}

void decode(const BlockQ4_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for_each_nibble(block.qs, [&](std::size_t i, int q) { out[i] = d * static_cast<float>(q) + m; });
}

void decode(const BlockQ5_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for_each_nibble(block.qs, [&](std::size_t i, int q) {
    out[i] = d * static_cast<float>((q | fifth_bit(block.qh, i)) - 16);
  });
}

void decode(const BlockQ5_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for_each_nibble(block.qs, [&](std::size_t i, int q) {
    out[i] = d * static_cast<float>(q | fifth_bit(block.qh, i)) + m;
  });
}

void decode(const BlockQ8_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (std::size_t i = 0; i < 32; ++i)
    out[i] = d * static_cast<float>(block.qs[i]);
}

// The two low bits of value i in the layout Q2_K and Q3_K share.
int bit_pair(const std::uint8_t* qs, std::size_t i) {
  return (qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
}

void decode(const BlockQ2_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float min = f16_to_f32(block.min);
  for (std::size_t i = 0; i < 256; ++i) {
    const std::uint8_t scale = block.scales[i / 16];
    const float group_d = d * static_cast<float>(scale & 15);
    const float group_min = min * static_cast<float>(scale >> 4);
    out[i] = group_d * static_cast<float>(bit_pair(block.qs, i)) - group_min;
  }
}

void decode(const BlockQ3_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (std::size_t i = 0; i < 256; ++i) {
    const float group_d = d * static_cast<float>(unpack_q3_k_scale(block.scales, i / 16));
    const int high = (block.hmask[i % 32] >> (i / 32)) & 1;
    out[i] = group_d * static_cast<float>(bit_pair(block.qs, i) - (high ? 0 : 4));
  }
}

void decode(const BlockQ4_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float min = f16_to_f32(block.min);
  for (std::size_t i = 0; i < 256; ++i) {
    const ScaleMin group = unpack_k_scale_min(block.scales, i / 32);
    const float group_d = d * static_cast<float>(group.scale);
    const float group_min = min * static_cast<float>(group.min);
    const int q = (block.qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15;
    out[i] = group_d * static_cast<float>(q) - group_min;
  }
}

void decode(const BlockQ5_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float min = f16_to_f32(block.min);
  for (std::size_t i = 0; i < 256; ++i) {
    const ScaleMin group = unpack_k_scale_min(block.scales, i / 32);
    const float group_d = d * static_cast<float>(group.scale);
    const float group_min = min * static_cast<float>(group.min);
    const int low = (block.qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15;
    const int high = (block.qh[i % 32] >> (i / 32)) & 1;
    out[i] = group_d * static_cast<float>(low | (high << 4)) - group_min;
  }
}

void decode(const BlockQ6_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (std::size_t i = 0; i < 256; ++i) {
    const std::size_t half = i / 128;
    const std::size_t k = i % 128 / 32;
    const std::size_t l = i % 32;
    const int low = (block.ql[half * 64 + l + 32 * (k % 2)] >> (k / 2 * 4)) & 15;
    const int high = (block.qh[half * 32 + l] >> (2 * k)) & 3;
    const float group_d = d * static_cast<float>(block.scales[i / 16]);
    out[i] = group_d * static_cast<float>((low | (high << 4)) - 32);
  }
}

void decode(const BlockIQ4_NL& block, float* out) {
  const float d = f16_to_f32(block.d);
  for_each_nibble(block.qs,
                  [&](std::size_t i, int q) { out[i] = d * static_cast<float>(kIQ4Levels[q]); });
}

void decode(const BlockIQ4_XS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (std::size_t g = 0; g < 8; ++g) {
    const int low = (block.scales_l[g / 2] >> (g % 2 * 4)) & 15;
    const int high = (block.scales_h >> (2 * g)) & 3;
    const float group_d = d * static_cast<float>((low | (high << 4)) - 32);
    for_each_nibble(block.qs + g * 16, [&](std::size_t i, int q) {
      out[g * 32 + i] = group_d * static_cast<float>(kIQ4Levels[q]);
    });
  }
}

// Every product is exact: 11 bits of d, 5 of the scale, 6 of the level.
template <typename Block>
  requires requires { Block::kLevels; }
void decode(const Block& block, float* out) {
  std::uint8_t codes[Block::kLen];
  std::uint8_t scales[Block::kLen / Block::kGroupLen];
  unpack_codes(block, codes, scales);
  const float d = f16_to_f32(code_block_scale(block)) * Block::kUnit;
  for (std::size_t i = 0; i < Block::kLen; ++i) {
    const int level = scales[i / Block::kGroupLen] * Block::kLevels[codes[i]];
    out[i] = d * static_cast<float>(level);
  }
}

template <typename Block>
void decode_ternary(const Block& block, float* out) {
  std::uint8_t numbers[Block::kLen];
  unpack_ternary(block, numbers);
  const float d = f16_to_f32(block.d);
  for (std::size_t i = 0; i < Block::kLen; ++i)
    out[i] = d * static_cast<float>(numbers[i] - 1);
}

void decode(const BlockTQ1_0& block, float* out) {
  decode_ternary(block, out);
}

void decode(const BlockTQ2_0& block, float* out) {
  decode_ternary(block, out);
}

void decode(const BlockMXFP4& block, float* out) {
  const float d =
      block.e == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(0.5f, block.e - 127);
  for_each_nibble(block.qs,
                  [&](std::size_t i, int q) { out[i] = d * static_cast<float>(kMxFp4Levels[q]); });
}

void decode(const BlockNF4& block, float* out) {
  for (std::size_t half = 0; half < 2; ++half) {
    for_each_nibble(block.qs + half * 16, [&](std::size_t i, int q) {
      out[half * 32 + i] = block.absmax * kNF4Levels[q];
    });
  }
}

template <typename Block>
void decode_row(std::span<const std::byte> data, std::span<float> out) {
  for (std::size_t i = 0; i < out.size() / Block::kLen; ++i) {
    Block block;  // Copied, because rows in a file have no alignment.
    std::memcpy(&block, data.data() + i * sizeof(Block), sizeof(Block));
    decode(block, out.data() + i * Block::kLen);
  }
}

template <typename Stored, typename Widen>
void widen_row(std::span<const std::byte> data, std::span<float> out, Widen widen) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, data.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = widen(stored);
  }
}

}  // namespace

void dequantize_row(DType dtype, std::span<const std::byte> data, std::span<float> out) {
  HEARTH_CHECK(data.size() == row_bytes(dtype, out.size()));
  switch (dtype) {
    case DType::kF32:
      return widen_row<float>(data, out, [](float x) { return x; });
    case DType::kF16:
      return widen_row<std::uint16_t>(data, out, f16_to_f32);
    case DType::kBF16:
      return widen_row<std::uint16_t>(data, out, bf16_to_f32);
    case DType::kI32:
      return widen_row<std::int32_t>(data, out,
                                     [](std::int32_t x) { return static_cast<float>(x); });
    default:
      visit_block_type(dtype, false, [&]<typename Block>(std::type_identity<Block>) {
        decode_row<Block>(data, out);
        return true;
      });
  }
}

}  // namespace hearth
