// From a block format to the type of its blocks.
#pragma once

#include <type_traits>

#include "tensor/dtype.h"
#include "tensor/quant_blocks.h"

namespace hearth {

// Returns visit(std::type_identity<Block>()) for a format of blocks, and `plain` for any other.
template <typename Result, typename Visit>
Result visit_block_type(DType dtype, Result plain, Visit visit) {
  switch (dtype) {
    case DType::kQ4_0:
      return visit(std::type_identity<BlockQ4_0>());
    case DType::kQ4_1:
      return visit(std::type_identity<BlockQ4_1>());
    case DType::kQ5_0:
      return visit(std::type_identity<BlockQ5_0>());
    case DType::kQ5_1:
      return visit(std::type_identity<BlockQ5_1>());
    case DType::kQ8_0:
      return visit(std::type_identity<BlockQ8_0>());
    case DType::kQ2_K:
      return visit(std::type_identity<BlockQ2_K>());
    case DType::kQ3_K:
      return visit(std::type_identity<BlockQ3_K>());
    case DType::kQ4_K:
      return visit(std::type_identity<BlockQ4_K>());
    case DType::kQ5_K:
      return visit(std::type_identity<BlockQ5_K>());
    case DType::kQ6_K:
      return visit(std::type_identity<BlockQ6_K>());
    case DType::kIQ4_NL:
      return visit(std::type_identity<BlockIQ4_NL>());
    case DType::kIQ4_XS:
      return visit(std::type_identity<BlockIQ4_XS>());
    case DType::kIQ1_S:
      return visit(std::type_identity<BlockIQ1_S>());
    case DType::kIQ1_M:
      return visit(std::type_identity<BlockIQ1_M>());
    case DType::kIQ2_XXS:
      return visit(std::type_identity<BlockIQ2_XXS>());
    case DType::kIQ2_XS:
      return visit(std::type_identity<BlockIQ2_XS>());
    case DType::kIQ2_S:
      return visit(std::type_identity<BlockIQ2_S>());
    case DType::kIQ3_XXS:
      return visit(std::type_identity<BlockIQ3_XXS>());
    case DType::kIQ3_S:
      return visit(std::type_identity<BlockIQ3_S>());
    case DType::kTQ1_0:
      return visit(std::type_identity<BlockTQ1_0>());
    case DType::kTQ2_0:
      return visit(std::type_identity<BlockTQ2_0>());
    case DType::kMXFP4:
      return visit(std::type_identity<BlockMXFP4>());
    case DType::kNF4:
      return visit(std::type_identity<BlockNF4>());
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
      return plain;
  }
  return plain;
}

}  // namespace hearth
