// Tests: what follows `is`.
#include <algorithm>

#include "jinja/builtins.h"
#include "jinja/operators.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"

namespace hearth::jinja {
namespace {

template <Kind kind>
Value is_kind(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(kind));
}

template <CompareOp op>
Value compares(Runtime& runtime, const Value& self, const Bound& args) {
  return Value(compare(runtime, op, self, *args[0]));
}

std::int64_t remainder_of(Runtime& runtime, const Value& self, const Value& divisor,
                          bool& fraction) {
  const Value result = binary(runtime, BinaryOp::kModulo, self, divisor);
  fraction = result.is(Kind::kFloat) && result.number() != 0 && result.number() != 1;
  if (result.is(Kind::kFloat)) return static_cast<std::int64_t>(result.number());
  if (!result.is_integer()) fraction = true;
  return fraction ? 0 : result.integer();
}

template <std::int64_t wanted>
Value has_parity(Runtime& runtime, const Value& self, const Bound&) {
  bool fraction = false;
  const std::int64_t remainder = remainder_of(runtime, self, Value(std::int64_t{2}), fraction);
  return Value(!fraction && remainder == wanted);
}

Value is_divisible(Runtime& runtime, const Value& self, const Bound& args) {
  bool fraction = false;
  const std::int64_t remainder = remainder_of(runtime, self, *args[0], fraction);
  return Value(!fraction && remainder == 0);
}

Value is_defined(Runtime&, const Value& self, const Bound&) {
  return Value(!self.is_undefined());
}

template <bool wanted>
Value is_exactly(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(Kind::kBool) && self.boolean() == wanted);
}

Value is_integer_test(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(Kind::kInt) || self.is(Kind::kBigInt));
}

Value is_number_test(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_number());
}

Value is_sequence_test(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_undefined() || self.is_text() || self.is_sequence() ||
               self.is(Kind::kDict) || self.is(Kind::kRange));
}

Value is_iterable_test(Runtime&, const Value& self, const Bound&) {
  return Value(iterable(self));
}

Value is_callable_test(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(Kind::kFunction) || self.is(Kind::kMacro) || self.is(Kind::kJoiner) ||
               self.is(Kind::kLoop) || self.is_undefined());
}

Value is_lower_test(Runtime& runtime, const Value& self, const Bound&) {
  return Value(is_lower_text(to_text(runtime, self)));
}

Value is_upper_test(Runtime& runtime, const Value& self, const Bound&) {
  return Value(is_upper_text(to_text(runtime, self)));
}

Value is_escaped_test(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_text() && self.text().safe);
}

// Python's `is`: one object. Small numbers and none are one; other values only when they are the
// same.
Value is_same(Runtime&, const Value& self, const Bound& args) {
  const Value& other = *args[0];
  if (self.kind() != other.kind()) return Value(false);
  if (self.is_number() || self.is_none() || self.is_text()) return Value(equal(self, other));
  return Value(self.object() == other.object());
}

Value is_in(Runtime& runtime, const Value& self, const Bound& args) {
  return Value(contains(runtime, *args[0], self));
}

Value is_filter(Runtime& runtime, const Value& self, const Bound&) {
  require_hashable(runtime, self);
  return Value(self.is_text() && find_filter(self.text().view()) != nullptr);
}

Value is_test(Runtime& runtime, const Value& self, const Bound&) {
  require_hashable(runtime, self);
  return Value(self.is_text() && find_test(self.text().view()) != nullptr);
}

constexpr Builtin kTests[] = {
    {"odd", "", has_parity<1>},
    {"even", "", has_parity<0>},
    {"divisibleby", "num", is_divisible},
    {"defined", "", is_defined},
    {"undefined", "", is_kind<Kind::kUndefined>},
    {"filter", "", is_filter},
    {"test", "", is_test},
    {"none", "", is_kind<Kind::kNone>},
    {"boolean", "", is_kind<Kind::kBool>},
    {"false", "", is_exactly<false>},
    {"true", "", is_exactly<true>},
    {"integer", "", is_integer_test},
    {"float", "", is_kind<Kind::kFloat>},
    {"number", "", is_number_test},
    {"lower", "", is_lower_test},
    {"upper", "", is_upper_test},
    {"string", "", is_kind<Kind::kText>},
    {"mapping", "", is_kind<Kind::kDict>},
    {"sequence", "", is_sequence_test},
    {"iterable", "", is_iterable_test},
    {"callable", "", is_callable_test},
    {"sameas", "other", is_same},
    {"escaped", "", is_escaped_test},
    {"in", "seq", is_in},
    {"==", "other", compares<CompareOp::kEqual>},
    {"eq", "other", compares<CompareOp::kEqual>},
    {"equalto", "other", compares<CompareOp::kEqual>},
    {"!=", "other", compares<CompareOp::kNotEqual>},
    {"ne", "other", compares<CompareOp::kNotEqual>},
    {">", "other", compares<CompareOp::kGreater>},
    {"gt", "other", compares<CompareOp::kGreater>},
    {"greaterthan", "other", compares<CompareOp::kGreater>},
    {">=", "other", compares<CompareOp::kGreaterEqual>},
    {"ge", "other", compares<CompareOp::kGreaterEqual>},
    {"<", "other", compares<CompareOp::kLess>},
    {"lt", "other", compares<CompareOp::kLess>},
    {"lessthan", "other", compares<CompareOp::kLess>},
    {"<=", "other", compares<CompareOp::kLessEqual>},
    {"le", "other", compares<CompareOp::kLessEqual>},
};

}  // namespace

std::span<const Builtin> all_tests() {
  return kTests;
}

}  // namespace hearth::jinja
