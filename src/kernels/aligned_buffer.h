// Memory aligned for vector loads.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "kernels/kernel_table.h"

namespace hearth {

// An uninitialised array of T that starts on a cache line. Owns its memory; move only.
template <typename T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size)
      : data_(static_cast<T*>(::operator new(size * sizeof(T), kAlignment))), size_(size) {}

  T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

  // Makes room for `size` elements; what the buffer held is lost when it has to grow.
  void grow_to(std::size_t size) {
    if (size > size_) *this = AlignedBuffer(size);
  }

 private:
  static constexpr std::align_val_t kAlignment{kCacheLineBytes};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };

  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace hearth
