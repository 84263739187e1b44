// Conversion of a tensor from any number format to another, by all threads.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace hearth {

struct Conversion {
  DType dtype = DType::kF32;
  // How much each input feature counts: [row_len], or [first dimension, row_len] for a stack of
  // matrices. Empty: all alike.
  std::span<const float> importance = {};
};

struct RowRange {
  std::size_t first = 0;
  std::size_t count = 0;
};

// Writes these rows in another format; `out` holds exactly what they take. What has that format
// already is copied. The same bytes on any number of threads. kDataLoss, naming the tensor, when a
// value is a NaN or an infinity; kOutOfRange when one is too large for the format's float16
// numbers.
Status convert_rows(const TensorView& tensor, RowRange rows, const Conversion& conversion,
                    ThreadPool& threads, std::span<std::byte> out);

}  // namespace hearth
