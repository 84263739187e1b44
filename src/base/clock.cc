#include "base/clock.h"

namespace hearth {

namespace {

class SystemClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point now() const override {
    return std::chrono::steady_clock::now();
  }
  std::chrono::system_clock::time_point wall_now() const override {
    return std::chrono::system_clock::now();
  }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock instance;
  return instance;
}

// Both clocks start at their epochs, so that tests can write expected values down.
std::chrono::steady_clock::time_point FakeClock::now() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::steady_clock::time_point(elapsed_);
}

std::chrono::system_clock::time_point FakeClock::wall_now() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(elapsed_));
}

void FakeClock::advance(std::chrono::steady_clock::duration by) {
  const std::lock_guard lock(mutex_);
  elapsed_ += by;
}

}  // namespace hearth
