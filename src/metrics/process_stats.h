// What the kernel knows about this process, under the names every Prometheus client uses.
#pragma once

#include <string_view>
#include <vector>

#include "metrics/metrics.h"

namespace hearth {

struct ProcessStat {
  std::string_view name;  // Static text, as are the other views.
  std::string_view unit;
  std::string_view help;
  MetricType type = MetricType::kGauge;
  double value = 0.0;
};

// Reads /proc; a value that cannot be read is 0. The list itself is always the same. Thread-safe.
std::vector<ProcessStat> read_process_stats();

}  // namespace hearth
