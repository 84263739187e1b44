// From a kernel set's name to its table. Internal to the kernels module.
#pragma once

#include <string_view>

#include "base/status.h"
#include "kernels/kernel_table.h"

namespace hearth {

struct ChosenKernels {
  std::string_view name;
  const KernelTable* table = nullptr;
};

// "auto" or a name from kernel_sets(). kInvalidArgument when there is no such set or the CPU lacks
// it.
Result<ChosenKernels> choose_kernels(std::string_view name);

}  // namespace hearth
