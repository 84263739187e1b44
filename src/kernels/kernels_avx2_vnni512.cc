// AVX2 with the VNNI of AVX-512 on 256-bit registers, for CPUs that slow down under wider ones. It
// is also how the AVX-VNNI set, the same source, is tested where only AVX-512 has the instruction.
#include "kernels/kernel_table.h"

#if defined(__x86_64__)

#include "kernels/simd_avx2_vnni.h"
#include "kernels/simd_kernels.h"

namespace hearth {
namespace {

constexpr KernelTable kTable = make_kernel_table<Avx2Vnni>();

}  // namespace

const KernelTable* avx2_vnni512_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* avx2_vnni512_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
