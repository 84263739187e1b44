// What weights will take in memory, before any device is there.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/tensor.h"

namespace hearth {

// Bytes of the tensors once their matrices are packed for the kernels. Vectors and float formats
// are not; a table that is only looked up is counted as if it were.
std::size_t packed_bytes(std::span<const TensorView> tensors);

}  // namespace hearth
