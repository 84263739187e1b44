// What this binary is. Constants of the build; safe from any thread.
#pragma once

#include <string_view>

namespace hearth {

struct BuildInfo {
  std::string_view version;     // "0.1.0"
  std::string_view compiler;    // "Clang 19.1.7"
  std::string_view build_type;  // "Release"
};

const BuildInfo& build_info();

}  // namespace hearth
