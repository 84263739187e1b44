// Numbers in texts, as Python's int() and float() read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hearth::jinja {

struct ParsedInteger {
  bool valid = false;
  bool too_large = false;  // A number, but beyond int64.
  std::int64_t value = 0;
};
// Base 2 to 36, or 0 to take it from a prefix (0x, 0o, 0b).
ParsedInteger parse_integer(std::string_view text, std::int64_t base);

std::optional<double> parse_float(std::string_view text);

}  // namespace hearth::jinja
