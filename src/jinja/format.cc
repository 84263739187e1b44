#include "jinja/format.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "jinja/format_spec.h"
#include "jinja/operators.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"

namespace hearth::jinja {
namespace {

using std::string_view;

// Reads a format string byte by byte.
class Reader {
 public:
  explicit Reader(string_view text) : text_(text) {}
  bool done() const { return position_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[position_]; }
  char take() { return done() ? '\0' : text_[position_++]; }
  bool skip(char c) {
    if (peek() != c || done()) return false;
    ++position_;
    return true;
  }
  std::size_t position() const { return position_; }
  void move_to(std::size_t position) { position_ = position; }

 private:
  string_view text_;
  std::size_t position_ = 0;
};

// --- "%s" % value ---

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Text& format, const Value& arguments)
      : runtime_(runtime), format_(format), reader_(format.view()), arguments_(arguments) {}

  Value run() {
    runtime_.spend_bytes(format_.size);
    while (!reader_.done()) {
      const std::size_t percent =
          std::min(format_.view().find('%', reader_.position()), format_.size);
      out_.append(format_, reader_.position(), percent);
      reader_.move_to(percent);
      if (reader_.skip('%')) conversion();
    }
    const bool all_used = used_named_ || indexable() || next_ == argument_count();
    if (!all_used) runtime_.fail("format: not all values are used");
    return runtime_.text(std::move(out_), format_.safe);
  }

 private:
  // Python does not miss the use of a value that could be indexed by name.
  bool indexable() const {
    return arguments_.is(Kind::kDict) || arguments_.is(Kind::kList) ||
           arguments_.is(Kind::kRange) || arguments_.is_undefined();
  }

  std::size_t argument_count() const {
    return arguments_.is(Kind::kTuple) ? arguments_.as<List>().items.size() : 1;
  }

  Value next_value() {
    if (next_ >= argument_count()) runtime_.fail("format: not enough values");
    const std::size_t idx = next_++;
    return arguments_.is(Kind::kTuple) ? arguments_.as<List>().items[idx] : arguments_;
  }

  Value named_value() {
    const std::size_t begin = reader_.position();
    int depth = 1;
    while (depth > 0) {
      if (reader_.done()) runtime_.fail("format: '%(' without ')'");
      const char c = reader_.take();
      depth += c == '(' ? 1 : (c == ')' ? -1 : 0);
    }
    const string_view name = format_.view().substr(begin, reader_.position() - 1 - begin);
    if (!arguments_.is(Kind::kDict)) runtime_.fail("format: '%({})' needs a dict", name);
    const Value* found = arguments_.as<Dict>().find(name);
    if (found == nullptr) runtime_.fail("format: there is no value '{}'", name);
    used_named_ = true;
    return *found;
  }

  std::int64_t number_or_star() {
    if (reader_.skip('*')) return runtime_.integer(next_value(), "a width");
    std::int64_t value = 0;
    while (reader_.peek() >= '0' && reader_.peek() <= '9') {
      value = std::min<std::int64_t>(value * 10 + (reader_.take() - '0'),
                                     std::numeric_limits<std::int32_t>::max());
    }
    return value;
  }

  void flags(FormatSpec& spec) {
    spec.align = '>';
    while (true) {
      if (reader_.skip('-')) {
        spec.align = '<';
      } else if (reader_.skip('0')) {
        spec.zero_padded = true;
      } else if (reader_.skip('+')) {
        spec.sign = '+';
      } else if (reader_.skip(' ')) {
        if (spec.sign == '-') spec.sign = ' ';
      } else if (reader_.skip('#')) {
        spec.alternate = true;
      } else {
        return;
      }
    }
  }

  void conversion() {
    Value named;
    const bool by_name = reader_.skip('(');
    if (by_name) named = named_value();
    FormatSpec spec;
    flags(spec);
    const std::int64_t width = number_or_star();
    if (width < 0) spec.align = '<';
    spec.width = width < 0 ? -width : width;
    if (reader_.skip('.')) spec.precision = std::max<std::int64_t>(number_or_star(), 0);
    while (reader_.skip('l') || reader_.skip('h') || reader_.skip('L')) {
    }
    spec.type = reader_.take();
    if (spec.type == '%') return out_.append("%", Origin::kTemplate);
    if (spec.type == '\0') runtime_.fail("format: the format ends within a conversion");
    write(spec, by_name ? named : next_value());
  }

  void write(FormatSpec spec, const Value& value) {
    static constexpr string_view kIntegers = "diuoxX";
    static constexpr string_view kFloats = "eEfFgG";
    if (spec.align == '<') spec.zero_padded = false;
    if (kIntegers.find(spec.type) != string_view::npos) return write_integer(spec, value);
    if (kFloats.find(spec.type) != string_view::npos) {
      if (value.is_undefined()) runtime_.fail_undefined(value);
      if (!value.is_number())
        runtime_.fail("format: %{} needs a number, not {}", spec.type, type_name(value));
      return format_number(runtime_, out_, spec, value);
    }
    spec.zero_padded = false;
    write_text(spec, value);
  }

  void write_integer(FormatSpec spec, const Value& value) {
    if (value.is_undefined()) runtime_.fail_undefined(value);
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    Value integer = value;
    if (value.is(Kind::kFloat) && decimal && std::abs(value.number()) < 0x1p63) {
      integer = Value(static_cast<std::int64_t>(value.number())).with_origin(value.origin());
    }
    if (!integer.is_integer() && !integer.is(Kind::kBigInt)) {
      runtime_.fail("format: %{} needs an integer, not {}", spec.type, type_name(value));
    }
    if (decimal) spec.type = 'd';
    spec.min_digits = std::exchange(spec.precision, -1);
    format_number(runtime_, out_, spec, integer);
  }

  void write_text(FormatSpec& spec, const Value& value) {
    TextBuilder built;
    if (spec.type == 's') {
      print(runtime_, built, format_.safe ? Value(&escape(runtime_, value)) : value);
    } else if (spec.type == 'r') {
      repr(runtime_, built, value);
    } else if (spec.type == 'a') {
      ascii_repr(runtime_, built, value);
    } else if (spec.type == 'c') {
      spec.precision = -1;
      character(built, value);
    } else {
      runtime_.fail("format: unknown conversion '%{}'", spec.type);
    }
    format_text(runtime_, out_, spec, runtime_.text(std::move(built)).text());
  }

  void character(TextBuilder& built, const Value& value) {
    if (value.is_text() && value.text().length() == 1) return built.append(value.text());
    const std::int64_t code = runtime_.integer(value, "what %c writes");
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      runtime_.fail("format: %c needs a character, not {}", code);
    }
    built.append(static_cast<char32_t>(code), value.origin());
  }

  Runtime& runtime_;
  const Text& format_;
  Reader reader_;
  const Value& arguments_;
  TextBuilder out_;
  std::size_t next_ = 0;
  bool used_named_ = false;
};

// --- "{}".format(value) ---

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Text& format, const Arguments& arguments)
      : runtime_(runtime), format_(format), arguments_(arguments) {}

  Value run() {
    runtime_.spend_bytes(format_.size);
    TextBuilder out;
    expand(out, format_, 2);
    return runtime_.text(std::move(out), format_.safe);
  }

 private:
  // Writes `text` with its fields replaced. Fields within a field's spec are one level deeper.
  void expand(TextBuilder& out, const Text& text, int levels) {
    const string_view view = text.view();
    for (std::size_t i = 0; i < view.size();) {
      const std::size_t brace = std::min(view.find_first_of("{}", i), view.size());
      out.append(text, i, brace);
      if (brace == view.size()) return;
      if (brace + 1 < view.size() && view[brace + 1] == view[brace]) {
        out.append(text, brace, brace + 1);
        i = brace + 2;
        continue;
      }
      if (view[brace] == '}') runtime_.fail("format: a single '}}' in the format");
      const std::size_t end = field_end(view, brace);
      if (levels == 0) runtime_.fail("format: fields nested too deep");
      field(out, runtime_.substring(text, brace + 1, end).text(), levels);
      i = end + 1;
    }
  }

  std::size_t field_end(string_view view, std::size_t begin) const {
    int depth = 0;
    for (std::size_t i = begin; i < view.size(); ++i) {
      if (view[i] == '{') ++depth;
      if (view[i] == '}' && --depth == 0) return i;
    }
    runtime_.fail("format: a '{{' without '}}'");
  }

  void field(TextBuilder& out, const Text& field, int levels) {
    const string_view view = field.view();
    const std::size_t name_end = std::min(view.find_first_of("!:"), view.size());
    Value value = resolve(field, name_end);
    std::size_t position = name_end;
    if (position < view.size() && view[position] == '!') {
      const char conversion = position + 1 < view.size() ? view[position + 1] : '\0';
      value = converted(value, conversion);
      position += 2;
      if (position < view.size() && view[position] != ':')
        runtime_.fail("format: expected ':' behind the conversion");
    }
    TextBuilder spec;
    if (position < view.size()) {
      expand(spec, runtime_.substring(field, position + 1, field.size).text(), levels - 1);
    }
    format_value(runtime_, out, runtime_.text(std::move(spec)).text(),
                 format_.safe ? Value(&escape(runtime_, value)) : value);
  }

  Value converted(const Value& value, char conversion) {
    TextBuilder built;
    if (conversion == 's') {
      print(runtime_, built, value);
    } else if (conversion == 'r') {
      repr(runtime_, built, value);
    } else if (conversion == 'a') {
      ascii_repr(runtime_, built, value);
    } else {
      runtime_.fail("format: unknown conversion '!{}'", conversion);
    }
    return runtime_.text(std::move(built));
  }

  // name, 0, name.attribute[item]...
  Value resolve(const Text& field, std::size_t end) {
    const string_view view = field.view().substr(0, end);
    std::size_t position = std::min(view.find_first_of(".["), view.size());
    Value value = argument(view.substr(0, position));
    while (position < view.size()) {
      const bool attribute = view[position] == '.';
      const std::size_t begin = position + 1;
      std::size_t stop = attribute ? view.find_first_of(".[", begin) : view.find(']', begin);
      if (stop == string_view::npos) {
        if (!attribute) runtime_.fail("format: a '[' without ']'");
        stop = view.size();
      }
      if (stop == begin) runtime_.fail("format: an empty attribute");
      const Text& key = runtime_.substring(field, begin, stop).text();
      std::int64_t idx = 0;
      if (attribute) {
        value = get_attribute(runtime_, value, key);
      } else {
        value = get_item(runtime_, value, is_index(key.view(), idx) ? Value(idx) : Value(&key));
      }
      position = attribute ? stop : stop + 1;
    }
    return value;
  }

  static bool is_index(string_view text, std::int64_t& out) {
    constexpr std::size_t kMostDigits = 9;
    if (text.empty() || text.size() > kMostDigits) return false;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      out = out * 10 + (c - '0');
    }
    return true;
  }

  Value argument(string_view name) {
    std::int64_t idx = 0;
    if (name.empty() || is_index(name, idx)) {
      if (name.empty() ? manual_ : next_ > 0)
        runtime_.fail("format: numbered and unnumbered fields are mixed");
      manual_ = manual_ || !name.empty();
      const std::size_t at = name.empty() ? next_++ : static_cast<std::size_t>(idx);
      if (at >= arguments_.positional.size())
        runtime_.fail("format: there is no value number {}", at);
      return arguments_.positional[at];
    }
    const auto found =
        std::ranges::find(arguments_.named, name, [](const auto& entry) { return entry.first; });
    if (found == arguments_.named.end()) runtime_.fail("format: there is no value '{}'", name);
    return found->second;
  }

  Runtime& runtime_;
  const Text& format_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
  bool manual_ = false;
};

}  // namespace

Value format_percent(Runtime& runtime, const Text& format, const Value& arguments) {
  return PercentFormatter(runtime, format, arguments).run();
}

Value format_braces(Runtime& runtime, const Text& format, const Arguments& arguments) {
  return BraceFormatter(runtime, format, arguments).run();
}

}  // namespace hearth::jinja
