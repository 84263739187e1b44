// NEON: byte products by pairs in 16 bits.
#include "kernels/peak_loops.h"

#if defined(__aarch64__)

#include "kernels/simd_peak_loops_neon.h"

namespace hearth {
namespace {

struct NeonPairs : Neon {
  static I dot(I sum, I a, I b) { return add32(sum, widen_pairs(multiply_pairs(a, b))); }
};

constexpr PeakLoops kLoops = {.fp32 = &peak_fp32<NeonPairs>,
                              .int8 = &peak_int8<NeonPairs>,
                              .int8_in_16 = &peak_int8_in_16<NeonPairs>};

}  // namespace

const PeakLoops* neon_peak_loops() {
  return &kLoops;
}

}  // namespace hearth

#else

namespace hearth {
const PeakLoops* neon_peak_loops() {
  return nullptr;
}
}  // namespace hearth

#endif
