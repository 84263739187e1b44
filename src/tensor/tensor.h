// A named, typed, read-only view of tensor data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tensor/dtype.h"

namespace hearth {

// Dimensions, outermost first: a weight matrix is [out_features, in_features] and its rows are
// contiguous. (GGUF stores them innermost first; the reader turns them round.)
struct Shape {
  std::array<std::uint64_t, 4> dims = {1, 1, 1, 1};
  std::uint32_t rank = 0;

  // Product of all dimensions; a reader has proved that it does not overflow.
  std::uint64_t num_elements() const;
  std::uint64_t row_len() const { return rank == 0 ? 1 : dims[rank - 1]; }
  std::uint64_t num_rows() const { return num_elements() / row_len(); }
  std::string to_string() const;  // "[576, 1536]"
  bool operator==(const Shape&) const = default;
};

// Borrows `data` from the model file (or whoever made it), which must outlive the view. `data`
// holds exactly num_rows x row_bytes bytes. Reading from several threads is safe.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> data;
};

}  // namespace hearth
