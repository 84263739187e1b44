// What this binary is and what it can use here, as text and as JSON.
#pragma once

#include <string>

#include "base/json.h"

namespace hearth {

// "hearth 0.1.0\n"
std::string version_line();
// With compiler, build type, kernels and the CPU's features.
std::string version_text();
json::Value version_json();

}  // namespace hearth
