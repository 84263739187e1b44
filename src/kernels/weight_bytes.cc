#include "kernels/weight_bytes.h"

#include "kernels/kernel_table.h"
#include "kernels/pack_weights.h"

namespace hearth {
namespace {

std::size_t bytes_of(const TensorView& tensor) {
  const auto format = packed_format_of(tensor.dtype);
  if (!format || tensor.shape.rank < 2 || tensor.data.empty()) return tensor.data.size();
  const auto row_len = static_cast<std::size_t>(tensor.shape.row_len());
  const auto num_rows = static_cast<std::size_t>(tensor.shape.num_rows());
  // Of a stack of matrices each begins a panel of its own.
  std::size_t num_matrices = 1;
  for (std::uint32_t i = 0; i + 2 < tensor.shape.rank; ++i)
    num_matrices *= static_cast<std::size_t>(tensor.shape.dims[i]);
  const std::size_t num_panels =
      num_matrices * ((num_rows / num_matrices + kPanelColumns - 1) / kPanelColumns);
  return num_panels * panel_layout(packed_traits(*format), row_len / kGroupLen).total_bytes;
}

}  // namespace

std::size_t packed_bytes(std::span<const TensorView> tensors) {
  std::size_t sum = 0;
  for (const TensorView& tensor : tensors)
    sum += bytes_of(tensor);
  return sum;
}

}  // namespace hearth
