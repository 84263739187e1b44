// Operations on texts that filters and methods share. Results keep the origin of every byte they
// keep.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/runtime.h"

namespace hearth::jinja {

// Where `part` first begins in `text`, at or after `from`; npos when it does not. Unlike
// string_view::find(), the time is linear in the text however the two are made.
std::size_t find_part(std::string_view text, std::string_view part, std::size_t from = 0);

// The same from the end. Keeps copies of both, which the runtime's budgets pay for.
class LastPartFinder {
 public:
  LastPartFinder(Runtime& runtime, std::string_view text, std::string_view part);
  // Where `part` last begins in the first `end` bytes of the text; npos when it does not.
  std::size_t find_before(std::size_t end) const;

 private:
  std::string reversed_text_;
  std::string reversed_part_;
};

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
