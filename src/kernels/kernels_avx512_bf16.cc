// AVX-512 with VNNI, and products of bfloat16 in one instruction, at twice float32's rate.
#include "kernels/kernel_table.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace hearth {
namespace {

// A panel's 16 columns by as many rows keep all units busy: one load of weights and one of inputs
// per row, the latter within the instruction.
constexpr std::size_t kMostRows = 16;

__m512bh load_pairs(const std::uint16_t* p) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
}

__m512bh broadcast_pair(const std::uint16_t* p) {
  std::int32_t pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

template <std::size_t kRows>
void multiply_rows(const Bf16Product& p, std::size_t row) {
  __m512 acc[kRows];
  for (__m512& sum : acc)
    sum = _mm512_setzero_ps();
  const std::uint16_t* input = p.input + row * p.input_stride;
  for (std::size_t pair = 0; pair < p.num_pairs; ++pair) {
    const __m512bh weights = load_pairs(p.panel + 2 * pair * kPanelColumns);
    for (std::size_t r = 0; r < kRows; ++r) {
      acc[r] =
          _mm512_dpbf16_ps(acc[r], weights, broadcast_pair(input + r * p.input_stride + 2 * pair));
    }
  }
  for (std::size_t r = 0; r < kRows; ++r)
    _mm512_store_ps(p.out + (row + r) * kPanelColumns, acc[r]);
}

// Any number of rows up to kMostRows.
void multiply_some_rows(const Bf16Product& p, std::size_t row, std::size_t num_rows) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    ((num_rows == i + 1 ? multiply_rows<i + 1>(p, row) : void()), ...);
  }(std::make_index_sequence<kMostRows>());
}

void multiply(const Bf16Product& p) {
  static_assert(kMaxTileRows <= 2 * kMostRows);
  if (p.num_rows <= kMostRows) return multiply_some_rows(p, 0, p.num_rows);
  // Two even parts: few rows leave the units waiting for each other's results.
  const std::size_t first = (p.num_rows + 1) / 2;
  multiply_some_rows(p, 0, first);
  multiply_some_rows(p, first, p.num_rows - first);
}

void round(const float* input, std::size_t len, std::uint16_t* out) {
  constexpr std::size_t kLanes = 16;
  for (std::size_t i = 0; i < len; i += kLanes) {
    const std::size_t left = len - i < kLanes ? len - i : kLanes;
    const auto mask = static_cast<__mmask16>((1U << left) - 1U);
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, input + i));
    _mm256_mask_storeu_epi16(out + i, mask, reinterpret_cast<__m256i>(rounded));
  }
}

}  // namespace

const KernelTable* avx512_bf16_kernels() {
  static const KernelTable table = [] {
    KernelTable result = *avx512_kernels();
    result.multiply_bf16 = multiply;
    result.round_bf16 = round;
    result.bf16_is_fast = true;
    return result;
  }();
  return &table;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* avx512_bf16_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
