// The architecture table: what one decoder family does differently, as one row.
#pragma once

#include <span>
#include <string_view>

#include "kernels/device.h"

namespace hearth {

// Everything that GGUF metadata does not say about a family because its name implies it.
struct Architecture {
  std::string_view name;  // general.architecture, and the prefix of its metadata keys.
  RopeLayout rope_layout = RopeLayout::kInterleaved;
  Activation activation = Activation::kSilu;
};

std::span<const Architecture> architectures();
// nullptr when there is no row of that name.
const Architecture* find_architecture(std::string_view name);

}  // namespace hearth
