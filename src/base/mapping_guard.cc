#include "base/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

namespace hearth {
namespace {

// A model of many shards has a few hundred files.
constexpr std::size_t kMaxMappings = 4096;

struct Slot {
  std::atomic<std::uintptr_t> begin = 0;  // 0: free.
  std::atomic<std::uintptr_t> end = 0;
  std::atomic<bool> lost = false;
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);

struct Table {
  std::array<Slot, kMaxMappings> slots;
  std::atomic<std::size_t> num_used = 0;  // Slots beyond were never used.
  std::mutex mutex;                       // Of watch() and the end of guards, not of the handler.
  struct sigaction former = {};
  std::uintptr_t page = 0;
};

Table& table() {
  static Table instance;
  return instance;
}

// Reached by the handler without a function's static guard.
std::atomic<Table*> handler_table = nullptr;

// Zeros from the page of `address` to the end: behind the end of a file there is nothing more, and
// after a disk error nothing of the file is trusted any longer.
bool fill_with_zeros(Table& known, void* fault) {
  const auto address = reinterpret_cast<std::uintptr_t>(fault);
  const std::size_t num_used = known.num_used.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < num_used; ++i) {
    Slot& slot = known.slots[i];
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = slot.end.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= end) continue;
    slot.lost.store(true, std::memory_order_release);
    const std::uintptr_t offset = address % known.page;
    const void* mapped =
        ::mmap(static_cast<std::byte*>(fault) - offset, end - (address - offset), PROT_READ,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    return mapped != MAP_FAILED;
  }
  return false;
}

void on_bus_error(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  Table& known = *handler_table.load(std::memory_order_acquire);
  const bool handled = fill_with_zeros(known, info->si_addr);
  // Not ours: the instruction runs again, and meets whoever handled the signal before.
  if (!handled) ::sigaction(SIGBUS, &known.former, nullptr);
  errno = saved_errno;
}

void install(Table& known) {
  known.page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  handler_table.store(&known, std::memory_order_release);
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &known.former);
}

}  // namespace

Result<MappingGuard> MappingGuard::watch(std::span<const std::byte> mapping) {
  Table& known = table();
  const std::lock_guard lock(known.mutex);
  if (known.page == 0) install(known);
  for (std::size_t i = 0; i < kMaxMappings; ++i) {
    Slot& slot = known.slots[i];
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(mapping.data());
    slot.lost.store(false, std::memory_order_relaxed);
    slot.end.store(begin + mapping.size(), std::memory_order_relaxed);
    slot.begin.store(begin, std::memory_order_release);
    if (i >= known.num_used.load(std::memory_order_relaxed)) {
      known.num_used.store(i + 1, std::memory_order_release);
    }
    return MappingGuard(i);
  }
  return error(StatusCode::kResourceExhausted, "{} files are mapped already, the most allowed",
               kMaxMappings);
}

MappingGuard::MappingGuard(MappingGuard&& other) noexcept
    : slot_(std::exchange(other.slot_, kNone)) {}

MappingGuard& MappingGuard::operator=(MappingGuard&& other) noexcept {
  MappingGuard taken(std::move(other));
  std::swap(slot_, taken.slot_);
  return *this;
}

MappingGuard::~MappingGuard() {
  if (slot_ == kNone) return;
  Table& known = table();
  const std::lock_guard lock(known.mutex);
  known.slots[slot_].begin.store(0, std::memory_order_release);
}

bool MappingGuard::lost() const {
  return slot_ != kNone && table().slots[slot_].lost.load(std::memory_order_acquire);
}

}  // namespace hearth
