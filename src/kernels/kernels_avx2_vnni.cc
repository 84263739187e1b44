// AVX2 with AVX-VNNI: four-byte integer products in one instruction.
#include "kernels/kernel_table.h"

#if defined(__x86_64__)

#include "kernels/simd_avx2_vnni.h"
#include "kernels/simd_kernels.h"

namespace hearth {
namespace {

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
