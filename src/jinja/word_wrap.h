// Python's textwrap.wrap on one line.
#pragma once

#include <vector>

#include "jinja/runtime.h"

namespace hearth::jinja {

struct WrapStyle {
  std::size_t width = 79;  // In code points.
  bool break_long_words = true;
  bool break_on_hyphens = true;
};

std::vector<Value> wrap_line(Runtime& runtime, const Text& line, const WrapStyle& style);

}  // namespace hearth::jinja
