// The vector policy for AVX-512 with VNNI: one 512-bit register holds all 16 columns of a panel.
// Included by the files compiled for these instructions only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace hearth {
namespace {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  using B = __m512i;
  static constexpr std::size_t kLanes = 16;
  static constexpr bool kDotIsSigned8 = false;
  static constexpr bool kHasDotPair = false;
  static constexpr std::size_t kScoreBlocks = 2;
  static constexpr std::size_t kValueRegisters = 4;
  static constexpr int kFloatAccumulators = 24;
  static constexpr int kFloatRows = 6;

  static __mmask16 first(std::size_t n) { return static_cast<__mmask16>((1U << n) - 1U); }

  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_partial(const float* p, std::size_t n) {
    return _mm512_maskz_loadu_ps(first(n), p);
  }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void store_partial(float* p, std::size_t n, F x) { _mm512_mask_storeu_ps(p, first(n), x); }
  static F load_f16(const std::uint16_t* p) { return _mm512_cvtph_ps(half(p)); }
  static F load_f16_partial(const std::uint16_t* p, std::size_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static F load_bf16(const std::uint16_t* p) { return widen_bf16(half(p)); }
  static F load_bf16_partial(const std::uint16_t* p, std::size_t n) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static F even_bf16(const std::uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  static F odd_bf16(const std::uint16_t* p) {
    const I high = _mm512_set1_epi32(static_cast<std::int32_t>(0xffff0000U));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), high));
  }
  static void store_f16(std::uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_f16(x));
  }
  static void store_f16_partial(std::uint16_t* p, std::size_t n, F x) {
    _mm256_mask_storeu_epi16(p, first(n), narrow_f16(x));
  }
  static F load_int8(const std::uint8_t* p) { return to_float(_mm512_cvtepi8_epi32(quarter(p))); }
  static F load_uint8(const std::uint8_t* p) { return to_float(_mm512_cvtepu8_epi32(quarter(p))); }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F abs(F x) { return _mm512_abs_ps(x); }
  static F select_less(F a, F b, F yes, F no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
  }
  // Lane i stands for position `at + i`: keeps those in [begin, end).
  static F keep_range(F x, std::size_t at, std::size_t begin, std::size_t end, F other) {
    const std::uint32_t from = begin > at ? static_cast<std::uint32_t>(begin - at) : 0U;
    const std::uint32_t to = end - at < 16 ? static_cast<std::uint32_t>(end - at) : 16U;
    const auto keep = static_cast<__mmask16>(((1U << to) - 1U) & ~((1U << from) - 1U));
    return _mm512_mask_blend_ps(keep, other, x);
  }
  static F power_of_two(F shifted) {
    const I exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23)));
  }
  static float first_lane(F x) { return _mm512_cvtss_f32(x); }
  static float reduce(F x) {
    const __m256 high = _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(x), 1));
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static void reduce_four(F a, F b, F c, F d, float* sums) {
    // Halves side by side, then quarters: each 128-bit lane ends up with four partial sums of one.
    const F ab = add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = add(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const F four = add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const F two = add(four, _mm512_permute_ps(four, 0x4e));
    const F one = add(two, _mm512_permute_ps(two, 0xb1));
    _mm_storeu_ps(sums, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, one)));
  }
  static float reduce_max(F x) { return _mm512_reduce_max_ps(x); }

  static I zero_int() { return _mm512_setzero_si512(); }
  static I set1_int(std::int32_t x) { return _mm512_set1_epi32(x); }
  static I sub_int(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I max_int(I a, I b) { return _mm512_max_epi32(a, b); }
  static I bits_of(F x) { return _mm512_castps_si512(x); }
  static float float_of_bits(std::int32_t bits) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
  }
  static std::int32_t reduce_max_int(I x) { return _mm512_reduce_max_epi32(x); }
  static std::int32_t reduce_add_int(I x) { return _mm512_reduce_add_epi32(x); }
  static F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static I round_to_int(F x) { return _mm512_cvtps_epi32(x); }
  static void store_int8(std::int8_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }
  template <int kBits>
  static I shift_left(I x) {
    return _mm512_slli_epi32(x, kBits);
  }

  static B load_bytes(const std::uint8_t* p) { return _mm512_load_si512(p); }
  static B and_bytes(B x, char mask) { return _mm512_and_si512(x, _mm512_set1_epi8(mask)); }
  static B or_bytes(B a, B b) { return _mm512_or_si512(a, b); }
  // Left when positive. Bits cross byte borders: the caller masks.
  template <int kBits>
  static B shift_bits(B x) {
    if constexpr (kBits > 0) return _mm512_slli_epi16(x, kBits);
    if constexpr (kBits < 0) return _mm512_srli_epi16(x, -kBits);
    return x;
  }
  static B look_up(B indices, const std::uint8_t* levels) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), indices);
  }
  template <int kBits, int kQuads>
  static I dot(const B* weights, const std::int8_t* input, I acc) {
    for (int q = 0; q < kQuads; ++q) {
      std::int32_t quad;
      __builtin_memcpy(&quad, input + q * 4, 4);
      acc = _mm512_dpbusd_epi32(acc, weights[q], _mm512_set1_epi32(quad));
    }
    return acc;
  }

 private:
  static __m256i half(const std::uint16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static __m128i quarter(const std::uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static F widen_bf16(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static __m256i narrow_f16(F x) {
    return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
};

}  // namespace
}  // namespace hearth
