// The table of Hugging Face classes of the first years that share little with Llama's, in the form
// of hf_families.h.
#pragma once

#include <span>

#include "models/hf_families.h"

namespace hearth {

std::span<const HfFamily> hf_older_families();

}  // namespace hearth
