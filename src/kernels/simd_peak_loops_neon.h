// The operations of a 128-bit register for the peak loops. Included by the files of the NEON sets
// only.
#pragma once

#include <arm_neon.h>

#include <cstddef>

namespace hearth {
namespace {

struct Neon {
  using F = float32x4_t;
  using I = int8x16_t;
  static constexpr std::size_t kFloats = 4;
  static constexpr std::size_t kDotProducts = 16;

  static F set1_float(float x) { return vdupq_n_f32(x); }
  static I set1_bytes(signed char x) { return vdupq_n_s8(x); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static I multiply_pairs(I a, I b) {
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    return vreinterpretq_s8_s16(vmlal_high_s8(low, a, b));
  }
  static I add16(I a, I b) {
    return vreinterpretq_s8_s16(vaddq_s16(vreinterpretq_s16_s8(a), vreinterpretq_s16_s8(b)));
  }
  static I add32(I a, I b) {
    return vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
  }
  static I widen_pairs(I x) { return vreinterpretq_s8_s32(vpaddlq_s16(vreinterpretq_s16_s8(x))); }
};

}  // namespace
}  // namespace hearth
