// The first rows of a step's buffer as a matrix. Internal to the decoder.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/device.h"

namespace hearth {

inline MatrixView rows_of(std::vector<float>& buffer, std::size_t num_rows, std::size_t width) {
  return {buffer.data(), num_rows, width, width};
}

}  // namespace hearth
