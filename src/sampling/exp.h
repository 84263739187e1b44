// exp() for arguments <= 0 from additions, multiplications and bit operations only, so that it
// gives the same bits on every machine and compilers turn a loop over it into vector code.
#pragma once

#include <bit>
#include <cstdint>

namespace hearth {

// e^x for x <= 0 (-inf included), within 2 units in the last place; below e^-700 it stays there.
inline double exp_nonpositive(double x) {
  constexpr double kLog2E = 1.4426950408889634;
  // ln 2 in two parts; the first has trailing zeros, so that its product with an integer is exact.
  constexpr double kLn2High = 0x1.62e42fefa0000p-1;
  constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;
  constexpr double kRounder = 0x1.8p52;  // Adding it leaves the nearest integer in the low bits.

  x = x < -700.0 ? -700.0 : x;
  const double rounded = x * kLog2E + kRounder;
  const double n = rounded - kRounder;
  const double r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln 2 / 2

  // The Taylor series to r^13: its rest is below 2^-57 there.
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  // p * 2^n: n, from the low bits of `rounded`, goes into the exponent.
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(p) +
                               (std::bit_cast<std::uint64_t>(rounded) << 52));
}

}  // namespace hearth
