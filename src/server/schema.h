// Request bodies as tables: every field once, with type, bounds, default and what becomes of it.
// The same rows validate requests and write openapi.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/api_error.h"

namespace hearth {

enum class FieldType : std::uint8_t {
  kBoolean,
  kInteger,
  kNumber,
  kString,
  kArray,
  kObject,
  kStringOrArray,
  kAny,
};

enum class Support : std::uint8_t {
  kHonoured,
  kIgnored,  // Without effect on the answer: any value is fine.
  kRefused,  // Would change the answer: only the values in `default_value` are accepted.
};

inline constexpr double kUnbounded = std::numeric_limits<double>::infinity();

// One row. All texts are static. `null` counts as absent in every field that is not required.
struct Field {
  std::string_view name;
  FieldType type = FieldType::kAny;
  std::string_view doc;
  // Of a number: its value. Of a string: bytes. Of an array or object: items.
  double min = -kUnbounded;
  double max = kUnbounded;
  // JSON text. Honoured: the value when absent ("" when there is none). Refused: an array of the
  // values that ask for nothing we lack.
  std::string_view default_value = "";
  std::string_view items = "";  // JSON schema of an array's items or an object's members.
  Support support = Support::kHonoured;
  bool required = false;
};

class Schema {
 public:
  // Joins the tables. Duplicate names are a bug.
  Schema(std::string_view name, std::initializer_list<std::span<const Field>> tables);

  std::string_view name() const { return name_; }
  std::span<const Field> fields() const { return fields_; }
  const Field* find(std::string_view name) const;
  // As a schema object of OpenAPI 3.1.
  json::Value to_json() const;

 private:
  std::string_view name_;
  std::vector<Field> fields_;
};

// A checked object: what its schema declares, by name. Asking for an undeclared field or one of
// another type is a bug. Borrows the object and the schema.
class Fields {
 public:
  // Checks types, bounds, required and refused fields; unknown members are ignored. `prefix` stands
  // before field names in errors ("stream_options.").
  static ApiResult<Fields> check(const Schema& schema, const json::Object& object,
                                 std::string prefix = "");

  bool has(std::string_view name) const { return value(name) != nullptr; }
  // nullptr when absent or null.
  const json::Value* value(std::string_view name) const;
  // The value or the row's default.
  bool boolean(std::string_view name) const;
  double number(std::string_view name) const;
  // An integer above the range of int64 in an unbounded field counts as the largest one.
  std::int64_t integer(std::string_view name) const;
  std::string text(std::string_view name) const;

  // "prefix" + name, for errors of rules that join several fields.
  std::string path(std::string_view name) const { return prefix_ + std::string(name); }

 private:
  Fields(const Schema& schema, const json::Object& object, std::string prefix)
      : schema_(&schema), object_(&object), prefix_(std::move(prefix)) {}
  json::Value value_or_default(std::string_view name) const;
  std::optional<ApiError> check_field(const Field& field, const json::Value& value) const;

  const Schema* schema_;
  const json::Object* object_;
  std::string prefix_;
};

// A body that must be one JSON object, or the 400 that says why it is not.
ApiResult<json::Value> parse_json_object(std::string_view body);

// The integer a JSON value holds, for lists; an ApiError names `path`.
ApiResult<std::int64_t> integer_item(const json::Value& value, const std::string& path,
                                     std::int64_t min, std::int64_t max);

}  // namespace hearth
