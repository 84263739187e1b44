// The kernel table: one entry per instruction set, best first, chosen at start and forceable by
// name.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hearth {

struct KernelSetInfo {
  std::string_view name;      // "avx512", "avx2", "reference"
  std::string_view features;  // What it needs: "AVX2 FMA F16C"
  bool supported = false;     // By the CPU this process runs on.
};

// Every set compiled into this binary, best first; "reference" is last and always supported.
std::span<const KernelSetInfo> kernel_sets();
// The name "auto" stands for on this CPU.
std::string_view best_kernel_set();
// Whether the set of this name, or "auto", multiplies bfloat16 faster than float32.
bool multiplies_bf16_fast(std::string_view kernels);
// Features of this CPU that matter to Hearth, "avx2 fma f16c avx512f ...".
std::string cpu_features();

}  // namespace hearth
