// AVX-512 with VNNI.
#include "kernels/peak_loops.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace hearth {
namespace {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr std::size_t kFloats = 16;
  static constexpr std::size_t kDotProducts = 4 * kFloats;

  static F set1_float(float x) { return _mm512_set1_ps(x); }
  static I set1_bytes(char x) { return _mm512_set1_epi8(x); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static I multiply_pairs(I a, I b) { return _mm512_maddubs_epi16(a, b); }
  static I add16(I a, I b) { return _mm512_add_epi16(a, b); }
  static I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I widen_pairs(I x) { return _mm512_madd_epi16(x, _mm512_set1_epi16(1)); }
  static I dot(I sum, I a, I b) { return _mm512_dpbusd_epi32(sum, a, b); }
};

constexpr PeakLoops kLoops = {
    .fp32 = &peak_fp32<Avx512>, .int8 = &peak_int8<Avx512>, .int8_in_16 = &peak_int8_in_16<Avx512>};

}  // namespace

const PeakLoops* avx512_peak_loops() {
  return &kLoops;
}

}  // namespace hearth

#else

namespace hearth {
const PeakLoops* avx512_peak_loops() {
  return nullptr;
}
}  // namespace hearth

#endif
