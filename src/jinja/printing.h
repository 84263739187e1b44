// Values as text: Python's str and repr, and json.dumps.
#pragma once

#include <string>

#include "jinja/runtime.h"

namespace hearth::jinja {

// str(value), appended. What prints as an object address in Python is refused.
void print(Runtime& runtime, TextBuilder& out, const Value& value);
void repr(Runtime& runtime, TextBuilder& out, const Value& value);
// repr with everything above U+007F escaped: Python's ascii().
void ascii_repr(Runtime& runtime, TextBuilder& out, const Value& value);
// The value itself when it is a text.
const Text& to_text(Runtime& runtime, const Value& value);

// repr of a float: "1.0", "1e+16", "inf".
std::string float_repr(double value);

struct JsonStyle {
  bool ascii_only = false;
  bool sort_keys = false;
  bool indented = false;
  const Text* indent = nullptr;          // One level; nullptr with `indented`: empty.
  const Text* item_separator = nullptr;  // nullptr: ", " or, indented, ",".
  const Text* key_separator = nullptr;   // nullptr: ": ".
};
void dump_json(Runtime& runtime, TextBuilder& out, const Value& value, const JsonStyle& style);

}  // namespace hearth::jinja
