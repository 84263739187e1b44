// AVX2 with AVX-VNNI: four-byte integer products in one instruction.
#include "kernels/kernel_table.h"

#if defined(__x86_64__)

#include "kernels/simd_avx2.h"
#include "kernels/simd_kernels.h"

namespace hearth {
namespace {

struct Avx2Vnni : Avx2 {
  static constexpr bool kDotIsSigned8 = false;

  template <int kBits, int kQuads>
  static I dot(const B* weights, const std::int8_t* input, I acc) {
    for (int q = 0; q < kQuads; ++q) {
      acc = _mm256_dpbusd_avx_epi32(acc, weights[q], broadcast_quad(input + q * 4));
    }
    return acc;
  }
};

constexpr KernelTable kTable = make_kernel_table<Avx2Vnni>();

}  // namespace

const KernelTable* avx2_vnni_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* avx2_vnni_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
