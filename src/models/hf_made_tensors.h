// Tensors that Hugging Face directories hold in another form than models want: how elements
// change places on the way. Internal to the reading of such directories.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

// kDataLoss with the name, the tensor's shape and the one that was wanted.
Status wrong_shape(std::string_view name, const Shape& shape, std::string_view wanted);

// A matrix [rows, cols] of elements of `size` bytes each; the steps are in elements. Borrows.
struct ElementMatrix {
  const std::byte* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t row_step = 0;
  std::size_t col_step = 1;
  std::size_t size = 0;
};

// out [cols, rows], without gaps.
void transpose_into(const ElementMatrix& matrix, std::byte* out);

}  // namespace hearth
