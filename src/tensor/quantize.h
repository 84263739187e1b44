// Plain-loop conversion between float32 and every number format: the ground truth kernels and
// quantizers are tested against. Thread-safe; nothing is kept between calls.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace hearth {

// Writes out.size() values; `data` holds exactly row_bytes(dtype, out.size()) bytes, at any
// alignment. Each value is computed in float32 in the order of the formula beside its block's
// layout.
void dequantize_row(DType dtype, std::span<const std::byte> data, std::span<float> out);

// The formats that can be written. The code-book formats IQ1, IQ2 and IQ3, TQ1_0, TQ2_0 and MXFP4
// are only read.
bool can_quantize(DType dtype);

// Writes the row_bytes(dtype, values.size()) bytes of `data`; can_quantize(dtype) must hold. The
// values must be finite and each block's scale must fit its number (any real weight does). Plain
// formats, Q4_0 to Q8_0 and NF4 give the bytes of the format's reference quantizer; the others
// those of quantize_weight_row().
void quantize_row(DType dtype, std::span<const float> values, std::span<std::byte> data);

// The same for weights of a model: scales and minima are searched for the least squared error, each
// value's counted by its importance (not negative), or all alike when `importance` is empty. Plain
// formats and Q8_0 are as by quantize_row(). Deterministic.
void quantize_weight_row(DType dtype, std::span<const float> values,
                         std::span<const float> importance, std::span<std::byte> data);

}  // namespace hearth
