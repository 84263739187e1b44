#include "jinja/format_spec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/utf8.h"
#include "jinja/printing.h"

namespace hearth::jinja {
namespace {

using std::string_view;

constexpr std::int64_t kMaxPrecision = 1000;

bool is_align(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

class SpecParser {
 public:
  SpecParser(Runtime& runtime, string_view text) : runtime_(runtime), rest_(text) {}

  FormatSpec run() {
    FormatSpec spec;
    alignment(spec);
    if (at('+') || at('-') || at(' ')) spec.sign = take();
    if (at('z')) take();
    spec.alternate = skip('#');
    if (at('0') && spec.align == '\0') {
      spec.zero_padded = true;
      take();
    }
    spec.width = std::max<std::int64_t>(number(), 0);
    if (at(',') || at('_')) spec.grouping = take();
    if (skip('.')) {
      spec.precision = number();
      if (spec.precision < 0) runtime_.fail("format: the precision is missing");
    }
    if (!rest_.empty()) spec.type = take();
    if (!rest_.empty()) runtime_.fail("format: the specification is invalid");
    return spec;
  }

 private:
  bool at(char c) const { return rest_.starts_with(c); }
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  bool skip(char c) {
    if (!at(c)) return false;
    take();
    return true;
  }

  void alignment(FormatSpec& spec) {
    const std::size_t length = utf8::decode(rest_).length;
    if (length > 0 && rest_.size() > length && is_align(rest_[length])) {
      spec.fill = std::string(rest_.substr(0, length));
      rest_.remove_prefix(length);
      spec.align = take();
    } else if (!rest_.empty() && is_align(rest_.front())) {
      spec.align = take();
    }
  }

  std::int64_t number() {
    std::int64_t value = -1;
    while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') {
      value = std::max<std::int64_t>(value, 0) * 10 + (take() - '0');
      if (value > std::numeric_limits<std::int32_t>::max())
        runtime_.over_limit("format: a number is too large");
    }
    return value;
  }

  Runtime& runtime_;
  string_view rest_;
};

// A number's text in its parts, for signs, grouping and zero padding.
struct NumberText {
  bool negative = false;
  std::string prefix;  // "0x"
  std::string whole;   // Grouped as asked.
  std::string rest;    // Fraction, exponent, '%'.
};

void group(std::string& digits, char separator, std::size_t size, std::size_t min_width) {
  if (digits.size() < min_width) digits.insert(0, min_width - digits.size(), '0');
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % size == 0) out += separator;
    out += digits[i];
  }
  digits = out;
}

NumberText integer_text(Runtime& runtime, const FormatSpec& spec, const Value& value) {
  NumberText out;
  std::uint64_t magnitude = 0;
  if (value.is(Kind::kBigInt)) {
    magnitude = value.big();
  } else {
    out.negative = value.integer() < 0;
    magnitude = static_cast<std::uint64_t>(value.integer());
    if (out.negative) magnitude = 0 - magnitude;
  }
  switch (spec.type) {
    case 'x':
      out.whole = fmt::format("{:x}", magnitude);
      break;
    case 'X':
      out.whole = fmt::format("{:X}", magnitude);
      break;
    case 'o':
      out.whole = fmt::format("{:o}", magnitude);
      break;
    case 'b':
      out.whole = fmt::format("{:b}", magnitude);
      break;
    case 'd':
    case 'n':
    case '\0':
      out.whole = fmt::format("{}", magnitude);
      break;
    default:
      runtime.fail("format: an integer has no format '{}'", spec.type);
  }
  if (spec.alternate && spec.type != 'd' && spec.type != '\0')
    out.prefix = std::string("0") + spec.type;
  if (spec.min_digits > kMaxPrecision)
    runtime.over_limit("format: a precision above {}", kMaxPrecision);
  const auto min_digits = static_cast<std::size_t>(std::max<std::int64_t>(spec.min_digits, 0));
  if (out.whole.size() < min_digits) out.whole.insert(0, min_digits - out.whole.size(), '0');
  return out;
}

std::string float_digits(Runtime& runtime, const FormatSpec& spec, double value) {
  constexpr int kDefaultPrecision = 6;
  const auto precision = static_cast<int>(spec.precision < 0 ? kDefaultPrecision : spec.precision);
  switch (spec.type) {
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'E':
      return fmt::format("{:.{}E}", value, precision);
    case 'f':
      return fmt::format("{:.{}f}", value, precision);
    case 'F':
      return fmt::format("{:.{}F}", value, precision);
    case 'g':
    case 'n':
      return spec.alternate ? fmt::format("{:#.{}g}", value, precision)
                            : fmt::format("{:.{}g}", value, precision);
    case 'G':
      return fmt::format("{:.{}G}", value, precision);
    case '%':
      return fmt::format("{:.{}f}", value * 100, precision);
    case '\0':
      break;
    default:
      runtime.fail("format: a number has no format '{}'", spec.type);
  }
  if (spec.precision < 0) return float_repr(value);
  std::string digits = fmt::format("{:.{}g}", value, precision);
  const bool looks_whole = digits.find_first_not_of("0123456789") == std::string::npos;
  return looks_whole ? digits + ".0" : digits;
}

NumberText float_text(Runtime& runtime, const FormatSpec& spec, double value) {
  if (spec.precision > kMaxPrecision)
    runtime.over_limit("format: a precision above {}", kMaxPrecision);
  NumberText out;
  out.negative = std::signbit(value) && !std::isnan(value);
  const std::string digits = float_digits(runtime, spec, std::abs(value));
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  out.whole = digits.substr(0, whole);
  out.rest = digits.substr(whole);
  if (spec.type == '%') out.rest += '%';
  return out;
}

std::size_t count_code_points(string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::size_t missing_width(Runtime& runtime, const FormatSpec& spec, std::size_t length) {
  const auto width = static_cast<std::size_t>(spec.width);
  const std::size_t missing = width > length ? width - length : 0;
  runtime.allocate_repeated(spec.fill.size(), missing);
  return missing;
}

std::size_t left_padding(char align, std::size_t missing) {
  if (align == '<') return 0;
  return align == '^' ? missing / 2 : missing;
}

}  // namespace

void format_number(Runtime& runtime, TextBuilder& out, const FormatSpec& spec, const Value& value) {
  static constexpr string_view kFloatTypes = "eEfFgGn%";
  const bool as_float =
      value.is(Kind::kFloat) ||
      (spec.type != '\0' && spec.type != 'n' && kFloatTypes.find(spec.type) != string_view::npos);
  const double number = value.is(Kind::kFloat)    ? value.number()
                        : value.is(Kind::kBigInt) ? static_cast<double>(value.big())
                                                  : static_cast<double>(value.integer());
  NumberText text =
      as_float ? float_text(runtime, spec, number) : integer_text(runtime, spec, value);
  std::string head;
  if (text.negative) {
    head = "-";
  } else if (spec.sign != '-') {
    head = spec.sign;
  }
  head += text.prefix;
  const bool zero_padded = spec.zero_padded && (spec.align == '\0' || spec.align == '>');
  if (spec.grouping != '\0') {
    const bool decimal = spec.type == 'd' || spec.type == '\0' || as_float;
    group(text.whole, spec.grouping, decimal ? 3 : 4, 0);
  }
  const std::string body = text.whole + text.rest;
  const std::size_t missing = missing_width(runtime, spec, head.size() + body.size());
  if (zero_padded || spec.align == '=') {
    out.append(head, value.origin());
    out.append_repeated(zero_padded ? string_view("0") : string_view(spec.fill), missing,
                        value.origin());
    return out.append(body, value.origin());
  }
  const std::size_t left = left_padding(spec.align == '\0' ? '>' : spec.align, missing);
  out.append_repeated(spec.fill, left, Origin::kTemplate);
  out.append(head + body, value.origin());
  out.append_repeated(spec.fill, missing - left, Origin::kTemplate);
}

void format_text(Runtime& runtime, TextBuilder& out, const FormatSpec& spec, const Text& text) {
  std::size_t end = text.size;
  if (spec.precision >= 0) end = text.byte_offset(static_cast<std::size_t>(spec.precision));
  const std::size_t missing =
      missing_width(runtime, spec, count_code_points(text.view().substr(0, end)));
  const std::size_t left = left_padding(spec.align == '\0' ? '<' : spec.align, missing);
  const string_view fill = spec.zero_padded ? string_view("0") : string_view(spec.fill);
  out.append_repeated(fill, left, Origin::kTemplate);
  runtime.allocate(end);
  runtime.spend_bytes(end);
  out.append(text, 0, end);
  out.append_repeated(fill, missing - left, Origin::kTemplate);
}

void format_value(Runtime& runtime, TextBuilder& out, const Text& spec_text, const Value& value) {
  if (spec_text.size == 0) return print(runtime, out, value);
  const FormatSpec spec = SpecParser(runtime, spec_text.view()).run();
  if (value.is_number() && !(value.is(Kind::kBool) && spec.type == '\0')) {
    if (spec.precision >= 0 && !value.is(Kind::kFloat) && (spec.type == '\0' || spec.type == 'd')) {
      runtime.fail("format: an integer has no precision");
    }
    return format_number(runtime, out, spec, value);
  }
  if (value.is(Kind::kBool)) return format_number(runtime, out, spec, Value(value.integer()));
  if (value.is_undefined()) return print(runtime, out, value);
  if (!value.is_text()) runtime.fail("format: {} has no format specification", type_name(value));
  if ((spec.type != '\0' && spec.type != 's') || spec.align == '=' || spec.sign != '-' ||
      spec.grouping != '\0') {
    runtime.fail("format: the specification '{}' is not for strings", spec_text.view());
  }
  format_text(runtime, out, spec, value.text());
}

}  // namespace hearth::jinja
