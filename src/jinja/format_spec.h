// Python's format specifications: "[[fill]align][sign][#][0][width][,][.precision][type]".
#pragma once

#include <cstdint>
#include <string>

#include "jinja/runtime.h"

namespace hearth::jinja {

struct FormatSpec {
  std::string fill = " ";
  char align = '\0';  // '<', '>', '^', '=' or not given.
  char sign = '-';
  bool alternate = false;
  bool zero_padded = false;
  std::int64_t width = 0;
  char grouping = '\0';          // ',' or '_'
  std::int64_t precision = -1;   // Negative: not given.
  std::int64_t min_digits = -1;  // Of an integer; "%.3d".
  char type = '\0';
};

// format(value, spec), appended.
void format_value(Runtime& runtime, TextBuilder& out, const Text& spec, const Value& value);

// `value` is a number.
void format_number(Runtime& runtime, TextBuilder& out, const FormatSpec& spec, const Value& value);
void format_text(Runtime& runtime, TextBuilder& out, const FormatSpec& spec, const Text& text);

}  // namespace hearth::jinja
