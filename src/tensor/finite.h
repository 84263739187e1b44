// Finds values that no weight may have. Thread-safe; nothing is kept between calls.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace hearth {

// False when one of the values is a NaN or an infinity. `data` is whole values of F32, F16 or BF16,
// at any alignment; other formats, whose blocks are scaled integers, are taken to be finite. Reads
// at the speed of memory.
bool all_finite(DType dtype, std::span<const std::byte> data);

}  // namespace hearth
