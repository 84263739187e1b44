#include "tensor/dtype.h"

#include <algorithm>
#include <array>

#include "base/status.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

template <typename Block>
constexpr DTypeInfo block_row(DType dtype, std::string_view name, std::uint32_t gguf_type) {
  return {dtype, name, gguf_type, Block::kLen, sizeof(Block)};
}

// Far beyond the numbers that GGUF gives, so that other programs refuse the file instead of taking
// its tensors for something else.
constexpr std::uint32_t kOwnGgufType = 0x4e46'0004;

constexpr std::array kDTypes = {
    DTypeInfo{DType::kF32, "F32", 0, 1, 4},
    DTypeInfo{DType::kF16, "F16", 1, 1, 2},
    DTypeInfo{DType::kBF16, "BF16", 30, 1, 2},
    DTypeInfo{DType::kI32, "I32", 26, 1, 4},
    block_row<BlockQ4_0>(DType::kQ4_0, "Q4_0", 2),
    block_row<BlockQ4_1>(DType::kQ4_1, "Q4_1", 3),
    block_row<BlockQ5_0>(DType::kQ5_0, "Q5_0", 6),
    block_row<BlockQ5_1>(DType::kQ5_1, "Q5_1", 7),
    block_row<BlockQ8_0>(DType::kQ8_0, "Q8_0", 8),
    block_row<BlockQ2_K>(DType::kQ2_K, "Q2_K", 10),
    block_row<BlockQ3_K>(DType::kQ3_K, "Q3_K", 11),
    block_row<BlockQ4_K>(DType::kQ4_K, "Q4_K", 12),
    block_row<BlockQ5_K>(DType::kQ5_K, "Q5_K", 13),
    block_row<BlockQ6_K>(DType::kQ6_K, "Q6_K", 14),
    block_row<BlockIQ4_NL>(DType::kIQ4_NL, "IQ4_NL", 20),
    block_row<BlockIQ4_XS>(DType::kIQ4_XS, "IQ4_XS", 23),
    block_row<BlockIQ1_S>(DType::kIQ1_S, "IQ1_S", 19),
    block_row<BlockIQ1_M>(DType::kIQ1_M, "IQ1_M", 29),
    block_row<BlockIQ2_XXS>(DType::kIQ2_XXS, "IQ2_XXS", 16),
    block_row<BlockIQ2_XS>(DType::kIQ2_XS, "IQ2_XS", 17),
    block_row<BlockIQ2_S>(DType::kIQ2_S, "IQ2_S", 22),
    block_row<BlockIQ3_XXS>(DType::kIQ3_XXS, "IQ3_XXS", 18),
    block_row<BlockIQ3_S>(DType::kIQ3_S, "IQ3_S", 21),
    block_row<BlockTQ1_0>(DType::kTQ1_0, "TQ1_0", 34),
    block_row<BlockTQ2_0>(DType::kTQ2_0, "TQ2_0", 35),
    block_row<BlockMXFP4>(DType::kMXFP4, "MXFP4", 39),
    block_row<BlockNF4>(DType::kNF4, "NF4", kOwnGgufType),
};

// By type number; some were given up and are never used again.
constexpr std::array<std::string_view, 42> kGgufTypeNames = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4",    "Q1_0"};

}  // namespace

const DTypeInfo& dtype_info(DType dtype) {
  const auto* row = std::ranges::find(kDTypes, dtype, &DTypeInfo::dtype);
  HEARTH_CHECK(row != kDTypes.end());
  return *row;
}

std::span<const DTypeInfo> all_dtypes() {
  return kDTypes;
}

std::optional<DType> dtype_from_gguf(std::uint32_t gguf_type) {
  const auto* row = std::ranges::find(kDTypes, gguf_type, &DTypeInfo::gguf_type);
  if (row == kDTypes.end()) return std::nullopt;
  return row->dtype;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  const auto* row = std::ranges::find(kDTypes, name, &DTypeInfo::name);
  if (row == kDTypes.end()) return std::nullopt;
  return row->dtype;
}

std::string_view gguf_type_name(std::uint32_t gguf_type) {
  if (gguf_type == kOwnGgufType) return "NF4";
  if (gguf_type >= kGgufTypeNames.size()) return "unknown";
  return kGgufTypeNames[gguf_type];
}

std::size_t row_bytes(DType dtype, std::size_t row_len) {
  const DTypeInfo& info = dtype_info(dtype);
  HEARTH_CHECK(row_len % info.block_len == 0);
  return row_len / info.block_len * info.block_bytes;
}

}  // namespace hearth
