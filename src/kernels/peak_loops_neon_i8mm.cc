// NEON with the matrix product of bytes.
#include "kernels/peak_loops.h"

#if defined(__aarch64__)

#include "kernels/simd_peak_loops_neon.h"

namespace hearth {
namespace {

struct NeonMatrix : Neon {
  static constexpr std::size_t kDotProducts = 32;
  static I dot(I sum, I a, I b) {
    return vreinterpretq_s8_s32(vmmlaq_s32(vreinterpretq_s32_s8(sum), a, b));
  }
};

constexpr PeakLoops kLoops = {.fp32 = &peak_fp32<NeonMatrix>,
                              .int8 = &peak_int8<NeonMatrix>,
                              .int8_in_16 = &peak_int8_in_16<NeonMatrix>};

}  // namespace

const PeakLoops* neon_i8mm_peak_loops() {
  return &kLoops;
}

}  // namespace hearth

#else

namespace hearth {
const PeakLoops* neon_i8mm_peak_loops() {
  return nullptr;
}
}  // namespace hearth

#endif
