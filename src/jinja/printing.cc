#include "jinja/printing.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "jinja/operators.h"
#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

using std::string_view;

constexpr char32_t kLastAscii = 0x7E;

// Exact decimal digits and exponent of the shortest text that reads back.
struct Decimal {
  std::string digits;
  int exponent = 0;  // value = 0.digits * 10^exponent
};

Decimal shortest(double value) {
  std::array<char, 64> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                    std::chars_format::scientific);
  const string_view text(buffer.data(), static_cast<std::size_t>(result.ptr - buffer.data()));
  const std::size_t e = text.find('e');
  Decimal decimal;
  for (const char c : text.substr(0, e)) {
    if (c != '.') decimal.digits += c;
  }
  const string_view exponent = text.substr(text[e + 1] == '+' ? e + 2 : e + 1);
  std::from_chars(exponent.data(), exponent.data() + exponent.size(), decimal.exponent);
  ++decimal.exponent;
  return decimal;
}

std::string plain_layout(const Decimal& decimal) {
  const int count = static_cast<int>(decimal.digits.size());
  if (decimal.exponent <= 0) {
    return "0." + std::string(static_cast<std::size_t>(-decimal.exponent), '0') + decimal.digits;
  }
  if (decimal.exponent >= count) {
    return decimal.digits + std::string(static_cast<std::size_t>(decimal.exponent - count), '0') +
           ".0";
  }
  std::string out = decimal.digits;
  out.insert(static_cast<std::size_t>(decimal.exponent), ".");
  return out;
}

void append_hex_escape(TextBuilder& out, char32_t c, Origin origin) {
  if (c < 0x100) {
    out.append(fmt::format("\\x{:02x}", static_cast<unsigned>(c)), origin);
  } else if (c < 0x10000) {
    out.append(fmt::format("\\u{:04x}", static_cast<unsigned>(c)), origin);
  } else {
    out.append(fmt::format("\\U{:08x}", static_cast<unsigned>(c)), origin);
  }
}

void repr_character(TextBuilder& out, char32_t c, char quote, Origin origin) {
  if (c == '\n') return out.append("\\n", origin);
  if (c == '\r') return out.append("\\r", origin);
  if (c == '\t') return out.append("\\t", origin);
  if (c == '\\' || c == static_cast<char32_t>(quote)) {
    out.append("\\", origin);
    return out.append(c, origin);
  }
  if (!is_printable(c)) return append_hex_escape(out, c, origin);
  out.append(c, origin);
}

void repr_text(Runtime& runtime, TextBuilder& out, const Text& text) {
  runtime.allocate(text.size);
  runtime.spend_bytes(text.size);
  const string_view view = text.view();
  const bool single = view.find('\'') != string_view::npos;
  const char quote = single && view.find('"') == string_view::npos ? '"' : '\'';
  const string_view mark(&quote, 1);
  if (text.safe) out.append("Markup(", Origin::kTemplate);
  out.append(mark, Origin::kTemplate);
  for (TextCursor cursor(text); !cursor.done();) {
    const Origin origin = cursor.origin();
    repr_character(out, cursor.next(), quote, origin);
  }
  out.append(mark, Origin::kTemplate);
  if (text.safe) out.append(")", Origin::kTemplate);
}

// Writes nested values; bounds the nesting.
class Repr {
 public:
  Repr(Runtime& runtime, TextBuilder& out) : runtime_(runtime), out_(out) {}

  void value(const Value& value) {
    runtime_.spend();
    switch (value.kind()) {
      case Kind::kText:
        return repr_text(runtime_, out_, value.text());
      case Kind::kUndefined:
        return out_.append("Undefined", Origin::kTemplate);
      case Kind::kList:
        return items(value.as<List>().items, "[", "]", value.origin());
      case Kind::kTuple:
        return tuple(value);
      case Kind::kDict:
        return dict(value.as<Dict>(), value.origin());
      case Kind::kView:
        return view(value);
      case Kind::kNamespace:
        return name_space(value);
      default:
        return print(runtime_, out_, value);
    }
  }

 private:
  void items(const std::vector<Value>& values, string_view open, string_view close, Origin origin) {
    enter();
    out_.append(open, origin);
    bool first = true;
    for (const Value& item : values) {
      if (!std::exchange(first, false)) out_.append(", ", origin);
      value(item);
    }
    out_.append(close, origin);
    --depth_;
  }

  void tuple(const Value& tuple) {
    const std::vector<Value>& values = tuple.as<List>().items;
    items(values, "(", values.size() == 1 ? ",)" : ")", tuple.origin());
  }

  void dict(const Dict& dict, Origin origin) {
    enter();
    out_.append("{", origin);
    bool first = true;
    for (const Dict::Entry& entry : dict.entries()) {
      if (!std::exchange(first, false)) out_.append(", ", origin);
      value(entry.key);
      out_.append(": ", origin);
      value(entry.value);
    }
    out_.append("}", origin);
    --depth_;
  }

  void view(const Value& view) {
    static constexpr std::array<string_view, 3> kNames = {"dict_keys(", "dict_values(",
                                                          "dict_items("};
    out_.append(kNames[static_cast<std::size_t>(view.as<View>().kind)], Origin::kTemplate);
    items(iterate(runtime_, view), "[", "]", view.origin());
    out_.append(")", Origin::kTemplate);
  }

  void name_space(const Value& value) {
    out_.append("<Namespace ", Origin::kTemplate);
    dict(value.as<Namespace>().attributes, Origin::kTemplate);
    out_.append(">", Origin::kTemplate);
  }

  void enter() {
    if (++depth_ > kMaxValueDepth)
      runtime_.over_limit("a value nested deeper than {} levels", kMaxValueDepth);
  }

  Runtime& runtime_;
  TextBuilder& out_;
  int depth_ = 0;
};

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, TextBuilder& out, const JsonStyle& style)
      : runtime_(runtime), out_(out), style_(style) {}

  void value(const Value& value) {
    runtime_.spend();
    switch (value.kind()) {
      case Kind::kNone:
        return out_.append("null", value.origin());
      case Kind::kBool:
        return out_.append(value.boolean() ? "true" : "false", value.origin());
      case Kind::kInt:
      case Kind::kBigInt:
        return print(runtime_, out_, value);
      case Kind::kFloat:
        return out_.append(number(value.number()), value.origin());
      case Kind::kText:
        return text(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return list(value);
      case Kind::kDict:
        return dict(value);
      default:
        runtime_.fail("tojson: a value of type {} has no JSON form", type_name(value));
    }
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void text(const Text& text) {
    runtime_.allocate(text.size);
    runtime_.spend_bytes(text.size);
    out_.append("\"", text_quote_origin(text));
    std::size_t plain = 0;
    for (TextCursor cursor(text); !cursor.done();) {
      const std::size_t begin = cursor.position();
      const Origin origin = cursor.origin();
      const char32_t c = cursor.next();
      if (c >= 0x20 && c != '"' && c != '\\' && (!style_.ascii_only || c <= kLastAscii)) continue;
      out_.append(text, plain, begin);
      escape(c, origin);
      plain = cursor.position();
    }
    out_.append(text, plain, text.size);
    out_.append("\"", text_quote_origin(text));
  }

  // Quotes around an input string count as input: fewer spans, and never part of a special token.
  static Origin text_quote_origin(const Text& text) { return text.origin(); }

  void escape(char32_t c, Origin origin) {
    static constexpr string_view kNamed = "\"\\\n\r\t\f\b";
    static constexpr string_view kLetters = "\"\\nrtfb";
    const std::size_t named = c < 0x80 ? kNamed.find(static_cast<char>(c)) : string_view::npos;
    if (named != string_view::npos) {
      out_.append("\\", origin);
      out_.append(kLetters.substr(named, 1), origin);
    } else if (c < 0x10000) {
      out_.append(fmt::format("\\u{:04x}", static_cast<unsigned>(c)), origin);
    } else {
      const unsigned offset = static_cast<unsigned>(c) - 0x10000;
      out_.append(
          fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF)),
          origin);
    }
  }

  void list(const Value& value) {
    const std::vector<Value>& items = value.as<List>().items;
    if (items.empty()) return out_.append("[]", value.origin());
    open("[", value.origin());
    bool first = true;
    for (const Value& item : items) {
      separate(std::exchange(first, false), value.origin());
      this->value(item);
    }
    close("]", value.origin());
  }

  void dict(const Value& value) {
    const Dict& dict = value.as<Dict>();
    if (dict.size() == 0) return out_.append("{}", value.origin());
    open("{", value.origin());
    bool first = true;
    for (const Dict::Entry* entry : ordered(dict)) {
      separate(std::exchange(first, false), value.origin());
      key(entry->key);
      if (style_.key_separator != nullptr) {
        out_.append(*style_.key_separator);
      } else {
        out_.append(": ", value.origin());
      }
      this->value(entry->value);
    }
    close("}", value.origin());
  }

  std::vector<const Dict::Entry*> ordered(const Dict& dict) {
    std::vector<const Dict::Entry*> entries;
    entries.reserve(dict.size());
    if (!style_.sort_keys) {
      for (const Dict::Entry& entry : dict.entries())
        entries.push_back(&entry);
      return entries;
    }
    std::vector<Value> keys;
    for (const Dict::Entry& entry : dict.entries())
      keys.push_back(entry.key);
    for (const std::size_t idx : sorted_order(runtime_, keys, false)) {
      entries.push_back(&dict.entries()[idx]);
    }
    return entries;
  }

  void key(const Value& key) {
    if (key.is_text()) return text(key.text());
    if (!key.is_number() && !key.is_none()) {
      runtime_.fail("tojson: a key of type {} has no JSON form", type_name(key));
    }
    out_.append("\"", key.origin());
    value(key);
    out_.append("\"", key.origin());
  }

  void open(string_view bracket, Origin origin) {
    if (++depth_ > kMaxValueDepth) {
      runtime_.over_limit("tojson: a value nested deeper than {} levels", kMaxValueDepth);
    }
    out_.append(bracket, origin);
  }

  void separate(bool first, Origin origin) {
    if (!first && style_.item_separator != nullptr) {
      out_.append(*style_.item_separator);
    } else if (!first) {
      out_.append(style_.indented ? "," : ", ", origin);
    }
    if (style_.indented) new_line(origin);
  }

  void close(string_view bracket, Origin origin) {
    --depth_;
    if (style_.indented) new_line(origin);
    out_.append(bracket, origin);
  }

  void new_line(Origin origin) {
    out_.append("\n", origin);
    if (style_.indent == nullptr) return;
    runtime_.spend_bytes(style_.indent->size * static_cast<std::size_t>(depth_));
    runtime_.allocate(style_.indent->size * static_cast<std::size_t>(depth_));
    for (int i = 0; i < depth_; ++i)
      out_.append(style_.indent->view(), combine(origin, style_.indent->origin()));
  }

  Runtime& runtime_;
  TextBuilder& out_;
  const JsonStyle& style_;
  int depth_ = 0;
};

std::string range_repr(const Range& range) {
  if (range.step == 1) return fmt::format("range({}, {})", range.start, range.stop);
  return fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  const std::string sign = std::signbit(value) ? "-" : "";
  const double magnitude = std::abs(value);
  if (std::isinf(magnitude)) return sign + "inf";
  if (magnitude == 0) return sign + "0.0";
  const Decimal decimal = shortest(magnitude);
  constexpr int kLargestPlainExponent = 16;
  constexpr int kSmallestPlainExponent = -3;
  if (decimal.exponent <= kLargestPlainExponent && decimal.exponent >= kSmallestPlainExponent) {
    return sign + plain_layout(decimal);
  }
  const int exponent = decimal.exponent - 1;
  std::string mantissa = decimal.digits.substr(0, 1);
  if (decimal.digits.size() > 1) mantissa += "." + decimal.digits.substr(1);
  return fmt::format("{}{}e{}{:02}", sign, mantissa, exponent < 0 ? '-' : '+', std::abs(exponent));
}

void repr(Runtime& runtime, TextBuilder& out, const Value& value) {
  Repr(runtime, out).value(value);
}

void ascii_repr(Runtime& runtime, TextBuilder& out, const Value& value) {
  TextBuilder built;
  repr(runtime, built, value);
  const Value text = runtime.text(std::move(built));
  for (TextCursor cursor(text.text()); !cursor.done();) {
    const Origin origin = cursor.origin();
    const char32_t c = cursor.next();
    if (c <= kLastAscii) {
      out.append(c, origin);
    } else {
      append_hex_escape(out, c, origin);
    }
  }
}

void print(Runtime& runtime, TextBuilder& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return;
    case Kind::kNone:
      return out.append("None", value.origin());
    case Kind::kBool:
      return out.append(value.boolean() ? "True" : "False", value.origin());
    case Kind::kInt:
      return out.append(fmt::format_int(value.integer()).c_str(), value.origin());
    case Kind::kBigInt:
      return out.append(fmt::format_int(value.big()).c_str(), value.origin());
    case Kind::kFloat:
      return out.append(float_repr(value.number()), value.origin());
    case Kind::kText:
      runtime.allocate(value.text().size);
      runtime.spend_bytes(value.text().size);
      return out.append(value.text());
    case Kind::kRange:
      return out.append(range_repr(value.as<Range>()), value.origin());
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kView:
    case Kind::kNamespace:
      return repr(runtime, out, value);
    default:
      runtime.fail("a value of type {} cannot be printed", type_name(value));
  }
}

const Text& to_text(Runtime& runtime, const Value& value) {
  if (value.is_text()) return value.text();
  TextBuilder out;
  print(runtime, out, value);
  return runtime.text(std::move(out)).text();
}

void dump_json(Runtime& runtime, TextBuilder& out, const Value& value, const JsonStyle& style) {
  JsonWriter(runtime, out, style).value(value);
}

}  // namespace hearth::jinja
