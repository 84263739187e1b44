// Large memory straight from the system, on huge pages where it grants them.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.h"

namespace hearth {

// Zero-filled memory that becomes resident as it is touched. It starts on a huge page and is asked
// to consist of them: a stream over small pages reaches about half of a machine's read bandwidth.
// Owns the memory; move only. An empty mapping has no memory.
class AnonymousMapping {
 public:
  static constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

  // `size` > 0. kResourceExhausted, naming the size, when the system refuses it.
  static Result<AnonymousMapping> create(std::size_t size);

  AnonymousMapping() = default;
  AnonymousMapping(AnonymousMapping&& other) noexcept;
  AnonymousMapping& operator=(AnonymousMapping&& other) noexcept;
  ~AnonymousMapping();

  // Gives the whole pages of `part`, which lies within the mapping, back to the system: from here
  // on they hold zeros, or nothing that may be relied on.
  void discard(std::span<const std::byte> part) const;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace hearth
