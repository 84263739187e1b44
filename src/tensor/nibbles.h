// How the block formats of 4 bits lay out 32 numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hearth {

// The order of Q4_0: number i (i < 16) is the low half of qs[i], number i + 16 the high one. All
// are below 16.
inline void pack_nibbles(const std::array<std::uint8_t, 32>& numbers, std::uint8_t* qs) {
  for (std::size_t i = 0; i < 16; ++i)
    qs[i] = static_cast<std::uint8_t>(numbers[i] | (numbers[i + 16] << 4));
}

}  // namespace hearth
