// Rows of weights in any number format, also in those that are only read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/dtype.h"

namespace hearth::test {

// row_bytes(dtype, num_values) random bytes whose scales are moderate positive numbers; of plain
// float formats normal values around zero. Equal seeds give equal bytes.
std::vector<std::byte> random_blocks(DType dtype, std::size_t num_values, std::uint32_t seed);

// Scales and minima that a block stores; 0 for plain formats.
std::size_t num_scales(DType dtype);

// Makes scale `idx` of a block an infinity, or a NaN.
void spoil_scale(DType dtype, std::span<std::byte> block, std::size_t idx, bool infinite);

}  // namespace hearth::test
