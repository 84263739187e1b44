// When the requests of an open loop begin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hearth::loadgen {

// `count` times in seconds, ascending, the first one at 0: a Poisson process with `per_second`
// arrivals on average, so the gaps are exponentially distributed. The same arguments give the same
// times on every machine.
std::vector<double> poisson_arrivals(std::size_t count, double per_second, std::uint64_t seed);

}  // namespace hearth::loadgen
