#include "base/anonymous_mapping.h"

#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <utility>

namespace hearth {

Result<AnonymousMapping> AnonymousMapping::create(std::size_t size) {
  HEARTH_CHECK(size > 0);
  const auto refused = [size] {
    return error(StatusCode::kResourceExhausted, "the system refuses {} bytes of memory", size);
  };
  if (size > std::numeric_limits<std::size_t>::max() - kHugePageBytes) return refused();
  const std::size_t padded = size + kHugePageBytes;
  void* memory =
      ::mmap(nullptr, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return refused();
  // What lies before the first huge page's border and after the end goes back at once.
  auto* const start = static_cast<std::byte*>(memory);
  const std::size_t before =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(memory) % kHugePageBytes) % kHugePageBytes;
  if (before > 0) ::munmap(start, before);
  constexpr std::size_t kSmallPageBytes = 4096;
  const std::size_t used = (size + kSmallPageBytes - 1) / kSmallPageBytes * kSmallPageBytes;
  if (padded - before > used) ::munmap(start + before + used, padded - before - used);
  AnonymousMapping mapping;
  mapping.data_ = start + before;
  mapping.size_ = size;
  // Only a wish: without huge pages everything works, more slowly.
  ::madvise(mapping.data_, size, MADV_HUGEPAGE);
  return mapping;
}

AnonymousMapping::AnonymousMapping(AnonymousMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AnonymousMapping& AnonymousMapping::operator=(AnonymousMapping&& other) noexcept {
  AnonymousMapping taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  return *this;
}

void AnonymousMapping::discard(std::span<const std::byte> part) const {
  constexpr std::uintptr_t kSmallPageBytes = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(part.data());
  const std::uintptr_t first = (begin + kSmallPageBytes - 1) / kSmallPageBytes * kSmallPageBytes;
  const std::uintptr_t last = (begin + part.size()) / kSmallPageBytes * kSmallPageBytes;
  HEARTH_CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  if (first >= last) return;
  ::madvise(data_ + (first - reinterpret_cast<std::uintptr_t>(data_)), last - first, MADV_DONTNEED);
}

AnonymousMapping::~AnonymousMapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace hearth
