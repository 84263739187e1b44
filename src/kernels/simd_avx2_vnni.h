// The policy for 256-bit registers with a dot product of bytes, which CPUs spell in two ways:
// AVX-VNNI, and the VNNI of AVX-512 on shorter registers. Included by the files compiled for one of
// them.
#pragma once

#include "kernels/simd_avx2.h"

namespace hearth {
namespace {

struct Avx2Vnni : Avx2 {
  static constexpr bool kDotIsSigned8 = false;

  template <int kBits, int kQuads>
  static I dot(const B* weights, const std::int8_t* input, I acc) {
    for (int q = 0; q < kQuads; ++q)
      acc = add_products(acc, weights[q], broadcast_quad(input + q * 4));
    return acc;
  }

 private:
  static I add_products(I acc, B weights, B inputs) {
#if defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(acc, weights, inputs);
#else
    return _mm256_dpbusd_epi32(acc, weights, inputs);
#endif
  }
};

}  // namespace
}  // namespace hearth
