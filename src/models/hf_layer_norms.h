// The table of Hugging Face decoder classes with LayerNorms. See hf_families.h.
#pragma once

#include <span>

#include "models/hf_families.h"

namespace hearth {

std::span<const HfFamily> hf_layer_norm_families();

}  // namespace hearth
