// Operators that compute: + - * / // % ** on numbers, texts and sequences.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "jinja/format.h"
#include "jinja/operators.h"

namespace hearth::jinja {
namespace {

using std::string_view;

constexpr std::array<string_view, 7> kSymbols = {"+", "-", "*", "/", "//", "%", "**"};

string_view symbol(BinaryOp op) {
  return kSymbols[static_cast<std::size_t>(op)];
}

[[noreturn]] void unsupported(Runtime& runtime, BinaryOp op, const Value& left,
                              const Value& right) {
  if (left.is_undefined()) runtime.fail_undefined(left);
  if (right.is_undefined()) runtime.fail_undefined(right);
  if (left.is(Kind::kBigInt) || right.is(Kind::kBigInt)) {
    runtime.over_limit("an integer beyond 64 bits cannot be computed with");
  }
  runtime.fail("'{}' does not work on {} and {}", symbol(op), type_name(left), type_name(right));
}

double as_double(const Value& value) {
  if (value.is(Kind::kFloat)) return value.number();
  if (value.is(Kind::kBigInt)) return static_cast<double>(value.big());
  return static_cast<double>(value.integer());
}

// --- integers ---

[[noreturn]] void overflow(Runtime& runtime, BinaryOp op) {
  runtime.over_limit("the result of '{}' does not fit a 64-bit integer", symbol(op));
}

std::int64_t floor_divide(Runtime& runtime, std::int64_t a, std::int64_t b) {
  if (b == 0) runtime.fail("division by zero");
  if (a == std::numeric_limits<std::int64_t>::min() && b == -1)
    overflow(runtime, BinaryOp::kFloorDivide);
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_modulo(Runtime& runtime, std::int64_t a, std::int64_t b) {
  if (b == 0) runtime.fail("modulo by zero");
  if (b == -1) return 0;
  const std::int64_t remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

std::int64_t integer_power(Runtime& runtime, std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      overflow(runtime, BinaryOp::kPower);
    }
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
      overflow(runtime, BinaryOp::kPower);
  }
  return result;
}

Value float_power(Runtime& runtime, double base, double exponent) {
  if (base == 0 && exponent < 0) runtime.fail("zero cannot be raised to a negative power");
  const double result = std::pow(base, exponent);
  if (std::isnan(result) && !std::isnan(base) && !std::isnan(exponent)) {
    runtime.fail("a negative number raised to a fraction is not a real number");
  }
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    runtime.fail("the result of '**' is too large");
  }
  return Value(result);
}

// a / b correctly rounded even where an operand exceeds a double's 53 bits.
double true_divide(std::int64_t a, std::int64_t b) {
  return static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b));
}

Value integer_binary(Runtime& runtime, BinaryOp op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) overflow(runtime, op);
      return Value(result);
    case BinaryOp::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) overflow(runtime, op);
      return Value(result);
    case BinaryOp::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) overflow(runtime, op);
      return Value(result);
    case BinaryOp::kDivide:
      if (b == 0) runtime.fail("division by zero");
      return Value(true_divide(a, b));
    case BinaryOp::kFloorDivide:
      return Value(floor_divide(runtime, a, b));
    case BinaryOp::kModulo:
      return Value(floor_modulo(runtime, a, b));
    case BinaryOp::kPower:
      if (b < 0) return float_power(runtime, static_cast<double>(a), static_cast<double>(b));
      return Value(integer_power(runtime, a, b));
  }
  unsupported(runtime, op, Value(a), Value(b));
}

// --- floats ---

double float_modulo(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

// Python's float_floor_div: derived from the remainder, so that (a // b) * b + a % b == a.
double float_floor_divide(double a, double b) {
  const double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0 && (b < 0) != (remainder < 0)) quotient -= 1.0;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1.0 : floor;
}

Value float_binary(Runtime& runtime, BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value(a + b);
    case BinaryOp::kSubtract:
      return Value(a - b);
    case BinaryOp::kMultiply:
      return Value(a * b);
    case BinaryOp::kPower:
      return float_power(runtime, a, b);
    default:
      break;
  }
  if (b == 0) runtime.fail("division by zero");
  if (op == BinaryOp::kDivide) return Value(a / b);
  return Value(op == BinaryOp::kModulo ? float_modulo(a, b) : float_floor_divide(a, b));
}

// --- sequences ---

Value repeat_text(Runtime& runtime, const Text& text, std::int64_t times) {
  const std::size_t count =
      runtime.bounded(times, std::numeric_limits<std::size_t>::max(), "a repetition");
  runtime.allocate_repeated(text.size, count);
  TextBuilder out;
  if (text.size == 0) return runtime.text(std::move(out), text.safe);
  if (text.origin() == Origin::kTemplate) {
    out.append_repeated(text.view(), count, Origin::kTemplate);
  } else {
    for (std::size_t i = 0; i < count; ++i)
      out.append(text);
  }
  return runtime.text(std::move(out), text.safe);
}

Value repeat_items(Runtime& runtime, const Value& sequence, std::int64_t times) {
  const std::vector<Value>& items = sequence.as<List>().items;
  const std::size_t count =
      runtime.bounded(times, std::numeric_limits<std::size_t>::max(), "a repetition");
  runtime.allocate_repeated(items.size() * sizeof(Value), count);
  std::vector<Value> out;
  for (std::size_t i = 0; i < count && !items.empty(); ++i)
    out.insert(out.end(), items.begin(), items.end());
  return sequence.is(Kind::kTuple) ? runtime.tuple(std::move(out)) : runtime.list(std::move(out));
}

Value repeat(Runtime& runtime, const Value& sequence, std::int64_t times) {
  return sequence.is_text() ? repeat_text(runtime, sequence.text(), times)
                            : repeat_items(runtime, sequence, times);
}

Value add_sequences(Runtime& runtime, const Value& left, const Value& right) {
  std::vector<Value> items = left.as<List>().items;
  const std::vector<Value>& more = right.as<List>().items;
  runtime.spend((items.size() + more.size()) / 16);
  items.insert(items.end(), more.begin(), more.end());
  const Origin origin = combine(left.origin(), right.origin());
  const Value sum =
      left.is(Kind::kTuple) ? runtime.tuple(std::move(items)) : runtime.list(std::move(items));
  return sum.with_origin(origin);
}

bool repeatable(const Value& value) {
  return value.is_text() || value.is_sequence();
}

}  // namespace

Value binary(Runtime& runtime, BinaryOp op, const Value& left, const Value& right) {
  const Origin origin = combine(left.origin(), right.origin());
  if (left.is_integer() && right.is_integer()) {
    return integer_binary(runtime, op, left.integer(), right.integer()).with_origin(origin);
  }
  if (left.is_text() && op == BinaryOp::kModulo) return format_percent(runtime, left.text(), right);
  if (left.is_number() && right.is_number() && (left.is(Kind::kFloat) || right.is(Kind::kFloat))) {
    return float_binary(runtime, op, as_double(left), as_double(right)).with_origin(origin);
  }
  if (op == BinaryOp::kAdd) {
    if (left.is_text() && right.is_text()) return join_texts(runtime, left.text(), right.text());
    if (left.is_sequence() && left.kind() == right.kind())
      return add_sequences(runtime, left, right);
  }
  if (op == BinaryOp::kMultiply) {
    if (repeatable(left) && right.is_integer()) return repeat(runtime, left, right.integer());
    if (repeatable(right) && left.is_integer()) return repeat(runtime, right, left.integer());
  }
  unsupported(runtime, op, left, right);
}

Value negate(Runtime& runtime, const Value& value) {
  if (value.is(Kind::kFloat)) return Value(-value.number()).with_origin(value.origin());
  if (!value.is_integer()) {
    if (value.is_undefined()) runtime.fail_undefined(value);
    runtime.fail("'-' does not work on {}", type_name(value));
  }
  return integer_binary(runtime, BinaryOp::kSubtract, 0, value.integer())
      .with_origin(value.origin());
}

Value plus(Runtime& runtime, const Value& value) {
  if (value.is_integer()) return Value(value.integer()).with_origin(value.origin());
  if (value.is_number()) return value;
  if (value.is_undefined()) runtime.fail_undefined(value);
  runtime.fail("'+' does not work on {}", type_name(value));
}

}  // namespace hearth::jinja
