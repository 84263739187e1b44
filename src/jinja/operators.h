// Operators, subscripts and iteration with Python's meaning.
#pragma once

#include <vector>

#include "jinja/ast.h"
#include "jinja/runtime.h"

namespace hearth::jinja {

Value binary(Runtime& runtime, BinaryOp op, const Value& left, const Value& right);
Value negate(Runtime& runtime, const Value& value);
Value plus(Runtime& runtime, const Value& value);
bool compare(Runtime& runtime, CompareOp op, const Value& left, const Value& right);
bool less(Runtime& runtime, const Value& left, const Value& right);
// The order that sorts `keys`, stable in both directions. Safe for any comparison, NaN included.
std::vector<std::size_t> sorted_order(Runtime& runtime, const std::vector<Value>& keys,
                                      bool reverse);
// == within the step budget.
bool same(Runtime& runtime, const Value& left, const Value& right);
bool contains(Runtime& runtime, const Value& container, const Value& item);

// object.name: Python attributes and methods first, then items.
Value get_attribute(Runtime& runtime, const Value& object, const Text& name);
// Only the attributes; false when there is none of this name.
bool find_attribute(Runtime& runtime, const Value& object, std::string_view name, Value& out);
// object[key]: items first, then, for a string key, attributes.
Value get_item(Runtime& runtime, const Value& object, const Value& key);

// Bounds of object[start:stop:step]; each may be none.
struct SliceBounds {
  Value start, stop, step;
};
Value get_slice(Runtime& runtime, const Value& object, const SliceBounds& bounds);

bool iterable(const Value& value);
// The items in order; an Iterator is used up. Fails when the value has none.
std::vector<Value> iterate(Runtime& runtime, const Value& value);
// len(): fails where Python's does.
std::size_t length(Runtime& runtime, const Value& value);
bool has_length(const Value& value);

// Fails unless the value can be a dict's key.
void require_hashable(Runtime& runtime, const Value& value);

// a + b on texts, a * n and so on, with Python's Markup rule: a safe text escapes its other side.
Value join_texts(Runtime& runtime, const Text& left, const Text& right);
const Text& escape(Runtime& runtime, const Value& value);

}  // namespace hearth::jinja
