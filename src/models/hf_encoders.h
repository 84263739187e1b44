// The table of Hugging Face classes that are encoders. See hf_families.h. Source of the spellings:
// the classes' configuration and module names in transformers.
#pragma once

#include <span>

#include "models/hf_families.h"

namespace hearth {

std::span<const HfFamily> hf_encoder_families();

}  // namespace hearth
