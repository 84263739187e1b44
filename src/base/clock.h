// Time as a seam: code that measures or waits takes a Clock, and tests hand it a FakeClock.
#pragma once

#include <chrono>
#include <mutex>

namespace hearth {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // For intervals: never goes back.
  virtual std::chrono::steady_clock::time_point now() const = 0;
  // For time stamps that leave the process: may jump when the machine's clock is set.
  virtual std::chrono::system_clock::time_point wall_now() const = 0;
};

// The machine's clocks. One object for the whole process; lives forever.
const Clock& system_clock();

// Stands still until told to advance. Thread-safe.
class FakeClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point now() const override;
  std::chrono::system_clock::time_point wall_now() const override;
  // Moves both clocks.
  void advance(std::chrono::steady_clock::duration by);

 private:
  mutable std::mutex mutex_;
  std::chrono::steady_clock::duration elapsed_{};
};

}  // namespace hearth
