#include "jinja/number_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

using std::string_view;

string_view stripped(string_view text) {
  text.remove_prefix(leading_space_length(text));
  text.remove_suffix(trailing_space_length(text));
  return text;
}

// False when an underscore is not between two digits.
bool remove_underscores(string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto alphanumeric = [&](std::size_t at) {
      return at < text.size() && is_word(static_cast<unsigned char>(text[at])) && text[at] != '_';
    };
    if (i == 0 || !alphanumeric(i - 1) || !alphanumeric(i + 1)) return false;
  }
  return true;
}

std::int64_t prefix_base(string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  switch (text[1] | 0x20) {
    case 'x':
      return 16;
    case 'o':
      return 8;
    case 'b':
      return 2;
    default:
      return 0;
  }
}

}  // namespace

ParsedInteger parse_integer(string_view text, std::int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return {};
  text = stripped(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::int64_t prefix = prefix_base(text);
  if (prefix != 0 && (base == 0 || base == prefix)) {
    text.remove_prefix(text.size() > 2 && text[2] == '_' ? 3 : 2);
    base = prefix;
  }
  if (base == 0) {
    base = 10;
    const bool all_zero = std::ranges::all_of(text, [](char c) { return c == '0' || c == '_'; });
    if (text.starts_with('0') && !all_zero) return {};
  }
  std::string digits = negative ? "-" : "";
  if (text.empty() || text.front() == '-' || !remove_underscores(text, digits)) return {};
  ParsedInteger out;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(),
                                              out.value, static_cast<int>(base));
  if (end != digits.data() + digits.size() || failure == std::errc::invalid_argument) return {};
  out.too_large = failure == std::errc::result_out_of_range;
  out.valid = !out.too_large;
  return out;
}

std::optional<double> parse_float(string_view text) {
  text = stripped(text);
  std::string digits;
  if (!remove_underscores(text, digits)) return std::nullopt;
  string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.empty() || rest.front() == '-' || rest.front() == '+' || rest.starts_with("nan("))
    return std::nullopt;
  double value = 0;
  const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (end != rest.data() + rest.size() || failure == std::errc::invalid_argument)
    return std::nullopt;
  if (failure == std::errc::result_out_of_range)
    value = std::strtod(std::string(rest).c_str(), nullptr);
  return negative ? -value : value;
}

}  // namespace hearth::jinja
