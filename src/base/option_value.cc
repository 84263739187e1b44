#include "base/option_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

namespace hearth::option_value {

namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

// Largest first. The first name of a factor is the one used for writing.
constexpr std::array<Unit, 9> kByteUnits = {{
    {"TiB", std::uint64_t{1} << 40},
    {"TB", 1'000'000'000'000},
    {"GiB", std::uint64_t{1} << 30},
    {"GB", 1'000'000'000},
    {"MiB", std::uint64_t{1} << 20},
    {"MB", 1'000'000},
    {"KiB", std::uint64_t{1} << 10},
    {"kB", 1'000},
    {"B", 1},
}};
constexpr std::array<Unit, 4> kDurationUnits = {
    {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

template <typename T>
bool parse_whole(std::string_view text, T& value) {
  const char* end = text.data() + text.size();
  const auto [ptr, failure] = std::from_chars(text.data(), end, value);
  return failure == std::errc() && ptr == end;
}

// A non-negative number with one of the units, or without for `default_factor`; false when the text
// is malformed, the result is not whole or does not fit an int64.
bool parse_quantity(std::string_view text, std::span<const Unit> units,
                    std::uint64_t default_factor, std::uint64_t& result) {
  const std::size_t number_end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view unit_name = text.substr(number_end);
  std::uint64_t factor = default_factor;
  if (!unit_name.empty()) {
    const auto unit = std::ranges::find(units, unit_name, &Unit::name);
    if (unit == units.end()) return false;
    factor = unit->factor;
  }
  double number = 0;
  if (!parse_whole(text.substr(0, number_end), number)) return false;
  const double total = number * static_cast<double>(factor);
  constexpr double kTwoTo53 = 9007199254740992.0;  // Above, a double skips whole numbers.
  if (total > kTwoTo53 || std::trunc(total) != total) return false;
  result = static_cast<std::uint64_t>(total);
  return true;
}

std::string format_quantity(std::uint64_t value, std::span<const Unit> units) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) {
      return fmt::format("{}{}", value / unit.factor, unit.name);
    }
  }
  return fmt::format("{}", value);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

Result<bool> parse_bool(std::string_view text) {
  for (const std::string_view word : {"true", "yes", "on", "1"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"false", "no", "off", "0"}) {
    if (text == word) return false;
  }
  return error(StatusCode::kInvalidArgument,
               "'{}' is not one of true, false, yes, no, on, off, 1, 0", text);
}

Result<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  if (!parse_whole(text, value)) {
    return error(StatusCode::kInvalidArgument, "'{}' is not a whole number of 64 bits", text);
  }
  return value;
}

Result<double> parse_number(std::string_view text) {
  double value = 0;
  if (!parse_whole(text, value) || !std::isfinite(value)) {
    return error(StatusCode::kInvalidArgument, "'{}' is not a finite number", text);
  }
  return value;
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t bytes = 0;
  if (!parse_quantity(text, kByteUnits, 1, bytes)) {
    return error(StatusCode::kInvalidArgument,
                 "'{}' is not a size such as 4096, 512MiB or 2GiB (units: B, KiB, MiB, GiB, TiB, "
                 "kB, MB, GB, TB)",
                 text);
  }
  return bytes;
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  std::uint64_t milliseconds = 0;
  if (!parse_quantity(text, kDurationUnits, 1'000, milliseconds)) {
    return error(StatusCode::kInvalidArgument,
                 "'{}' is not a duration such as 30s, 500ms, 2m or 1h (a plain number is seconds)",
                 text);
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(milliseconds));
}

Result<std::vector<std::string>> parse_list(std::string_view text) {
  std::vector<std::string> items;
  if (text.empty()) return items;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) {
      return error(StatusCode::kInvalidArgument, "the list has an empty item");
    }
    items.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

std::string format_number(double value) {
  return fmt::format("{}", value);
}

std::string format_bytes(std::uint64_t bytes) {
  std::string best = fmt::format("{}", bytes);
  const std::string with_unit = format_quantity(bytes, kByteUnits);
  return with_unit.ends_with('B') && with_unit.size() < best.size() ? with_unit : best;
}

std::string format_duration(std::chrono::milliseconds duration) {
  return format_quantity(static_cast<std::uint64_t>(duration.count()), kDurationUnits);
}

std::string_view closest(std::string_view text, const std::vector<std::string>& candidates) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(text, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace hearth::option_value
