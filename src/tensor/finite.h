// Finds values that no weight may have. Thread-safe; nothing is kept between calls.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "tensor/dtype.h"

namespace hearth {

// False when one of the values is a NaN or an infinity. `data` is whole values of F32, F16 or BF16,
// or whole blocks, at any alignment. Of a block only the scales and minima are looked at, and
// exponents (MXFP4) that could make a value infinite are refused; a finite float16 times a format's
// integers is finite. Plain formats are read at the speed of memory.
bool all_finite(DType dtype, std::span<const std::byte> data);

// Index of the first value of a plain format, or of the first block, for which all_finite() is
// false.
std::optional<std::size_t> first_non_finite(DType dtype, std::span<const std::byte> data);

}  // namespace hearth
