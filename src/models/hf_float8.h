// Matrices of 8-bit floats. Internal to hf_quantization.
#pragma once

#include <string_view>

#include "models/hf_matrix.h"

namespace hearth {

// Values that share a scale: a part of the matrix of so many rows and columns.
struct HfTile {
  std::size_t rows = 0;
  std::size_t cols = 0;
};

// "weight" F8_E4M3 [rows, columns] times what stands in `scales`: one number, one for each row, or
// one for each tile, then `tile` is its size.
Result<HfMatrix> float8_matrix(const HfParts& parts, std::string_view scales, HfTile tile);

}  // namespace hearth
