// Armv8.2 with DotProd: four-byte integer products in one instruction.
#include "kernels/kernel_table.h"

#if defined(__aarch64__)

#include "kernels/simd_kernels.h"
#include "kernels/simd_neon_dotprod.h"

namespace hearth {
namespace {

constexpr KernelTable kTable = make_kernel_table<NeonDotProd>();

}  // namespace

const KernelTable* neon_dotprod_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* neon_dotprod_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
