// A step's buffers, and their first rows as matrices. Internal to the decoder.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/device.h"

namespace hearth {

// Elements start out undefined: memory from the system becomes resident with the first step that
// is large enough to write it, not when it is set aside.
template <typename T>
struct UntouchedAllocator : std::allocator<T> {
  template <typename U>
  struct rebind {
    using other = UntouchedAllocator<U>;
  };
  template <typename U>
  void construct(U* element) {
    ::new (static_cast<void*>(element)) U;
  }
};

template <typename T>
using StepBuffer = std::vector<T, UntouchedAllocator<T>>;

inline MatrixView rows_of(StepBuffer<float>& buffer, std::size_t num_rows, std::size_t width) {
  return {buffer.data(), num_rows, width, width};
}

}  // namespace hearth
