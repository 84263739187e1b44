#include "kernels/machine_peaks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/kernels.h"

namespace hearth {
namespace {

using namespace std::chrono_literals;

TEST(MachinePeaks, HasAFigureForEverythingTheCpuCanDo) {
  ThreadPool threads(2);
  const MachinePeaks peaks = measure_peaks(threads, 0ms);
  EXPECT_GT(peaks.read_bytes_per_s, 0.0);
  std::vector<std::string_view> measured;
  for (const ArithmeticPeaks& set : peaks.arithmetic) {
    measured.push_back(set.kernels);
    EXPECT_GT(set.fp32, 0.0) << set.kernels;
    EXPECT_GT(set.int8, 0.0) << set.kernels;
    EXPECT_GT(set.int8_in_16, 0.0) << set.kernels;
  }
  std::vector<std::string_view> supported;
  for (const KernelSetInfo& set : kernel_sets()) {
    if (set.name == "reference" || set.name == "avx2-vnni512") continue;  // Never the best.
    if (set.name == "avx512-bf16") continue;                              // Has avx512's units.
    if (set.supported) supported.push_back(set.name);
  }
  EXPECT_EQ(measured, supported);
}

TEST(MachinePeaks, TakesTheBestOfAllSets) {
  MachinePeaks peaks;
  EXPECT_EQ(peaks.fp32(), std::nullopt);
  EXPECT_EQ(peaks.int8(), std::nullopt);
  peaks.arithmetic = {{.kernels = "a", .fp32 = 1, .int8 = 5, .int8_in_16 = 4},
                      {.kernels = "b", .fp32 = 2, .int8 = 3, .int8_in_16 = 6}};
  EXPECT_EQ(peaks.fp32(), 2);
  EXPECT_EQ(peaks.int8(), 6);
}

}  // namespace
}  // namespace hearth
