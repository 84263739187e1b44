// Figures of many measurements in few numbers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hearth::loadgen {

// Of no values at all, every field is 0.
struct Distribution {
  std::size_t count = 0;
  double mean = 0.0;
  double min = 0.0;
  double p50 = 0.0;
  double p95 = 0.0;
  double p99 = 0.0;
  double max = 0.0;
};

// The value at `percent` (0 to 100) of sorted values by linear interpolation between the closest
// ranks: rank (n - 1) * percent / 100, counted from 0, as numpy.percentile does by default.
double percentile(std::span<const double> sorted, double percent);

Distribution distribution_of(std::vector<double> values);

}  // namespace hearth::loadgen
