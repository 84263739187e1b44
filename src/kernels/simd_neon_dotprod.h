// The vector policy of Armv8.2 with DotProd: four-byte integer products in one instruction.
#pragma once

#include "kernels/simd_neon.h"

namespace hearth {
namespace {

struct NeonDotProd : Neon {
  template <int kBits, int kQuads>
  static I dot(const B* weights, const std::int8_t* input, I acc) {
    for (int q = 0; q < kQuads; ++q) {
      const int8x16_t x = broadcast_quad(input + q * 4);
      acc.lo = vdotq_s32(acc.lo, signed_weights<kBits>(weights[q].lo), x);
      acc.hi = vdotq_s32(acc.hi, signed_weights<kBits>(weights[q].hi), x);
    }
    return acc;
  }
};

}  // namespace
}  // namespace hearth
