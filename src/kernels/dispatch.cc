#include "kernels/dispatch.h"

#include <algorithm>
#include <array>

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace hearth {
namespace {

struct Feature {
  std::string_view name;
  bool present = false;
};

#if defined(__x86_64__)

// A bit of leaf 7, sub-leaf 1.
bool has_newer_feature(unsigned bit) {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1U << bit)) != 0;
}

// That the system keeps the registers is what the support of AVX2 or AVX-512 has established.
bool has_avx_vnni() {
  return __builtin_cpu_supports("avx2") != 0 && has_newer_feature(4);
}

bool has_avx512_bf16() {
  return __builtin_cpu_supports("avx512f") != 0 && has_newer_feature(5);
}

// The compiler's runtime asks the operating system as well as the CPU.
std::array<Feature, 10> detect_features() {
  return {{{"avx2", __builtin_cpu_supports("avx2") != 0},
           {"fma", __builtin_cpu_supports("fma") != 0},
           {"f16c", __builtin_cpu_supports("f16c") != 0},
           {"avxvnni", has_avx_vnni()},
           {"avx512f", __builtin_cpu_supports("avx512f") != 0},
           {"avx512bw", __builtin_cpu_supports("avx512bw") != 0},
           {"avx512dq", __builtin_cpu_supports("avx512dq") != 0},
           {"avx512vl", __builtin_cpu_supports("avx512vl") != 0},
           {"avx512vnni", __builtin_cpu_supports("avx512vnni") != 0},
           {"avx512bf16", has_avx512_bf16()}}};
}

#elif defined(__aarch64__)

std::array<Feature, 3> detect_features() {
  constexpr unsigned long kAsimd = 1UL << 1;  // Bits of the kernel's asm/hwcap.h.
  constexpr unsigned long kAsimdDp = 1UL << 20;
  constexpr unsigned long kI8mm = 1UL << 13;  // Of the second word.
  const unsigned long present = getauxval(AT_HWCAP);
  return {{{"neon", (present & kAsimd) != 0},
           {"dotprod", (present & kAsimdDp) != 0},
           {"i8mm", (getauxval(AT_HWCAP2) & kI8mm) != 0}}};
}

#else

std::array<Feature, 0> detect_features() {
  return {};
}

#endif

// True when every word of `needed` is a present feature.
bool has_all(std::string_view needed) {
  const auto features = detect_features();
  while (!needed.empty()) {
    const std::size_t end = std::min(needed.find(' '), needed.size());
    const std::string_view word = needed.substr(0, end);
    if (std::none_of(features.begin(), features.end(),
                     [word](const Feature& f) { return f.present && f.name == word; })) {
      return false;
    }
    needed.remove_prefix(std::min(end + 1, needed.size()));
  }
  return true;
}

struct KernelSet {
  KernelSetInfo info;
  const KernelTable* table = nullptr;
};

// Best first. Sets of other architectures are not compiled in and have no entry.
const std::vector<KernelSet>& all_sets() {
  static const std::vector<KernelSet> sets = [] {
    std::vector<KernelSet> found;
    const auto add = [&found](std::string_view name, std::string_view needs,
                              const KernelTable* table) {
      if (table != nullptr) found.push_back({{name, needs, has_all(needs)}, table});
    };
    add("avx512-bf16", "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512vnni avx512bf16",
        avx512_bf16_kernels());
    add("avx512", "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512vnni", avx512_kernels());
    add("avx2-vnni", "avx2 fma f16c avxvnni", avx2_vnni_kernels());
    add("avx2-vnni512", "avx2 fma f16c avx512f avx512vl avx512vnni", avx2_vnni512_kernels());
    add("avx2", "avx2 fma f16c", avx2_kernels());
    add("neon-i8mm", "neon dotprod i8mm", neon_i8mm_kernels());
    add("neon-dotprod", "neon dotprod", neon_dotprod_kernels());
    add("neon", "neon", neon_kernels());
    add("reference", "", &reference_kernels());
    return found;
  }();
  return sets;
}

}  // namespace

std::span<const KernelSetInfo> kernel_sets() {
  static const std::vector<KernelSetInfo> infos = [] {
    std::vector<KernelSetInfo> result;
    for (const KernelSet& set : all_sets())
      result.push_back(set.info);
    return result;
  }();
  return infos;
}

std::string_view best_kernel_set() {
  for (const KernelSet& set : all_sets()) {
    if (set.info.supported) return set.info.name;
  }
  return "reference";
}

bool multiplies_bf16_fast(std::string_view kernels) {
  const auto chosen = choose_kernels(kernels);
  return chosen.has_value() && chosen->table->bf16_is_fast;
}

std::string cpu_features() {
  std::string text;
  for (const Feature& feature : detect_features()) {
    if (!feature.present) continue;
    if (!text.empty()) text += ' ';
    text += feature.name;
  }
  return text;
}

Result<ChosenKernels> choose_kernels(std::string_view name) {
  if (name == "auto") name = best_kernel_set();
  std::string usable;
  for (const KernelSet& set : all_sets()) {
    if (set.info.supported && set.info.name == name) return ChosenKernels{set.info.name, set.table};
    if (!set.info.supported) continue;
    if (!usable.empty()) usable += ", ";
    usable += set.info.name;
  }
  return error(StatusCode::kInvalidArgument,
               "kernel set '{}' is not available on this CPU; available: auto, {}", name, usable);
}

}  // namespace hearth
