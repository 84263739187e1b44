#include "tests/support/random_blocks.h"

#include <cstring>
#include <limits>
#include <random>

#include "tensor/float16.h"
#include "tensor/quant_blocks.h"

namespace hearth::test {
namespace {

// Offsets of the float16 numbers in a block, where they are whole.
std::vector<std::size_t> f16_offsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    case DType::kTQ1_0:
      return {52};
    case DType::kTQ2_0:
      return {64};
    case DType::kIQ1_M:
    case DType::kMXFP4:
    case DType::kNF4:
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
      return {};
    default:
      return {0};
  }
}

void set_scale(DType dtype, std::span<std::byte> block, std::size_t idx, std::uint16_t bits) {
  if (dtype != DType::kIQ1_M) {
    std::memcpy(block.data() + f16_offsets(dtype)[idx], &bits, sizeof(bits));
    return;
  }
  // Four bits at the top of each of the last four words.
  for (unsigned i = 0; i < 4; ++i) {
    std::byte& top = block[49 + 2 * i];
    top = (top & std::byte{0x0f}) | static_cast<std::byte>((bits >> (4 * i) & 15) << 4);
  }
}

void set_absmax(std::span<std::byte> block, float absmax) {
  std::memcpy(block.data(), &absmax, sizeof(absmax));
}

}  // namespace

std::size_t num_scales(DType dtype) {
  const bool has_one = dtype == DType::kIQ1_M || dtype == DType::kMXFP4 || dtype == DType::kNF4;
  return has_one ? 1 : f16_offsets(dtype).size();
}

void spoil_scale(DType dtype, std::span<std::byte> block, std::size_t idx, bool infinite) {
  if (dtype == DType::kMXFP4) {
    block[0] = std::byte{infinite ? std::uint8_t{253} : std::uint8_t{255}};
  } else if (dtype == DType::kNF4) {
    constexpr float kTooLarge = 65600.0f * BlockNF4::kLevelScale;
    set_absmax(block, infinite ? -kTooLarge : std::numeric_limits<float>::quiet_NaN());
  } else {
    set_scale(dtype, block, idx, infinite ? 0xfc00 : 0x7e00);
  }
}

std::vector<std::byte> random_blocks(DType dtype, std::size_t num_values, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> scale(0.001f, 0.02f);
  std::normal_distribution<float> plain(0.0f, 0.05f);
  std::vector<std::byte> data(row_bytes(dtype, num_values));
  for (std::byte& byte : data)
    byte = static_cast<std::byte>(generator());
  const std::size_t block_bytes = dtype_info(dtype).block_bytes;
  for (std::size_t at = 0; at < data.size(); at += block_bytes) {
    const auto block = std::span(data).subspan(at, block_bytes);
    if (dtype == DType::kF32) {
      const float value = plain(generator);
      std::memcpy(block.data(), &value, sizeof(value));
    } else if (dtype == DType::kF16 || dtype == DType::kBF16) {
      const float value = plain(generator);
      const std::uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(block.data(), &bits, sizeof(bits));
    } else if (dtype == DType::kMXFP4) {
      block[0] = static_cast<std::byte>(112 + generator() % 16);
    } else if (dtype == DType::kNF4) {
      set_absmax(block, scale(generator) * BlockNF4::kLevelScale);
    } else {
      for (std::size_t i = 0; i < num_scales(dtype); ++i)
        set_scale(dtype, block, i, f32_to_f16(scale(generator)));
    }
  }
  return data;
}

}  // namespace hearth::test
