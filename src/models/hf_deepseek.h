// The table of Hugging Face classes of DeepSeek. See hf_families.h.
#pragma once

#include <span>

#include "models/hf_families.h"

namespace hearth {

std::span<const HfFamily> hf_deepseek_families();

}  // namespace hearth
