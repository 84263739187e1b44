#include "models/hf_made_tensors.h"

#include <algorithm>
#include <cstring>

namespace hearth {

Status wrong_shape(std::string_view name, const Shape& shape, std::string_view wanted) {
  return make_status(StatusCode::kDataLoss, "tensor '{}' has shape {}, expected {}", name,
                     shape.to_string(), wanted);
}

// A band of rows at a time, so that what is read stays in the cache.
void transpose_into(const ElementMatrix& matrix, std::byte* out) {
  constexpr std::size_t kBand = 32;
  const std::size_t size = matrix.size;
  for (std::size_t first = 0; first < matrix.rows; first += kBand) {
    const std::size_t last = std::min(first + kBand, matrix.rows);
    for (std::size_t col = 0; col < matrix.cols; ++col) {
      for (std::size_t row = first; row < last; ++row) {
        const std::size_t from = row * matrix.row_step + col * matrix.col_step;
        std::memcpy(out + (col * matrix.rows + row) * size, matrix.data + from * size, size);
      }
    }
  }
}

}  // namespace hearth
