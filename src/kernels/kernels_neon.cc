// Baseline Armv8: integer products by 16-bit pairs.
#include "kernels/kernel_table.h"

#if defined(__aarch64__)

#include "kernels/simd_kernels.h"
#include "kernels/simd_neon.h"

namespace hearth {
namespace {
constexpr KernelTable kTable = make_kernel_table<Neon>();
}  // namespace

const KernelTable* neon_kernels() {
  return &kTable;
}

}  // namespace hearth

#else

namespace hearth {
const KernelTable* neon_kernels() {
  return nullptr;
}
}  // namespace hearth

#endif
