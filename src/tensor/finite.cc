#include "tensor/finite.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tensor/block_types.h"
#include "tensor/code_blocks.h"

namespace hearth {
namespace {

// All bits of the exponent set is a NaN or an infinity in each of these formats. Without a way out
// of the loop, so that it becomes vector code.
template <typename Bits>
bool no_full_exponent(std::span<const std::byte> data, Bits exponent) {
  Bits found = 0;
  for (std::size_t i = 0; i + sizeof(Bits) <= data.size(); i += sizeof(Bits)) {
    Bits value;
    std::memcpy(&value, data.data() + i, sizeof(Bits));
    found |= static_cast<Bits>((value & exponent) == exponent);
  }
  return found == 0;
}

bool is_finite(std::uint16_t float16) {
  return (float16 & 0x7c00) != 0x7c00;
}

template <typename Block>
bool has_finite_scales(const Block& block) {
  bool finite = is_finite(code_block_scale(block));
  if constexpr (requires { block.m; }) finite = finite && is_finite(block.m);
  if constexpr (requires { block.min; }) finite = finite && is_finite(block.min);
  return finite;
}

bool has_finite_scales(const BlockMXFP4& block) {
  return block.e <= BlockMXFP4::kMaxExponent;
}

// Kernels keep the scale as a float16.
bool has_finite_scales(const BlockNF4& block) {
  return std::abs(block.absmax) <= BlockNF4::kLevelScale * 65504.0f;
}

template <typename Block>
std::optional<std::size_t> first_bad_block(std::span<const std::byte> data) {
  for (std::size_t i = 0; (i + 1) * sizeof(Block) <= data.size(); ++i) {
    Block block;  // Copied, because rows in a file have no alignment.
    std::memcpy(&block, data.data() + i * sizeof(Block), sizeof(Block));
    if (!has_finite_scales(block)) return i;
  }
  return std::nullopt;
}

std::optional<std::size_t> first_bad_block(DType dtype, std::span<const std::byte> data) {
  return visit_block_type(
      dtype, std::optional<std::size_t>(),
      [data]<typename Block>(std::type_identity<Block>) { return first_bad_block<Block>(data); });
}

}  // namespace

bool all_finite(DType dtype, std::span<const std::byte> data) {
  switch (dtype) {
    case DType::kF32:
      return no_full_exponent<std::uint32_t>(data, 0x7f800000);
    case DType::kF16:
      return no_full_exponent<std::uint16_t>(data, 0x7c00);
    case DType::kBF16:
      return no_full_exponent<std::uint16_t>(data, 0x7f80);
    default:
      return !first_bad_block(dtype, data).has_value();
  }
}

std::optional<std::size_t> first_non_finite(DType dtype, std::span<const std::byte> data) {
  const DTypeInfo& info = dtype_info(dtype);
  if (info.block_len > 1) return first_bad_block(dtype, data);
  for (std::size_t i = 0; (i + 1) * info.block_bytes <= data.size(); ++i) {
    if (!all_finite(dtype, data.subspan(i * info.block_bytes, info.block_bytes))) return i;
  }
  return std::nullopt;
}

}  // namespace hearth
