// A text to compare models on when the user has none at hand.
#pragma once

#include <string_view>

namespace hearth {

// About 1,400 tokens of prose, dialogue, instructions, code, tables and two languages, written for
// Hearth. Enough to see whether a quantized model is sound; too little for fine differences.
std::string_view calibration_text();

}  // namespace hearth
