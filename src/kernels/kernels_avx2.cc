// AVX2 with FMA and F16C: integer products by 16-bit pairs.
#include "kernels/kernel_table.h"

#if defined(__x86_64__)

#include "kernels/simd_avx2.h"
#include "kernels/simd_kernels.h"

namespace hearth {
namespace {
constexpr KernelTable kTable = make_kernel_table<Avx2>();
}  // namespace

const KernelTable* avx2_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* avx2_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
