// NEON with the dot product of bytes.
#include "kernels/peak_loops.h"

#if defined(__aarch64__)

#include "kernels/simd_peak_loops_neon.h"

namespace hearth {
namespace {

struct NeonDot : Neon {
  static I dot(I sum, I a, I b) {
    return vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), a, b));
  }
};

constexpr PeakLoops kLoops = {.fp32 = &peak_fp32<NeonDot>,
                              .int8 = &peak_int8<NeonDot>,
                              .int8_in_16 = &peak_int8_in_16<NeonDot>};

}  // namespace

const PeakLoops* neon_dotprod_peak_loops() {
  return &kLoops;
}

}  // namespace hearth

#else

namespace hearth {
const PeakLoops* neon_dotprod_peak_loops() {
  return nullptr;
}
}  // namespace hearth

#endif
