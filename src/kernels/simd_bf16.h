// Products of bfloat16, written once over a vector policy (see simd_kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace hearth {

static inline void round_bf16(const float* input, std::size_t len, std::uint16_t* out) {
  for (std::size_t i = 0; i < len; ++i) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, input + i, sizeof(bits));
    out[i] = round_to_bf16(bits);
  }
}

// A row's pair of inputs.
struct Bf16Pair {
  float even;
  float odd;
};

static inline Bf16Pair load_pair(const std::uint16_t* input) {
  const std::uint32_t bits[2] = {static_cast<std::uint32_t>(input[0]) << 16,
                                 static_cast<std::uint32_t>(input[1]) << 16};
  Bf16Pair pair;
  __builtin_memcpy(&pair, bits, sizeof(pair));
  return pair;
}

// Sums of kRows rows from `row` on.
template <class V, std::size_t kRows>
void multiply_bf16_rows(const Bf16Product& p, std::size_t row) {
  using F = typename V::F;
  constexpr std::size_t kParts = kPanelColumns / V::kLanes;
  F acc[kRows][kParts];
  for (auto& parts : acc) {
    for (F& part : parts)
      part = V::set1(0.0f);
  }
  const std::uint16_t* input = p.input + row * p.input_stride;
  for (std::size_t pair = 0; pair < p.num_pairs; ++pair) {
    for (std::size_t part = 0; part < kParts; ++part) {
      const std::uint16_t* weights = p.panel + 2 * (pair * kPanelColumns + part * V::kLanes);
      const F even = V::even_bf16(weights);
      const F odd = V::odd_bf16(weights);
      for (std::size_t r = 0; r < kRows; ++r) {
        const Bf16Pair x = load_pair(input + r * p.input_stride + 2 * pair);
        acc[r][part] = V::fma(odd, V::set1(x.odd), acc[r][part]);
        acc[r][part] = V::fma(even, V::set1(x.even), acc[r][part]);
      }
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t part = 0; part < kParts; ++part)
      V::store(p.out + (row + r) * kPanelColumns + part * V::kLanes, acc[r][part]);
  }
}

template <class V>
void multiply_bf16(const Bf16Product& p) {
  constexpr std::size_t kMost = 4;
  std::size_t row = 0;
  for (; row + kMost <= p.num_rows; row += kMost)
    multiply_bf16_rows<V, kMost>(p, row);
  for (; row < p.num_rows; ++row)
    multiply_bf16_rows<V, 1>(p, row);
}

}  // namespace hearth
