// The table of Hugging Face classes that are mixtures of experts. See hf_families.h.
#pragma once

#include <span>

#include "models/hf_families.h"

namespace hearth {

std::span<const HfFamily> hf_expert_families();

}  // namespace hearth
