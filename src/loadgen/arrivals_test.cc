#include "loadgen/arrivals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace hearth::loadgen {
namespace {

TEST(PoissonArrivals, BeginAtZeroAndRepeatWithTheSeed) {
  const auto times = poisson_arrivals(50, 2.0, 7);
  EXPECT_EQ(times.size(), 50u);
  EXPECT_EQ(times.front(), 0.0);
  EXPECT_TRUE(std::ranges::is_sorted(times));
  EXPECT_EQ(poisson_arrivals(50, 2.0, 7), times);
  EXPECT_NE(poisson_arrivals(50, 2.0, 8), times);
  EXPECT_TRUE(poisson_arrivals(0, 2.0, 7).empty());
}

TEST(PoissonArrivals, GapsAreExponentialWithTheRateAsked) {
  constexpr std::size_t kCount = 100'000;
  constexpr double kRate = 4.0;
  const auto times = poisson_arrivals(kCount, kRate, 1);
  double sum = 0.0;
  double squares = 0.0;
  std::size_t long_gaps = 0;
  for (std::size_t i = 1; i < kCount; ++i) {
    const double gap = times[i] - times[i - 1];
    sum += gap;
    squares += gap * gap;
    if (gap > 1.0 / kRate) ++long_gaps;
  }
  const double mean = sum / (kCount - 1);
  const double variance = squares / (kCount - 1) - mean * mean;
  EXPECT_NEAR(mean * kRate, 1.0, 0.02);
  EXPECT_NEAR(std::sqrt(variance) / mean, 1.0, 0.02);
  EXPECT_NEAR(static_cast<double>(long_gaps) / kCount, std::exp(-1.0), 0.01);
}

}  // namespace
}  // namespace hearth::loadgen
