#include "loadgen/arrivals.h"

#include <cmath>
#include <random>

namespace hearth::loadgen {

std::vector<double> poisson_arrivals(std::size_t count, double per_second, std::uint64_t seed) {
  // The engine's bits are laid down in the standard, those of std::exponential_distribution not.
  std::mt19937_64 random(seed);
  std::vector<double> times;
  times.reserve(count);
  double time = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    times.push_back(time);
    const double uniform = static_cast<double>(random() >> 11) * 0x1p-53;  // In [0, 1).
    time += -std::log1p(-uniform) / per_second;
  }
  return times;
}

}  // namespace hearth::loadgen
