// The text forms of option values, the same for flags, environment variables and configuration
// files. Errors say what was given and what is expected, without naming the source, which the
// caller adds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::option_value {

Result<bool> parse_bool(std::string_view text);
Result<std::int64_t> parse_integer(std::string_view text);
// A finite number.
Result<double> parse_number(std::string_view text);
// "2GiB", "1.5MB", "4096"; the result must be a whole number of bytes.
Result<std::uint64_t> parse_bytes(std::string_view text);
// "30s", "500ms", "1.5m", "1h", "30"; the result must be a whole number of milliseconds.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);
// Items separated by commas; an empty text is an empty list, an empty item an error.
Result<std::vector<std::string>> parse_list(std::string_view text);

// What the parsers above read back to the same value, in the largest unit that divides it.
std::string format_number(double value);
std::string format_bytes(std::uint64_t bytes);
std::string format_duration(std::chrono::milliseconds duration);

// The candidate with the fewest edits to `text`, or empty when none is close.
std::string_view closest(std::string_view text, const std::vector<std::string>& candidates);

}  // namespace hearth::option_value
