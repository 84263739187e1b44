#include "base/clock.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

TEST(FakeClock, MovesOnlyWhenTold) {
  FakeClock clock;
  const auto start = clock.now();
  const auto wall_start = clock.wall_now();
  EXPECT_EQ(clock.now(), start);
  clock.advance(std::chrono::milliseconds(1500));
  EXPECT_EQ(clock.now() - start, std::chrono::milliseconds(1500));
  EXPECT_EQ(clock.wall_now() - wall_start, std::chrono::milliseconds(1500));
}

TEST(SystemClock, NeverGoesBack) {
  const auto first = system_clock().now();
  EXPECT_GE(system_clock().now(), first);
  EXPECT_GT(system_clock().wall_now().time_since_epoch(), std::chrono::hours(24 * 365 * 50));
}

}  // namespace
}  // namespace hearth
