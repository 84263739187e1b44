// Filters that make or change numbers.
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#include "jinja/builtins.h"
#include "jinja/number_text.h"
#include "jinja/operators.h"
#include "jinja/printing.h"

namespace hearth::jinja {
namespace {

constexpr double kTwoTo63 = 9223372036854775808.0;

std::optional<double> number_of(const Value& value) {
  if (value.is(Kind::kFloat)) return value.number();
  if (value.is(Kind::kBigInt)) return static_cast<double>(value.big());
  if (value.is_integer()) return static_cast<double>(value.integer());
  return std::nullopt;
}

std::optional<double> to_double(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) runtime.fail_undefined(value);
  if (value.is_text()) return parse_float(value.text().view());
  return number_of(value);
}

Value truncated(Runtime& runtime, double value) {
  if (!(std::abs(value) < kTwoTo63))
    runtime.over_limit("int: {} does not fit a 64-bit integer", value);
  return Value(static_cast<std::int64_t>(value));
}

Value abs_filter(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is(Kind::kFloat)) return Value(std::abs(self.number())).with_origin(self.origin());
  if (self.is(Kind::kBigInt)) return self;
  if (self.is_undefined()) runtime.fail_undefined(self);
  if (!self.is_integer()) runtime.fail("abs: needs a number, not {}", type_name(self));
  return self.integer() < 0 ? negate(runtime, self) : plus(runtime, self);
}

Value int_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Value fallback = args[0] == nullptr ? Value(std::int64_t{0}) : *args[0];
  const std::int64_t base = runtime.integer_or(args[1], 10, "the base");
  if (self.is_undefined()) runtime.fail_undefined(self);
  if (self.is(Kind::kBigInt)) return self;
  if (self.is_integer()) return Value(self.integer()).with_origin(self.origin());
  if (self.is_text()) {
    const ParsedInteger parsed = parse_integer(self.text().view(), base);
    if (parsed.too_large) runtime.over_limit("int: the number does not fit a 64-bit integer");
    if (parsed.valid) return Value(parsed.value).with_origin(self.text().origin());
  }
  const std::optional<double> number = to_double(runtime, self);
  if (!number || !std::isfinite(*number)) return fallback;
  return truncated(runtime, *number)
      .with_origin(self.is_text() ? self.text().origin() : self.origin());
}

Value float_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const std::optional<double> number = to_double(runtime, self);
  if (!number) return args[0] == nullptr ? Value(0.0) : *args[0];
  return Value(*number).with_origin(self.is_text() ? self.text().origin() : self.origin());
}

// --- round ---

// Nearest multiple of 10^-precision, halves of the exact binary value to even.
double round_decimal(double value, std::int64_t precision) {
  constexpr std::int64_t kMostDigits = 323;
  if (!std::isfinite(value) || precision > kMostDigits) return value;
  if (precision < -308) return std::copysign(0.0, value);
  if (precision >= 0) {
    return std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / unit) * unit;
}

Value round_integer(Runtime& runtime, const Value& value, std::int64_t precision) {
  if (precision >= 0 || value.is(Kind::kBigInt)) return plus(runtime, value);
  constexpr std::int64_t kLargestPower = -18;
  if (precision < kLargestPower) return Value(std::int64_t{0});
  std::int64_t unit = 1;
  for (std::int64_t i = 0; i < -precision; ++i)
    unit *= 10;
  const std::int64_t quotient = value.integer() / unit;
  const std::int64_t rest = std::abs(value.integer() % unit);
  const bool away = rest * 2 > unit || (rest * 2 == unit && quotient % 2 != 0);
  const std::int64_t step = value.integer() < 0 ? -1 : 1;
  return binary(runtime, BinaryOp::kMultiply, Value(quotient + (away ? step : 0)), Value(unit));
}

Value round_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const std::int64_t precision = runtime.integer_or(args[0], 0, "the precision");
  const std::string_view method =
      args[1] == nullptr ? "common" : runtime.text_of(*args[1], "the method").view();
  if (method != "common" && method != "ceil" && method != "floor") {
    runtime.fail("round: the method must be common, ceil or floor");
  }
  if (self.is_undefined()) runtime.fail_undefined(self);
  if (!self.is_number()) runtime.fail("round: needs a number, not {}", type_name(self));
  if (method == "common") {
    if (!self.is(Kind::kFloat))
      return round_integer(runtime, self, precision).with_origin(self.origin());
    return Value(round_decimal(self.number(), precision)).with_origin(self.origin());
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *number_of(self) * unit;
  if (!std::isfinite(scaled)) runtime.fail("round: the number is not finite");
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  // Python's ceil and floor give an int: there is no negative zero.
  return Value((whole == 0 ? 0.0 : whole) / unit).with_origin(self.origin());
}

Value filesizeformat_filter(Runtime& runtime, const Value& self, const Bound& args) {
  static constexpr std::array<std::string_view, 8> kDecimal = {"kB", "MB", "GB", "TB",
                                                               "PB", "EB", "ZB", "YB"};
  static constexpr std::array<std::string_view, 8> kBinary = {"KiB", "MiB", "GiB", "TiB",
                                                              "PiB", "EiB", "ZiB", "YiB"};
  const std::optional<double> size = to_double(runtime, self);
  if (!size || !std::isfinite(*size)) runtime.fail("filesizeformat: needs a number");
  const bool is_binary = args[0] != nullptr && truthy(*args[0]);
  const double base = is_binary ? 1024 : 1000;
  const Origin origin = self.is_text() ? self.text().origin() : self.origin();
  if (*size == 1) return runtime.text("1 Byte", origin);
  if (*size < base) return runtime.text(fmt::format("{:.0f} Bytes", std::trunc(*size)), origin);
  double unit = base * base;
  std::size_t prefix = 0;
  while (*size >= unit && prefix + 1 < kDecimal.size()) {
    unit *= base;
    ++prefix;
  }
  const std::string_view name = is_binary ? kBinary[prefix] : kDecimal[prefix];
  return runtime.text(fmt::format("{:.1f} {}", base * *size / unit, name), origin);
}

constexpr Builtin kFilters[] = {
    {"abs", "", abs_filter},
    {"int", "default? base?", int_filter},
    {"float", "default?", float_filter},
    {"round", "precision? method?", round_filter},
    {"filesizeformat", "binary?", filesizeformat_filter},
};

}  // namespace

std::span<const Builtin> number_filters() {
  return kFilters;
}

}  // namespace hearth::jinja
