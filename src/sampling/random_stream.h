// The random numbers of one choice of one request.
#pragma once

#include <cstdint>

namespace hearth {

// Counter-based: the n-th value is a function of (seed, choice, n) alone, the same bits on every
// machine. The function is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
// generators", 2014). A value; not thread-safe.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint32_t choice)
      : counter_(mix(mix(seed + kStep) + (std::uint64_t{choice} + 1) * kStep)) {}

  std::uint64_t next() {
    counter_ += kStep;
    return mix(counter_);
  }

  // Uniform in [0, bound), without bias; bound > 0. (Lemire: "Fast random integer generation in an
  // interval", 2019.)
  std::uint64_t below(std::uint64_t bound) {
    for (;;) {
      const auto product = static_cast<unsigned __int128>(next()) * bound;
      const auto low = static_cast<std::uint64_t>(product);
      if (low >= bound || low >= (0 - bound) % bound) {
        return static_cast<std::uint64_t>(product >> 64);
      }
    }
  }

 private:
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio, odd.

  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  std::uint64_t counter_;
};

}  // namespace hearth
