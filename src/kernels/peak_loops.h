// Loops that keep the arithmetic units of a core busy and do nothing else. One set per instruction
// set, beside its kernels; internal to the kernels module.
//
// Files compiled with instruction set flags include this header, so it holds plain data and
// templates for their anonymous namespaces only.
#pragma once

#include <cstddef>

namespace hearth {

// Each function does `rounds` rounds on the calling thread and returns how many multiply-adds that
// were. Null: the set has no such instruction.
struct PeakLoops {
  using Loop = double (*)(std::size_t rounds);
  Loop fp32 = nullptr;        // Fused, on float32.
  Loop int8 = nullptr;        // Bytes, summed in 32 bits: any length.
  Loop int8_in_16 = nullptr;  // The same summed in 16 bits for a group of 32, then widened.
};

// Null when the set was not compiled in (another architecture).
const PeakLoops* avx512_peak_loops();
const PeakLoops* avx2_vnni_peak_loops();
const PeakLoops* avx2_peak_loops();
const PeakLoops* neon_i8mm_peak_loops();
const PeakLoops* neon_dotprod_peak_loops();
const PeakLoops* neon_peak_loops();

// Below: what the sets share. `V` names a register's operations.
//
// Independent chains hide the latency of an instruction; twelve are enough for five cycles at two
// per cycle, and leave registers for the operands.
static constexpr std::size_t kPeakChains = 12;

// The compiler must take a register for changed, or it would compute a loop's invariant once.
#if defined(__aarch64__)
#define HEARTH_CHANGED(x) asm volatile("" : "+w"(x))
#else
#define HEARTH_CHANGED(x) asm volatile("" : "+v"(x))
#endif

template <typename V>
static double peak_fp32(std::size_t rounds) {
  typename V::F sums[kPeakChains];
  for (auto& sum : sums)
    sum = V::set1_float(1.0f);
  typename V::F factor = V::set1_float(0.5f);  // Keeps the sums away from infinity and subnormals.
  for (std::size_t round = 0; round < rounds; ++round) {
    HEARTH_CHANGED(factor);
    for (auto& sum : sums)
      sum = V::fma(sum, factor, factor);
  }
  for (auto& sum : sums)
    HEARTH_CHANGED(sum);
  return static_cast<double>(rounds * kPeakChains * V::kFloats);
}

template <typename V>
static double peak_int8(std::size_t rounds) {
  typename V::I sums[kPeakChains];
  for (auto& sum : sums)
    sum = V::set1_bytes(0);
  typename V::I a = V::set1_bytes(3);
  typename V::I b = V::set1_bytes(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    for (auto& sum : sums) {
      HEARTH_CHANGED(a);
      sum = V::dot(sum, a, b);
    }
  }
  for (auto& sum : sums)
    HEARTH_CHANGED(sum);
  return static_cast<double>(rounds * kPeakChains * V::kDotProducts);
}

// Per chain four byte products of pairs, added up in 16 bits, then widened once: what a group of 32
// inputs allows when one operand has 4 bits (16 x 15 x 127 fits).
template <typename V>
static double peak_int8_in_16(std::size_t rounds) {
  constexpr std::size_t kChains = 4;
  constexpr std::size_t kProducts = 4;
  typename V::I totals[kChains];
  for (auto& total : totals)
    total = V::set1_bytes(0);
  typename V::I a = V::set1_bytes(3);
  typename V::I b = V::set1_bytes(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    for (auto& total : totals) {
      HEARTH_CHANGED(a);
      typename V::I sum = V::multiply_pairs(a, b);
      for (std::size_t i = 1; i < kProducts; ++i) {
        HEARTH_CHANGED(a);
        sum = V::add16(sum, V::multiply_pairs(a, b));
      }
      total = V::add32(total, V::widen_pairs(sum));
    }
  }
  for (auto& total : totals)
    HEARTH_CHANGED(total);
  return static_cast<double>(rounds * kChains * kProducts * V::kFloats * 4);
}

}  // namespace hearth
