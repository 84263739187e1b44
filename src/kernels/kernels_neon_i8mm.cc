// Armv8.6 with I8MM: products of 2 x 8 by 8 x 2 bytes in one instruction.
#include "kernels/kernel_table.h"

#if defined(__aarch64__)

#include "kernels/simd_kernels.h"
#include "kernels/simd_neon_dotprod.h"

namespace hearth {
namespace {

struct NeonI8mm : NeonDotProd {
  static constexpr bool kHasDotPair = true;

  struct TwoRows {
    const std::int8_t* first;
    const std::int8_t* second;
  };

  // A register holds columns (c, c + 1) of both rows: c of the first, c of the second, c + 1 of the
  // first, c + 1 of the second. The weights do not change from pair to pair: their zips are done
  // once per group.
  template <int kBits, int kQuads>
  static void dot_pair(const B* weights, TwoRows input, I& first, I& second) {
    int32x4_t acc[4] = {vzip1q_s32(first.lo, second.lo), vzip2q_s32(first.lo, second.lo),
                        vzip1q_s32(first.hi, second.hi), vzip2q_s32(first.hi, second.hi)};
    for (int q = 0; q < kQuads; q += 2) {
      const int8x16_t x = vcombine_s8(vld1_s8(input.first + 4 * q), vld1_s8(input.second + 4 * q));
      const int8x16_t w[4] = {
          signed_weights<kBits>(zip_low(weights[q].lo, weights[q + 1].lo)),
          signed_weights<kBits>(zip_high(weights[q].lo, weights[q + 1].lo)),
          signed_weights<kBits>(zip_low(weights[q].hi, weights[q + 1].hi)),
          signed_weights<kBits>(zip_high(weights[q].hi, weights[q + 1].hi)),
      };
      for (int i = 0; i < 4; ++i)
        acc[i] = vmmlaq_s32(acc[i], w[i], x);
    }
    first = {vuzp1q_s32(acc[0], acc[1]), vuzp1q_s32(acc[2], acc[3])};
    second = {vuzp2q_s32(acc[0], acc[1]), vuzp2q_s32(acc[2], acc[3])};
  }

 private:
  // Of two quads of four columns the eight bytes of columns 0 and 1, or 2 and 3.
  static uint8x16_t zip_low(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
  }
  static uint8x16_t zip_high(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
  }
};

constexpr KernelTable kTable = make_kernel_table<NeonI8mm>();

}  // namespace

const KernelTable* neon_i8mm_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* neon_i8mm_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
