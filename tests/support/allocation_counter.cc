#include "tests/support/allocation_counter.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

// ThreadSanitizer's runtime has operators new of its own, which cannot be replaced, but it can be
// asked to tell of every allocation.
#if defined(__SANITIZE_THREAD__)
#define HEARTH_ALLOCATION_HOOKS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HEARTH_ALLOCATION_HOOKS 1
#endif
#endif

#if defined(HEARTH_ALLOCATION_HOOKS)
#include <sanitizer/allocator_interface.h>
#endif

namespace {

thread_local std::size_t of_this_thread = 0;
std::atomic<std::size_t> total = 0;
std::atomic<std::size_t> live = 0;
std::atomic<std::size_t> peak = 0;

void count(std::size_t bytes) {
  ++of_this_thread;
  ++total;
  const std::size_t now = live += bytes;
  for (std::size_t most = peak; now > most && !peak.compare_exchange_weak(most, now);) {
  }
}

}  // namespace

#if defined(HEARTH_ALLOCATION_HOOKS)

namespace {

void on_malloc(const volatile void*, std::size_t size) {
  count(size);
}
void on_free(const volatile void* memory) {
  if (memory != nullptr) live -= __sanitizer_get_allocated_size(memory);
}
[[maybe_unused]] const int installed =
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);

}  // namespace

#else

namespace {

// nullptr when there is none.
void* count_and_allocate(std::size_t size, std::size_t alignment) noexcept {
  const std::size_t rounded =
      (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory != nullptr) count(::malloc_usable_size(memory));
  return memory;
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Not inlined: to the compiler, memory from operator new would otherwise meet a bare free().
[[gnu::noinline]] void release(void* memory) noexcept {
  if (memory != nullptr) live -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) {
  return or_throw(count_and_allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(count_and_allocate(size, static_cast<std::size_t>(alignment)));
}
// AddressSanitizer's own, if they stayed, would meet the operators delete below.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return count_and_allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return count_and_allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}

#endif

namespace hearth::test {

std::size_t thread_allocations() {
  return of_this_thread;
}
std::size_t total_allocations() {
  return total;
}
std::size_t live_bytes() {
  return live;
}
std::size_t peak_bytes() {
  return peak;
}
void reset_peak_bytes() {
  peak = live.load();
}

}  // namespace hearth::test
