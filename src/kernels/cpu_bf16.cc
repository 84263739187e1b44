// Products of plain floats rounded to bfloat16: weights on loading, inputs row by row.
#include <algorithm>
#include <bit>
#include <vector>

#include "kernels/cpu_device.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

std::uint16_t rounded(float value) {
  return round_to_bf16(std::bit_cast<std::uint32_t>(value));
}

}  // namespace

Status CpuWeight::round(ThreadPool& pool, WeightMemory& memory) {
  const std::size_t len = padded_to_pairs(in_features());
  panel_bytes_ = len * kPanelColumns * sizeof(std::uint16_t);
  HEARTH_ASSIGN_OR_RETURN(const WeightPiece piece, memory.allocate(num_panels() * panel_bytes_));
  pool.run(num_panels(), [&](std::size_t idx, std::size_t) {
    auto* const panel = reinterpret_cast<std::uint16_t*>(piece.data + idx * panel_bytes_);
    std::fill_n(panel, len * kPanelColumns, std::uint16_t{0});
    std::vector<float> values(in_features());
    const std::size_t first = idx * kPanelColumns;
    const std::size_t num_columns = std::min(kPanelColumns, out_features() - first);
    for (std::size_t column = 0; column < num_columns; ++column) {
      dequantize_row(dtype(), {row(first + column), row_bytes_}, values);
      for (std::size_t k = 0; k < values.size(); ++k)
        panel[(k / 2 * kPanelColumns + column) * 2 + k % 2] = rounded(values[k]);
    }
  });
  panels_ = piece.filled();
  return {};
}

void CpuDevice::round(ConstMatrixView input) {
  const std::size_t stride = padded_to_pairs(input.cols);
  rounded_.grow_to(input.rows * stride);
  for_each_row(input.rows, input.cols / 8, [&](std::size_t row) {
    std::uint16_t* const out = rounded_.data() + row * stride;
    kernels_.round_bf16(input.row(row), input.cols, out);
    std::fill(out + input.cols, out + stride, std::uint16_t{0});
  });
}

}  // namespace hearth
