// Operations on texts that filters and methods share. Results keep the origin of every byte they
// keep.
#pragma once

#include <limits>
#include <vector>

#include "jinja/runtime.h"

namespace hearth::jinja {

enum class Side { kLeft, kRight, kBoth };

// `chars` nullptr: white space.
Value strip(Runtime& runtime, const Text& text, const Text* chars, Side side);
// Negative `count`: all.
Value replace(Runtime& runtime, const Text& text, const Text& old_part, const Text& new_part,
              std::int64_t count);

Value upper(Runtime& runtime, const Text& text);
Value lower(Runtime& runtime, const Text& text);
Value casefold(Runtime& runtime, const Text& text);
Value swapcase(Runtime& runtime, const Text& text);
Value capitalize(Runtime& runtime, const Text& text);
Value title(Runtime& runtime, const Text& text);  // str.title

// Parts between separators; `separator` nullptr: runs of white space. Negative `max_splits`: all.
std::vector<Value> split(Runtime& runtime, const Text& text, const Text* separator,
                         std::int64_t max_splits);
std::vector<Value> rsplit(Runtime& runtime, const Text& text, const Text* separator,
                          std::int64_t max_splits);
std::vector<Value> split_lines(Runtime& runtime, const Text& text, bool keep_ends);

// Padded to `width` code points.
enum class Align { kLeft, kRight, kCenter };
struct Padding {
  std::int64_t width = 0;
  const Text* fill = nullptr;  // One code point; nullptr: a space.
  Align align = Align::kLeft;
};
Value pad(Runtime& runtime, const Text& text, const Padding& padding);

bool is_lower_text(const Text& text);  // str.islower
bool is_upper_text(const Text& text);  // str.isupper

}  // namespace hearth::jinja
