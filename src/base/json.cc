#include "base/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/utf8.h"

namespace hearth::json {

Object::Object(std::initializer_list<Member> members) : members_(members) {}
Object::Object(const Object&) = default;
Object::Object(Object&&) noexcept = default;
Object& Object::operator=(const Object&) = default;
Object& Object::operator=(Object&&) noexcept = default;
Object::~Object() = default;

const Value* Object::find(std::string_view key) const {
  const auto found = std::ranges::find(members_, key, &Member::key);
  return found == members_.end() ? nullptr : &found->value;
}

void Object::set(std::string key, Value value) {
  const auto found = std::ranges::find(members_, key, &Member::key);
  if (found == members_.end()) {
    append(std::move(key), std::move(value));
  } else {
    found->value = std::move(value);
  }
}

void Object::append(std::string key, Value value) {
  members_.push_back({std::move(key), std::move(value)});
}

std::size_t Object::size() const {
  return members_.size();
}
bool Object::empty() const {
  return members_.empty();
}
const Member* Object::begin() const {
  return members_.data();
}
const Member* Object::end() const {
  return members_.data() + members_.size();
}
bool Object::operator==(const Object&) const = default;

Value::Value(std::uint64_t value) {
  if (std::in_range<std::int64_t>(value)) {
    data_ = static_cast<std::int64_t>(value);
  } else {
    data_ = value;
  }
}

bool Value::is_integer() const {
  return std::holds_alternative<std::int64_t>(data_) ||
         std::holds_alternative<std::uint64_t>(data_);
}

bool Value::is_number() const {
  return is_integer() || std::holds_alternative<double>(data_);
}

bool Value::to_int64(std::int64_t& out) const {
  if (const auto* integer = std::get_if<std::int64_t>(&data_)) {
    out = *integer;
    return true;
  }
  const auto* number = std::get_if<double>(&data_);
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (number == nullptr || !(*number >= -kTwoTo63 && *number < kTwoTo63)) return false;
  if (std::trunc(*number) != *number) return false;
  out = static_cast<std::int64_t>(*number);
  return true;
}

bool Value::to_uint64(std::uint64_t& out) const {
  std::int64_t integer = 0;
  if (to_int64(integer) && integer >= 0) {
    out = static_cast<std::uint64_t>(integer);
    return true;
  }
  const auto* big = std::get_if<std::uint64_t>(&data_);
  if (big != nullptr) out = *big;
  return big != nullptr;
}

bool Value::to_double(double& out) const {
  if (const auto* integer = std::get_if<std::int64_t>(&data_)) {
    out = static_cast<double>(*integer);
  } else if (const auto* large = std::get_if<std::uint64_t>(&data_)) {
    out = static_cast<double>(*large);
  } else if (const auto* number = std::get_if<double>(&data_)) {
    out = *number;
  } else {
    return false;
  }
  return true;
}

std::string_view Value::type_name() const {
  // In the order of the variant.
  constexpr std::array<std::string_view, 8> kNames = {"null",   "boolean", "integer", "integer",
                                                      "number", "string",  "array",   "object"};
  static_assert(kNames.size() == std::variant_size_v<decltype(data_)>);
  return kNames[data_.index()];
}

namespace {

constexpr bool is_word_byte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
         c == '-' || c == '.';
}

// First byte of the token whose last byte is text[last].
std::size_t token_start(std::string_view text, std::size_t last) {
  if (last >= text.size()) return text.size();
  std::size_t start = last;
  if (text[last] == '"') {
    while (start > 0) {
      --start;
      if (text[start] != '"') continue;
      std::size_t backslashes = 0;
      while (backslashes < start && text[start - 1 - backslashes] == '\\')
        ++backslashes;
      if (backslashes % 2 == 0) break;
    }
  } else {
    while (start > 0 && is_word_byte(text[start]) && is_word_byte(text[start - 1]))
      --start;
  }
  return start;
}

// Reads the text for the library and tells the handler how far it has got.
class TrackingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackingIterator(const char* at, std::size_t* consumed) : at_(at), consumed_(consumed) {}
  reference operator*() const { return *at_; }
  TrackingIterator& operator++() {
    ++at_;
    ++*consumed_;
    return *this;
  }
  TrackingIterator operator++(int) {
    TrackingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  std::size_t* consumed_;
};

// Builds a Value from the library's events. The library keeps its own stack of open containers on
// the heap, so a deep text costs memory, not stack, until the limit here stops it.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, ParseLimits limits, const std::size_t* consumed)
      : text_(text), limits_(limits), consumed_(consumed) {}

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(Value(value)); }
  bool number_integer(number_integer_t value) override { return add(Value(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(Value(value)); }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return add(Value(value));
  }
  bool string(string_t& value) override { return add(Value(std::move(value))); }
  bool binary(binary_t& /*value*/) override { return false; }  // Not part of JSON text.

  bool start_object(std::size_t /*size*/) override { return open(Value(Object())); }
  bool key(string_t& key) override;
  bool end_object() override { return close(); }
  bool start_array(std::size_t /*size*/) override { return open(Value(Array())); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& exception) override;

  Value take_root() { return std::move(root_); }
  ParseError take_error() { return std::move(error_); }

 private:
  struct Frame {
    Value container;
    std::string key;  // Of the member being read, when the container is an object.
    // Filled once the object is too large to search; ordered, because hashes can be made to
    // collide.
    std::set<std::string> seen_keys;
  };

  bool add(Value value);
  bool open(Value container);
  bool close();
  bool is_duplicate(Frame& frame, const std::string& key) const;
  bool fail(ParseErrorKind kind, std::size_t offset, std::string_view reason);

  std::string_view text_;
  ParseLimits limits_;
  const std::size_t* consumed_;
  std::vector<Frame> frames_;
  Value root_;
  ParseError error_;
};

bool TreeBuilder::add(Value value) {
  if (frames_.empty()) {
    root_ = std::move(value);
  } else if (Array* array = frames_.back().container.as_array()) {
    array->push_back(std::move(value));
  } else {
    Frame& frame = frames_.back();
    frame.container.as_object()->append(std::move(frame.key), std::move(value));
  }
  return true;
}

bool TreeBuilder::open(Value container) {
  if (frames_.size() >= limits_.max_depth) {
    return fail(ParseErrorKind::kTooDeep, *consumed_ - 1,
                fmt::format("nested deeper than the limit of {}", limits_.max_depth));
  }
  frames_.push_back({.container = std::move(container), .key = {}, .seen_keys = {}});
  return true;
}

bool TreeBuilder::close() {
  Value finished = std::move(frames_.back().container);
  frames_.pop_back();
  return add(std::move(finished));
}

bool TreeBuilder::is_duplicate(Frame& frame, const std::string& key) const {
  constexpr std::size_t kMaxSearched = 16;
  const Object& object = *frame.container.as_object();
  if (object.size() < kMaxSearched) return object.find(key) != nullptr;
  if (frame.seen_keys.empty()) {
    for (const Member& member : object)
      frame.seen_keys.insert(member.key);
  }
  return !frame.seen_keys.insert(key).second;
}

bool TreeBuilder::key(string_t& key) {
  Frame& frame = frames_.back();
  if (is_duplicate(frame, key)) {
    return fail(ParseErrorKind::kDuplicateKey, token_start(text_, *consumed_ - 1),
                "an object repeats one of its keys");
  }
  frame.key = std::move(key);
  return true;
}

bool TreeBuilder::parse_error(std::size_t position, const std::string& /*last_token*/,
                              const nlohmann::detail::exception& exception) {
  const std::size_t last = std::min(position == 0 ? 0 : position - 1, text_.size());
  constexpr int kNumberOverflow = 406;
  if (exception.id == kNumberOverflow) {
    return fail(ParseErrorKind::kNumberRange, token_start(text_, last),
                "a number is out of the range of a double");
  }
  if (last == text_.size()) {
    return fail(ParseErrorKind::kSyntax, last, "the text ends too early");
  }
  // "... while parsing X - unexpected Y": a whole token in the wrong place. Otherwise the last byte
  // read made the token itself malformed.
  const std::string_view what = exception.what();
  const std::size_t dash = what.find(" - ");
  const bool misplaced =
      dash != std::string_view::npos && what.substr(dash + 3).starts_with("unexpected ");
  return fail(ParseErrorKind::kSyntax, misplaced ? token_start(text_, last) : last,
              misplaced ? "a value or punctuation is out of place" : "malformed value");
}

bool TreeBuilder::fail(ParseErrorKind kind, std::size_t offset, std::string_view reason) {
  error_ = {.kind = kind,
            .offset = offset,
            .message = fmt::format("invalid JSON at byte {}: {}", offset, reason)};
  return false;
}

std::unexpected<ParseError> refuse(ParseErrorKind kind, std::size_t offset,
                                   std::string_view reason) {
  return std::unexpected(
      ParseError{.kind = kind,
                 .offset = offset,
                 .message = fmt::format("invalid JSON at byte {}: {}", offset, reason)});
}

}  // namespace

std::expected<Value, ParseError> parse_detailed(std::string_view text, ParseLimits limits) {
  if (text.starts_with("\xEF\xBB\xBF")) {
    return refuse(ParseErrorKind::kSyntax, 0, "the text begins with a byte-order mark");
  }
  if (const std::size_t at = utf8::first_invalid(text); at != std::string_view::npos) {
    return refuse(ParseErrorKind::kInvalidUtf8, at, "the text is not valid UTF-8");
  }
  // The library takes a NUL byte for the end of the text.
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    return refuse(ParseErrorKind::kSyntax, at, "a NUL byte");
  }
  std::size_t consumed = 0;
  TreeBuilder builder(text, limits, &consumed);
  const TrackingIterator begin(text.data(), &consumed);
  const TrackingIterator end(text.data() + text.size(), &consumed);
  if (!nlohmann::json::sax_parse(begin, end, &builder)) {
    return std::unexpected(builder.take_error());
  }
  return builder.take_root();
}

Result<Value> parse(std::string_view text, ParseLimits limits) {
  auto value = parse_detailed(text, limits);
  if (!value.has_value()) {
    return hearth::error(StatusCode::kInvalidArgument, "{}", value.error().message);
  }
  return *std::move(value);
}

// A friend of Value, hence not in the anonymous namespace.
struct Writer {
  const DumpStyle& style;
  std::string out;

  void write(const Value& value, int depth);

 private:
  void write_number(double value);
  void write_string(std::string_view text);
  void write_escaped(char32_t code_point);
  void new_line(int depth);
  template <typename Container, typename WriteItem>
  void write_items(const Container& items, int depth, WriteItem write_item);
};

void Writer::write(const Value& value, int depth) {
  if (const auto* boolean = std::get_if<bool>(&value.data_)) {
    out += *boolean ? "true" : "false";
  } else if (const auto* integer = std::get_if<std::int64_t>(&value.data_)) {
    fmt::format_to(std::back_inserter(out), "{}", *integer);
  } else if (const auto* large = std::get_if<std::uint64_t>(&value.data_)) {
    fmt::format_to(std::back_inserter(out), "{}", *large);
  } else if (const auto* number = std::get_if<double>(&value.data_)) {
    write_number(*number);
  } else if (const auto* text = value.as_string()) {
    write_string(*text);
  } else if (const auto* array = value.as_array()) {
    out.push_back('[');
    write_items(*array, depth, [&](const Value& item) { write(item, depth + 1); });
    out.push_back(']');
  } else if (const auto* object = value.as_object()) {
    out.push_back('{');
    write_items(*object, depth, [&](const Member& member) {
      write_string(member.key);
      out += style.key_separator;
      write(member.value, depth + 1);
    });
    out.push_back('}');
  } else {
    out += "null";
  }
}

template <typename Container, typename WriteItem>
void Writer::write_items(const Container& items, int depth, WriteItem write_item) {
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += style.item_separator;
    first = false;
    new_line(depth + 1);
    write_item(item);
  }
  if (!first) new_line(depth);
}

void Writer::new_line(int depth) {
  if (style.indent < 0) return;
  out.push_back('\n');
  out.append(static_cast<std::size_t>(style.indent) * static_cast<std::size_t>(depth), ' ');
}

// The same choice between plain and scientific notation as Python's repr, so that texts rendered
// for models trained with Python tooling agree byte for byte.
void Writer::write_number(double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 32> buffer;
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                        std::chars_format::scientific);
  std::string_view text(buffer.data(), scientific.ptr);
  const std::size_t exponent_at = text.find('e') + 1;
  const bool negative_exponent = text[exponent_at] == '-';
  int exponent = 0;
  std::from_chars(text.data() + exponent_at + 1, scientific.ptr, exponent);
  if (negative_exponent ? exponent <= 4 : exponent < 16) {
    const auto fixed = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                     std::chars_format::fixed);
    text = std::string_view(buffer.data(), fixed.ptr);
  }
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void Writer::write_string(std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const utf8::Decoded decoded = utf8::decode(text);
    const char32_t c = decoded.code_point;
    if (c < 0x20 || c == '"' || c == '\\' || (style.ascii_only && c >= 0x7F)) {
      write_escaped(c);
    } else if (decoded.valid) {
      out += text.substr(0, decoded.length);
    } else {
      utf8::append(out, utf8::kReplacement);
    }
    text.remove_prefix(decoded.length);
  }
  out.push_back('"');
}

void Writer::write_escaped(char32_t code_point) {
  const auto c = static_cast<std::uint32_t>(code_point);
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (c < 0x10000) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
  } else {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}\\u{:04x}", 0xD800 + ((c - 0x10000) >> 10),
                   0xDC00 + ((c - 0x10000) & 0x3FF));
  }
}

std::string dump(const Value& value, const DumpStyle& style) {
  Writer writer{.style = style, .out = {}};
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace hearth::json
