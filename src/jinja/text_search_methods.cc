// Methods of str that look for something or answer a question.
#include <algorithm>

#include "jinja/builtins.h"
#include "jinja/operators.h"
#include "jinja/text_ops.h"
#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

// The part of a text that start and end select, as code point indices with Python's rules.
struct Window {
  std::size_t first = 0;  // Code point index of its start.
  std::size_t begin = 0, end = 0;
  bool valid = true;  // False when start lies behind the end of the text.
};

Window window(Runtime& runtime, const Text& text, const Value* start, const Value* stop) {
  Window out{.end = text.size};
  if (start == nullptr && stop == nullptr) return out;
  const auto size = static_cast<std::int64_t>(text.length());
  const auto resolve = [&](const Value* bound, std::int64_t fallback) {
    if (bound == nullptr || bound->is_none()) return fallback;
    const std::int64_t value = runtime.integer(*bound, "a position");
    return value < 0 ? std::max<std::int64_t>(value + size, 0) : value;
  };
  const std::int64_t first = resolve(start, 0);
  const std::int64_t last = std::min(resolve(stop, size), size);
  out.valid = first <= last;
  out.first = static_cast<std::size_t>(std::min(first, size));
  out.begin = text.byte_offset(out.first);
  out.end = std::max(out.begin, text.byte_offset(static_cast<std::size_t>(last)));
  return out;
}

std::size_t count_code_points(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::int64_t find_in(Runtime& runtime, const Text& text, const Bound& args, bool last) {
  const Text& needle = runtime.text_of(*args[0], "what is looked for");
  runtime.spend_bytes(3 * text.size);
  const Window part = window(runtime, text, args[1], args[2]);
  const std::string_view view = text.view().substr(part.begin, part.end - part.begin);
  const std::size_t found =
      last ? LastPartFinder(runtime, view, needle.view()).find_before(view.size())
           : find_part(view, needle.view());
  if (!part.valid || found == std::string_view::npos) return -1;
  return static_cast<std::int64_t>(part.first + count_code_points(view.substr(0, found)));
}

template <bool last>
Value find_method_of(Runtime& runtime, const Value& self, const Bound& args) {
  return Value(find_in(runtime, self.text(), args, last));
}

template <bool last>
Value index_method(Runtime& runtime, const Value& self, const Bound& args) {
  const std::int64_t found = find_in(runtime, self.text(), args, last);
  if (found < 0) runtime.fail("the substring is not in the string");
  return Value(found);
}

Value count_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& needle = runtime.text_of(*args[0], "what is counted");
  const Text& text = self.text();
  runtime.spend_bytes(2 * text.size);
  const Window part = window(runtime, text, args[1], args[2]);
  const std::string_view view = text.view().substr(part.begin, part.end - part.begin);
  if (!part.valid) return Value(std::int64_t{0});
  if (needle.size == 0) return Value(static_cast<std::int64_t>(count_code_points(view) + 1));
  std::int64_t count = 0;
  for (std::size_t at = 0; (at = find_part(view, needle.view(), at)) != std::string_view::npos;
       at += needle.size)
    ++count;
  return Value(count);
}

template <bool at_start>
Value affix_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& text = self.text();
  if (!text.ascii()) runtime.spend_bytes(text.size);
  const Window part = window(runtime, text, args[1], args[2]);
  const std::string_view view = text.view().substr(part.begin, part.end - part.begin);
  const auto matches = [&](const Value& affix) {
    const std::string_view wanted = runtime.text_of(affix, "a prefix or suffix").view();
    runtime.spend_bytes(wanted.size());
    return part.valid && (at_start ? view.starts_with(wanted) : view.ends_with(wanted));
  };
  if (args[0]->is(Kind::kTuple))
    return Value(std::ranges::any_of(args[0]->as<List>().items, matches));
  return Value(matches(*args[0]));
}

using CharacterTest = bool (*)(char32_t);

template <CharacterTest test, bool when_empty>
Value every_method(Runtime& runtime, const Value& self, const Bound&) {
  const Text& text = self.text();
  runtime.spend_bytes(text.size);
  if (text.size == 0) return Value(when_empty);
  for (TextCursor cursor(text); !cursor.done();) {
    if (!test(cursor.next())) return Value(false);
  }
  return Value(true);
}

bool is_alnum(char32_t c) {
  return is_alpha(c) || is_numeric(c);
}

bool is_ascii(char32_t c) {
  return c < 0x80;
}

Value is_lower_method(Runtime& runtime, const Value& self, const Bound&) {
  runtime.spend_bytes(self.text().size);
  return Value(is_lower_text(self.text()));
}

Value is_upper_method(Runtime& runtime, const Value& self, const Bound&) {
  runtime.spend_bytes(self.text().size);
  return Value(is_upper_text(self.text()));
}

Value is_title_method(Runtime& runtime, const Value& self, const Bound&) {
  runtime.spend_bytes(self.text().size);
  bool previous_cased = false;
  bool any = false;
  for (TextCursor cursor(self.text()); !cursor.done();) {
    const char32_t c = cursor.next();
    const bool first = is_upper(c) || is_title(c);
    if (first ? previous_cased : (is_lower(c) && !previous_cased)) return Value(false);
    previous_cased = first || is_lower(c);
    any = any || previous_cased;
  }
  return Value(any);
}

Value is_identifier_method(Runtime&, const Value& self, const Bound&) {
  return Value(is_identifier(self.text().view()));
}

constexpr Builtin kMethods[] = {
    {"find", "sub start? end?", find_method_of<false>},
    {"rfind", "sub start? end?", find_method_of<true>},
    {"index", "sub start? end?", index_method<false>},
    {"rindex", "sub start? end?", index_method<true>},
    {"count", "sub start? end?", count_method},
    {"startswith", "prefix start? end?", affix_method<true>},
    {"endswith", "suffix start? end?", affix_method<false>},
    {"isalpha", "", every_method<is_alpha, false>},
    {"isalnum", "", every_method<is_alnum, false>},
    {"isascii", "", every_method<is_ascii, true>},
    {"isdecimal", "", every_method<is_decimal, false>},
    {"isdigit", "", every_method<is_digit, false>},
    {"isnumeric", "", every_method<is_numeric, false>},
    {"isprintable", "", every_method<is_printable, true>},
    {"isspace", "", every_method<is_space, false>},
    {"islower", "", is_lower_method},
    {"isupper", "", is_upper_method},
    {"istitle", "", is_title_method},
    {"isidentifier", "", is_identifier_method},
};

}  // namespace

std::span<const Builtin> text_search_methods() {
  return kMethods;
}

}  // namespace hearth::jinja
