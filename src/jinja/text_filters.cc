// Filters on texts.
#include <algorithm>
#include <array>

#include "jinja/builtins.h"
#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"
#include "jinja/unicode.h"
#include "jinja/word_wrap.h"

namespace hearth::jinja {
namespace {

using std::string_view;

template <Value (*operation)(Runtime&, const Text&)>
Value case_filter(Runtime& runtime, const Value& self, const Bound&) {
  return operation(runtime, to_text(runtime, self));
}

bool begins_word(char32_t c) {
  return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c);
}

// Jinja's own title: words begin after white space and opening punctuation, not after any
// non-letter.
Value title_filter(Runtime& runtime, const Value& self, const Bound&) {
  const Text& text = to_text(runtime, self);
  TextBuilder out;
  const auto add_word = [&](std::size_t begin, std::size_t head, std::size_t end) {
    out.append(upper(runtime, runtime.substring(text, begin, head).text()).text());
    out.append(lower(runtime, runtime.substring(text, head, end).text()).text());
  };
  std::size_t word = 0;  // Where the current word begins, and the end of its first character.
  std::size_t head = 0;
  for (TextCursor cursor(text); !cursor.done();) {
    const std::size_t at = cursor.position();
    const char32_t c = cursor.next();
    if (begins_word(c)) {
      add_word(word, head, at);
      out.append(text, at, cursor.position());
      word = head = cursor.position();
    } else if (head == word) {
      head = cursor.position();
    }
  }
  add_word(word, head, text.size);
  return runtime.text(std::move(out));
}

Value trim_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Text* chars =
      args.given(0) == nullptr ? nullptr : &runtime.text_of(*args[0], "the characters to trim");
  return strip(runtime, to_text(runtime, self), chars, Side::kBoth);
}

Value replace_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Value* count = args.given(2);
  const Value replaced =
      replace(runtime, to_text(runtime, self), to_text(runtime, *args[0]),
              to_text(runtime, *args[1]), runtime.integer_or(count, -1, "the count"));
  return replaced;
}

Value string_filter(Runtime& runtime, const Value& self, const Bound&) {
  return Value(&to_text(runtime, self));
}

Value center_filter(Runtime& runtime, const Value& self, const Bound& args) {
  constexpr std::int64_t kDefaultWidth = 80;
  return pad(
      runtime, to_text(runtime, self),
      {.width = runtime.integer_or(args[0], kDefaultWidth, "the width"), .align = Align::kCenter});
}

const Text& indention(Runtime& runtime, const Value* width) {
  constexpr std::int64_t kDefaultWidth = 4;
  if (width != nullptr && width->is_text()) return width->text();
  const std::int64_t count = runtime.integer_or(width, kDefaultWidth, "the width");
  const Value space = runtime.text(" ");
  return binary(runtime, BinaryOp::kMultiply, space, Value(count)).text();
}

Value indent_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& indent = indention(runtime, args[0]);
  const bool first = args[1] != nullptr && truthy(*args[1]);
  const bool blank = args[2] != nullptr && truthy(*args[2]);
  // A line break behind the text makes the last line count even when it is empty.
  const Text& text =
      runtime.concat(runtime.text_of(self, "what is indented"), runtime.text("\n").text(), false)
          .text();
  const std::vector<Value> lines = split_lines(runtime, text, false);
  TextBuilder out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n", Origin::kTemplate);
    const bool indented = i == 0 ? first : blank || lines[i].text().size > 0;
    if (indented) print(runtime, out, Value(&indent));
    print(runtime, out, lines[i]);
  }
  return runtime.text(std::move(out), self.text().safe);
}

Value truncate_filter(Runtime& runtime, const Value& self, const Bound& args) {
  constexpr std::int64_t kDefaultLength = 255;
  constexpr std::int64_t kDefaultLeeway = 5;
  const std::int64_t length = runtime.integer_or(args[0], kDefaultLength, "the length");
  const bool kill_words = args[1] != nullptr && truthy(*args[1]);
  const Text& end =
      args[2] == nullptr ? runtime.text("...").text() : runtime.text_of(*args[2], "the end");
  const std::int64_t leeway = runtime.integer_or(args.given(3), kDefaultLeeway, "the leeway");
  const auto end_length = static_cast<std::int64_t>(end.length());
  if (length < end_length)
    runtime.fail("truncate: the length {} is below the end's {}", length, end_length);
  if (leeway < 0) runtime.fail("truncate: the leeway {} is negative", leeway);
  const auto total = static_cast<std::int64_t>(jinja::length(runtime, self));
  if (total <= length || total - length <= leeway) return self;
  const Text& text = runtime.text_of(self, "what is truncated");
  const std::size_t cut = text.byte_offset(static_cast<std::size_t>(length - end_length));
  const Text& head = runtime.substring(text, 0, cut).text();
  if (kill_words) return join_texts(runtime, head, end);
  const std::size_t space = head.view().rfind(' ');
  const std::size_t kept = space == string_view::npos ? head.size : space;
  return join_texts(runtime, runtime.substring(head, 0, kept).text(), end);
}

Value wordwrap_filter(Runtime& runtime, const Value& self, const Bound& args) {
  constexpr std::int64_t kDefaultWidth = 79;
  WrapStyle style;
  const std::int64_t width = runtime.integer_or(args[0], kDefaultWidth, "the width");
  if (width <= 0) runtime.fail("wordwrap: the width {} must be above 0", width);
  style.width = static_cast<std::size_t>(width);
  style.break_long_words = args[1] == nullptr || truthy(*args[1]);
  style.break_on_hyphens = args[3] == nullptr || truthy(*args[3]);
  const Value newline = args.given(2) == nullptr ? runtime.text("\n") : *args[2];
  runtime.text_of(newline, "the wrap string");
  TextBuilder out;
  bool first = true;
  for (const Value& line : split_lines(runtime, runtime.text_of(self, "what is wrapped"), false)) {
    const std::vector<Value> wrapped = wrap_line(runtime, line.text(), style);
    if (!std::exchange(first, false)) print(runtime, out, newline);
    for (std::size_t i = 0; i < wrapped.size(); ++i) {
      if (i > 0) print(runtime, out, newline);
      print(runtime, out, wrapped[i]);
    }
  }
  return runtime.text(std::move(out));
}

Value wordcount_filter(Runtime& runtime, const Value& self, const Bound&) {
  const Text& text = to_text(runtime, self);
  runtime.spend_bytes(text.size);
  std::int64_t count = 0;
  bool inside = false;
  for (TextCursor cursor(text); !cursor.done();) {
    const bool word = is_word(cursor.next());
    if (word && !inside) ++count;
    inside = word;
  }
  return Value(count);
}

Value format_filter(Runtime& runtime, const Value& self, const Bound& args) {
  if (!args.all.positional.empty() && !args.all.named.empty()) {
    runtime.fail("format: takes positional or named values, not both");
  }
  const Text& format = to_text(runtime, self);
  if (args.all.named.empty())
    return format_percent(runtime, format, runtime.tuple(args.all.positional));
  auto* dict = runtime.make<Dict>();
  for (const auto& [name, value] : args.all.named)
    dict->set(runtime.text(name), value);
  return format_percent(runtime, format, Value(Kind::kDict, dict));
}

Value pprint_filter(Runtime& runtime, const Value& self, const Bound&) {
  constexpr std::size_t kLineWidth = 80;
  TextBuilder out;
  repr(runtime, out, self);
  if (out.size() > kLineWidth || self.is(Kind::kDict)) {
    runtime.fail("pprint: only values that fit one line are supported; use tojson(indent=2)");
  }
  return runtime.text(std::move(out));
}

// --- tojson ---

const Text* json_indent(Runtime& runtime, const Value& indent) {
  if (indent.is_text()) return &indent.text();
  const std::int64_t width = runtime.integer(indent, "tojson's indent");
  const Value space = runtime.text(" ");
  return &binary(runtime, BinaryOp::kMultiply, space, Value(width)).text();
}

Value tojson_filter(Runtime& runtime, const Value& self, const Bound& args) {
  JsonStyle style;
  style.ascii_only = args[0] != nullptr && truthy(*args[0]);
  if (const Value* indent = args.given(1)) {
    style.indented = true;
    style.indent = json_indent(runtime, *indent);
  }
  if (const Value* separators = args.given(2)) {
    const std::vector<Value> both = iterate(runtime, *separators);
    if (both.size() != 2) runtime.fail("tojson: separators must be two strings");
    style.item_separator = &runtime.text_of(both[0], "the item separator");
    style.key_separator = &runtime.text_of(both[1], "the key separator");
  }
  style.sort_keys = args[3] != nullptr && truthy(*args[3]);
  TextBuilder out;
  dump_json(runtime, out, self, style);
  return runtime.text(std::move(out));
}

// --- urlencode ---

void quote_url(Runtime& runtime, TextBuilder& out, const Value& value, bool query) {
  const Text& text = to_text(runtime, value);
  runtime.allocate(3 * text.size);
  const string_view view = text.view();
  for (std::size_t i = 0; i < view.size(); ++i) {
    const char c = view[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool plain =
        byte < 0x80 && (is_word(byte) || c == '-' || c == '.' || c == '~' || (c == '/' && !query));
    if (plain) {
      out.append(view.substr(i, 1), text.origin_at(i));
    } else if (query && c == ' ') {
      out.append("+", text.origin_at(i));
    } else {
      out.append(fmt::format("%{:02X}", byte), text.origin_at(i));
    }
  }
}

Value urlencode_filter(Runtime& runtime, const Value& self, const Bound&) {
  TextBuilder out;
  if (self.is_text() || !iterable(self)) {
    quote_url(runtime, out, self, false);
    return runtime.text(std::move(out));
  }
  const Value pairs =
      self.is(Kind::kDict)
          ? Value(Kind::kView, runtime.make<View>(self.as<Dict>(), ViewKind::kItems))
          : self;
  bool first = true;
  for (const Value& pair : iterate(runtime, pairs)) {
    const std::vector<Value> items = iterate(runtime, pair);
    if (items.size() != 2) runtime.fail("urlencode: needs pairs, got {} values", items.size());
    if (!std::exchange(first, false)) out.append("&", Origin::kTemplate);
    quote_url(runtime, out, items[0], true);
    out.append("=", Origin::kTemplate);
    quote_url(runtime, out, items[1], true);
  }
  return runtime.text(std::move(out));
}

constexpr Builtin kFilters[] = {
    {"upper", "", case_filter<upper>},
    {"lower", "", case_filter<lower>},
    {"capitalize", "", case_filter<capitalize>},
    {"title", "", title_filter},
    {"trim", "chars?", trim_filter},
    {"replace", "old new count?", replace_filter},
    {"string", "", string_filter},
    {"center", "width?", center_filter},
    {"indent", "width? first? blank?", indent_filter},
    {"truncate", "length? killwords? end? leeway?", truncate_filter},
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", wordwrap_filter},
    {"wordcount", "", wordcount_filter},
    {"format", "*", format_filter},
    {"pprint", "", pprint_filter},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson_filter},
    {"urlencode", "", urlencode_filter},
};

}  // namespace

std::span<const Builtin> text_filters() {
  return kFilters;
}

}  // namespace hearth::jinja
