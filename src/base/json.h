// JSON values, parsing and writing. The JSON library stays behind this header.
//
// `Value` is a plain tree: it owns everything below it, is copied by value, and may be read from
// several threads. Object members keep the order of the text. Numbers keep their kind: a literal
// without fraction and exponent that fits is an int64 (or a uint64 above its range), all others are
// doubles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace hearth::json {

class Value;
using Array = std::vector<Value>;
struct Member;

class Object {
 public:
  Object() = default;
  Object(std::initializer_list<Member> members);
  Object(const Object&);
  Object(Object&&) noexcept;
  Object& operator=(const Object&);
  Object& operator=(Object&&) noexcept;
  ~Object();

  // nullptr when there is no such member.
  const Value* find(std::string_view key) const;
  // Replaces the value of an existing member, or appends a new one.
  void set(std::string key, Value value);
  // Appends without looking for an earlier member of that name.
  void append(std::string key, Value value);

  std::size_t size() const;
  bool empty() const;
  const Member* begin() const;
  const Member* end() const;
  bool operator==(const Object&) const;

 private:
  std::vector<Member> members_;
};

class Value {
 public:
  Value() = default;  // null
  Value(std::nullptr_t) {}
  Value(bool value) : data_(value) {}
  Value(int value) : data_(std::int64_t{value}) {}
  Value(std::int64_t value) : data_(value) {}
  Value(std::uint64_t value);
  Value(double value) : data_(value) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(Array value) : data_(std::move(value)) {}
  Value(Object value) : data_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(data_); }
  bool is_integer() const;  // int64 or uint64
  bool is_number() const;   // any number
  // nullptr when the value is of another kind.
  const bool* as_bool() const { return std::get_if<bool>(&data_); }
  const std::string* as_string() const { return std::get_if<std::string>(&data_); }
  const Array* as_array() const { return std::get_if<Array>(&data_); }
  const Object* as_object() const { return std::get_if<Object>(&data_); }
  Array* as_array() { return std::get_if<Array>(&data_); }
  Object* as_object() { return std::get_if<Object>(&data_); }
  // False when the value is not a number, or not exactly representable as int64.
  bool to_int64(std::int64_t& out) const;
  bool to_uint64(std::uint64_t& out) const;  // The same for uint64.
  bool to_double(double& out) const;         // any number

  // "null", "boolean", "integer", "number", "string", "array" or "object".
  std::string_view type_name() const;

  bool operator==(const Value&) const = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array,
               Object>
      data_;
  friend struct Writer;
};

struct Member {
  std::string key;
  Value value;
  bool operator==(const Member&) const = default;
};

struct ParseLimits {
  std::size_t max_depth = 64;  // Nesting of arrays and objects; the parser's stack does not grow.
};

// Why a text was refused, so that a server can name the reason by code.
enum class ParseErrorKind { kSyntax, kTooDeep, kDuplicateKey, kInvalidUtf8, kNumberRange };

struct ParseError {
  ParseErrorKind kind = ParseErrorKind::kSyntax;
  std::size_t offset = 0;  // Byte offset of the first offending byte.
  std::string message;     // One sentence with the offset, without library text.
};

// Parses one JSON text: strict RFC 8259, valid UTF-8, no duplicate keys within an object, no lone
// surrogates, no trailing bytes, no byte-order mark; a number out of range of a double is refused.
std::expected<Value, ParseError> parse_detailed(std::string_view text, ParseLimits limits = {});
// The same with the error as kInvalidArgument.
Result<Value> parse(std::string_view text, ParseLimits limits = {});

struct DumpStyle {
  int indent = -1;                        // -1: one line.
  std::string_view item_separator = ",";  // ", " for Python's json.dumps.
  std::string_view key_separator = ":";   // ": " for Python's json.dumps.
  bool ascii_only = false;                // Escape everything above U+007F.
};

// Text of a value. Invalid UTF-8 in strings becomes U+FFFD. Doubles are the shortest text that
// reads back to the same value; NaN and infinities, which JSON cannot hold, become null.
std::string dump(const Value& value, const DumpStyle& style = {});

}  // namespace hearth::json
