#include "loadgen/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hearth::loadgen {

double percentile(std::span<const double> sorted, double percent) {
  if (sorted.empty()) return 0.0;
  const double rank = static_cast<double>(sorted.size() - 1) * percent / 100.0;
  const auto below = static_cast<std::size_t>(std::floor(rank));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = rank - static_cast<double>(below);
  return sorted[below] + (sorted[above] - sorted[below]) * share;
}

Distribution distribution_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.count = values.size(),
          .mean = sum / static_cast<double>(values.size()),
          .min = values.front(),
          .p50 = percentile(values, 50),
          .p95 = percentile(values, 95),
          .p99 = percentile(values, 99),
          .max = values.back()};
}

}  // namespace hearth::loadgen
