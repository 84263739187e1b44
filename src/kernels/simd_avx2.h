// The vector policy for 256-bit registers: a panel's 16 columns take two of them. Included by the
// files compiled for AVX2, FMA and F16C only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace hearth {
namespace {

struct Avx2 {
  using F = __m256;
  using I = __m256i;
  using B = __m256i;
  static constexpr std::size_t kLanes = 8;
  static constexpr bool kDotIsSigned8 = true;
  static constexpr bool kHasDotPair = false;
  static constexpr std::size_t kScoreBlocks = 1;
  static constexpr std::size_t kValueRegisters = 2;
  static constexpr int kFloatAccumulators = 12;
  static constexpr int kFloatRows = 3;

  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_partial(const float* p, std::size_t n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void store_partial(float* p, std::size_t n, F x) { _mm256_maskstore_ps(p, first(n), x); }
  static F load_f16(const std::uint16_t* p) { return _mm256_cvtph_ps(half(p)); }
  static F load_f16_partial(const std::uint16_t* p, std::size_t n) {
    return _mm256_cvtph_ps(partial_half(p, n));
  }
  static F load_bf16(const std::uint16_t* p) { return widen_bf16(half(p)); }
  static F load_bf16_partial(const std::uint16_t* p, std::size_t n) {
    return widen_bf16(partial_half(p, n));
  }
  static F even_bf16(const std::uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(eight_pairs(p), 16));
  }
  static F odd_bf16(const std::uint16_t* p) {
    const I high = _mm256_set1_epi32(static_cast<std::int32_t>(0xffff0000U));
    return _mm256_castsi256_ps(_mm256_and_si256(eight_pairs(p), high));
  }
  static void store_f16(std::uint16_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_f16(x));
  }
  static void store_f16_partial(std::uint16_t* p, std::size_t n, F x) {
    std::uint16_t lanes[8];
    store_f16(lanes, x);
    __builtin_memcpy(p, lanes, n * sizeof(std::uint16_t));
  }
  static F load_int8(const std::uint8_t* p) { return to_float(_mm256_cvtepi8_epi32(eighth(p))); }
  static F load_uint8(const std::uint8_t* p) { return to_float(_mm256_cvtepu8_epi32(eighth(p))); }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F abs(F x) { return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
  static F select_less(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  // Lane i stands for position `at + i`: keeps those in [begin, end).
  static F keep_range(F x, std::size_t at, std::size_t begin, std::size_t end, F other) {
    const int from = begin > at ? static_cast<int>(begin - at) : 0;
    const int to = end > at ? static_cast<int>(end - at) : 0;
    const I lane = lane_indices();
    const I keep = _mm256_and_si256(_mm256_cmpgt_epi32(lane, _mm256_set1_epi32(from - 1)),
                                    _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane));
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(keep));
  }
  static F power_of_two(F shifted) {
    const I exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)));
  }
  static float first_lane(F x) { return _mm256_cvtss_f32(x); }
  static float reduce(F x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static void reduce_four(F a, F b, F c, F d, float* sums) {
    // Halves side by side: each 128-bit lane has four partial sums of one.
    const F ab = add(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const F cd = add(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    const F two = add(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const F one = add(_mm256_shuffle_ps(two, two, 0x88), _mm256_shuffle_ps(two, two, 0xdd));
    // Lanes a c a c | b d b d.
    _mm_storeu_ps(sums,
                  _mm_unpacklo_ps(_mm256_castps256_ps128(one), _mm256_extractf128_ps(one, 1)));
  }
  static float reduce_max(F x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  static I zero_int() { return _mm256_setzero_si256(); }
  static I set1_int(std::int32_t x) { return _mm256_set1_epi32(x); }
  static I sub_int(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I max_int(I a, I b) { return _mm256_max_epi32(a, b); }
  static I bits_of(F x) { return _mm256_castps_si256(x); }
  static float float_of_bits(std::int32_t bits) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
  }
  static std::int32_t reduce_max_int(I x) {
    const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static std::int32_t reduce_add_int(I x) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static F to_float(I x) { return _mm256_cvtepi32_ps(x); }
  static I round_to_int(F x) { return _mm256_cvtps_epi32(x); }
  static void store_int8(std::int8_t* p, I x) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  template <int kBits>
  static I shift_left(I x) {
    return _mm256_slli_epi32(x, kBits);
  }

  static B load_bytes(const std::uint8_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static B and_bytes(B x, char mask) { return _mm256_and_si256(x, _mm256_set1_epi8(mask)); }
  static B or_bytes(B a, B b) { return _mm256_or_si256(a, b); }
  // Left when positive. Bits cross byte borders: the caller masks.
  template <int kBits>
  static B shift_bits(B x) {
    if constexpr (kBits > 0) return _mm256_slli_epi16(x, kBits);
    if constexpr (kBits < 0) return _mm256_srli_epi16(x, -kBits);
    return x;
  }
  static B look_up(B indices, const std::uint8_t* levels) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), indices);
  }
  // Products are summed in 16 bits as long as they fit: 2 * 127 * (2^kBits - 1) each.
  template <int kBits, int kQuads>
  static I dot(const B* weights, const std::int8_t* input, I acc) {
    if constexpr (kBits == 8) {
      return dot_wide<kQuads>(weights, input, acc);
    } else {
      constexpr int kFit = kBits <= 4 ? 8 : kBits == 5 ? 4 : kBits == 6 ? 2 : 1;
      constexpr int kRun = kFit < kQuads ? kFit : kQuads;
      for (int q = 0; q < kQuads; q += kRun) {
        B sum = _mm256_maddubs_epi16(weights[q], broadcast_quad(input + q * 4));
        for (int i = q + 1; i < q + kRun; ++i) {
          sum = _mm256_add_epi16(sum,
                                 _mm256_maddubs_epi16(weights[i], broadcast_quad(input + i * 4)));
        }
        acc = _mm256_add_epi32(acc, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
      }
      return acc;
    }
  }

 protected:
  static B broadcast_quad(const std::int8_t* p) {
    std::int32_t quad;
    __builtin_memcpy(&quad, p, 4);
    return _mm256_set1_epi32(quad);
  }

 private:
  static __m256i eight_pairs(const std::uint16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  // 255 * 127 * 2 does not fit into 16 bits, 128 * 127 * 2 does: takes the zero point of 128 off
  // the weights and moves their signs to the inputs.
  template <int kQuads>
  static I dot_wide(const B* weights, const std::int8_t* input, I acc) {
    const B ones = _mm256_set1_epi16(1);
    const B bias = _mm256_set1_epi8(static_cast<char>(0x80));
    for (int q = 0; q < kQuads; ++q) {
      const B x = broadcast_quad(input + q * 4);
      const B w = _mm256_xor_si256(weights[q], bias);
      const B products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
      acc = _mm256_add_epi32(acc, _mm256_madd_epi16(products, ones));
    }
    return acc;
  }
  static I lane_indices() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  static I first(std::size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane_indices());
  }
  static __m128i half(const std::uint16_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i partial_half(const std::uint16_t* p, std::size_t n) {
    std::uint16_t lanes[8] = {};
    __builtin_memcpy(lanes, p, n * sizeof(std::uint16_t));
    return half(lanes);
  }
  static __m128i eighth(const std::uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static F widen_bf16(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static __m128i narrow_f16(F x) {
    return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
};

}  // namespace
}  // namespace hearth
