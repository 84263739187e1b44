// AVX-512 with VNNI.
#include "kernels/kernel_table.h"

#if defined(__x86_64__)

#include "kernels/simd_avx512.h"
#include "kernels/simd_kernels.h"

namespace hearth {
namespace {
constexpr KernelTable kTable = make_kernel_table<Avx512>();
}  // namespace

const KernelTable* avx512_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* avx512_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
