// The vector policy for 128-bit registers: pairs of them stand for eight lanes, so that a panel's
// 16 columns take two pairs. Everything here is baseline Armv8; a derived policy brings the dot
// product.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace hearth {
namespace {

struct Neon {
  struct F {
    float32x4_t lo, hi;
  };
  struct I {
    int32x4_t lo, hi;
  };
  struct B {
    uint8x16_t lo, hi;
  };
  static constexpr std::size_t kLanes = 8;
  static constexpr bool kDotIsSigned8 = true;
  static constexpr bool kHasDotPair = false;
  static constexpr std::size_t kScoreBlocks = 1;
  static constexpr std::size_t kValueRegisters = 2;
  static constexpr int kFloatAccumulators = 12;
  static constexpr int kFloatRows = 3;

  static F set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static F load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static F load_partial(const float* p, std::size_t n) {
    float lanes[kLanes] = {};
    __builtin_memcpy(lanes, p, n * sizeof(float));
    return load(lanes);
  }
  static void store(float* p, F x) {
    vst1q_f32(p, x.lo);
    vst1q_f32(p + 4, x.hi);
  }
  static void store_partial(float* p, std::size_t n, F x) {
    float lanes[kLanes];
    store(lanes, x);
    __builtin_memcpy(p, lanes, n * sizeof(float));
  }
  static F load_f16(const std::uint16_t* p) {
    const float16x8_t x = vreinterpretq_f16_u16(vld1q_u16(p));
    return {vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x)};
  }
  static F load_f16_partial(const std::uint16_t* p, std::size_t n) {
    std::uint16_t lanes[kLanes];
    return load_f16(copy_partial(p, n, lanes));
  }
  static F load_bf16(const std::uint16_t* p) {
    const uint16x8_t x = vld1q_u16(p);
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(x), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(x, 16))};
  }
  static F load_bf16_partial(const std::uint16_t* p, std::size_t n) {
    std::uint16_t lanes[kLanes];
    return load_bf16(copy_partial(p, n, lanes));
  }
  static F even_bf16(const std::uint16_t* p) {
    const auto even = [](const std::uint16_t* at) {
      return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(vld1q_u16(at)), 16));
    };
    return {even(p), even(p + 8)};
  }
  static F odd_bf16(const std::uint16_t* p) {
    const auto odd = [](const std::uint16_t* at) {
      const uint32x4_t high = vdupq_n_u32(0xffff0000U);
      return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(vld1q_u16(at)), high));
    };
    return {odd(p), odd(p + 8)};
  }
  static void store_f16(std::uint16_t* p, F x) {
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.lo), x.hi)));
  }
  static void store_f16_partial(std::uint16_t* p, std::size_t n, F x) {
    std::uint16_t lanes[kLanes];
    store_f16(lanes, x);
    __builtin_memcpy(p, lanes, n * sizeof(std::uint16_t));
  }
  static F load_int8(const std::uint8_t* p) {
    const int16x8_t x = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    return to_float({vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x)});
  }
  static F load_uint8(const std::uint8_t* p) {
    const uint16x8_t x = vmovl_u8(vld1_u8(p));
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(x))), vcvtq_f32_u32(vmovl_high_u16(x))};
  }

  static F add(F a, F b) { return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)}; }
  static F sub(F a, F b) { return {vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)}; }
  static F mul(F a, F b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
  static F div(F a, F b) { return {vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)}; }
  static F fma(F a, F b, F c) { return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }
  static F fnma(F a, F b, F c) {
    return {vfmsq_f32(c.lo, a.lo, b.lo), vfmsq_f32(c.hi, a.hi, b.hi)};
  }
  // The second where either is a NaN, as on x86.
  static F max(F a, F b) { return {max_of(a.lo, b.lo), max_of(a.hi, b.hi)}; }
  static F abs(F x) { return {vabsq_f32(x.lo), vabsq_f32(x.hi)}; }
  static F select_less(F a, F b, F yes, F no) {
    return {vbslq_f32(vcltq_f32(a.lo, b.lo), yes.lo, no.lo),
            vbslq_f32(vcltq_f32(a.hi, b.hi), yes.hi, no.hi)};
  }
  // Lane i stands for position `at + i`: keeps those in [begin, end).
  static F keep_range(F x, std::size_t at, std::size_t begin, std::size_t end, F other) {
    const int32x4_t from = vdupq_n_s32(begin > at ? static_cast<std::int32_t>(begin - at) : 0);
    const int32x4_t to = vdupq_n_s32(end > at ? static_cast<std::int32_t>(end - at) : 0);
    const auto keep = [&](int32x4_t lane, float32x4_t yes, float32x4_t no) {
      return vbslq_f32(vandq_u32(vcgeq_s32(lane, from), vcltq_s32(lane, to)), yes, no);
    };
    const int32x4_t lanes = {0, 1, 2, 3};
    return {keep(lanes, x.lo, other.lo), keep(vaddq_s32(lanes, vdupq_n_s32(4)), x.hi, other.hi)};
  }
  static F power_of_two(F shifted) {
    const auto power = [](float32x4_t x) {
      const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(x), 23);
      return vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(127 << 23)));
    };
    return {power(shifted.lo), power(shifted.hi)};
  }
  static float first_lane(F x) { return vgetq_lane_f32(x.lo, 0); }
  static float reduce(F x) {
    const float32x4_t four = vaddq_f32(x.lo, x.hi);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static void reduce_four(F a, F b, F c, F d, float* sums) {
    const auto two = [](F x) {
      const float32x4_t four = vaddq_f32(x.lo, x.hi);
      return vadd_f32(vget_low_f32(four), vget_high_f32(four));
    };
    vst1_f32(sums, vpadd_f32(two(a), two(b)));
    vst1_f32(sums + 2, vpadd_f32(two(c), two(d)));
  }
  static float reduce_max(F x) {
    float four[4];
    vst1q_f32(four, max_of(x.lo, x.hi));
    const float even = four[0] > four[2] ? four[0] : four[2];
    const float odd = four[1] > four[3] ? four[1] : four[3];
    return even > odd ? even : odd;
  }

  static I zero_int() { return set1_int(0); }
  static I set1_int(std::int32_t x) { return {vdupq_n_s32(x), vdupq_n_s32(x)}; }
  static I sub_int(I a, I b) { return {vsubq_s32(a.lo, b.lo), vsubq_s32(a.hi, b.hi)}; }
  static I max_int(I a, I b) { return {vmaxq_s32(a.lo, b.lo), vmaxq_s32(a.hi, b.hi)}; }
  static I bits_of(F x) { return {vreinterpretq_s32_f32(x.lo), vreinterpretq_s32_f32(x.hi)}; }
  static float float_of_bits(std::int32_t bits) { return __builtin_bit_cast(float, bits); }
  static std::int32_t reduce_max_int(I x) { return vmaxvq_s32(vmaxq_s32(x.lo, x.hi)); }
  static std::int32_t reduce_add_int(I x) { return vaddvq_s32(vaddq_s32(x.lo, x.hi)); }
  static F to_float(I x) { return {vcvtq_f32_s32(x.lo), vcvtq_f32_s32(x.hi)}; }
  static I round_to_int(F x) { return {vcvtnq_s32_f32(x.lo), vcvtnq_s32_f32(x.hi)}; }
  static void store_int8(std::int8_t* p, I x) {
    vst1_s8(p, vqmovn_s16(vcombine_s16(vqmovn_s32(x.lo), vqmovn_s32(x.hi))));
  }
  template <int kBits>
  static I shift_left(I x) {
    return {vshlq_n_s32(x.lo, kBits), vshlq_n_s32(x.hi, kBits)};
  }

  static B load_bytes(const std::uint8_t* p) { return {vld1q_u8(p), vld1q_u8(p + 16)}; }
  static B and_bytes(B x, char mask) {
    const uint8x16_t bits = vdupq_n_u8(static_cast<std::uint8_t>(mask));
    return {vandq_u8(x.lo, bits), vandq_u8(x.hi, bits)};
  }
  static B or_bytes(B a, B b) { return {vorrq_u8(a.lo, b.lo), vorrq_u8(a.hi, b.hi)}; }
  // Left when positive. What bits the caller masks away may differ between the policies.
  template <int kBits>
  static B shift_bits(B x) {
    if constexpr (kBits > 0) return {vshlq_n_u8(x.lo, kBits), vshlq_n_u8(x.hi, kBits)};
    if constexpr (kBits < 0) return {vshrq_n_u8(x.lo, -kBits), vshrq_n_u8(x.hi, -kBits)};
    return x;
  }
  static B look_up(B indices, const std::uint8_t* levels) {
    const uint8x16_t table = vld1q_u8(levels);
    return {vqtbl1q_u8(table, indices.lo), vqtbl1q_u8(table, indices.hi)};
  }
  // Products of at most 128 x 127 are added in pairs in 16 bits, then in 32.
  template <int kBits, int kQuads>
  static I dot(const B* weights, const std::int8_t* input, I acc) {
    for (int q = 0; q < kQuads; ++q) {
      const int8x16_t x = broadcast_quad(input + q * 4);
      acc.lo = add_products(acc.lo, signed_weights<kBits>(weights[q].lo), x);
      acc.hi = add_products(acc.hi, signed_weights<kBits>(weights[q].hi), x);
    }
    return acc;
  }

 protected:
  static int8x16_t broadcast_quad(const std::int8_t* p) {
    std::int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
  }
  // Fewer than eight bits are not negative as they are; of eight the zero point of 128 is taken
  // off.
  template <int kBits>
  static int8x16_t signed_weights(uint8x16_t x) {
    if constexpr (kBits == 8) x = veorq_u8(x, vdupq_n_u8(0x80));
    return vreinterpretq_s8_u8(x);
  }

 private:
  static float32x4_t max_of(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
  }
  static const std::uint16_t* copy_partial(const std::uint16_t* p, std::size_t n,
                                           std::uint16_t (&lanes)[kLanes]) {
    __builtin_memset(lanes, 0, sizeof(lanes));
    __builtin_memcpy(lanes, p, n * sizeof(std::uint16_t));
    return lanes;
  }
  static int32x4_t add_products(int32x4_t acc, int8x16_t w, int8x16_t x) {
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    const int16x8_t high = vmull_high_s8(w, x);
    return vpadalq_s16(acc, vpaddq_s16(low, high));
  }
};

}  // namespace
}  // namespace hearth
