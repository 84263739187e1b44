#include "server/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace hearth {
namespace {

std::string_view json_type(FieldType type) {
  switch (type) {
    case FieldType::kBoolean:
      return "boolean";
    case FieldType::kInteger:
      return "integer";
    case FieldType::kNumber:
      return "number";
    case FieldType::kString:
      return "string";
    case FieldType::kArray:
      return "array";
    case FieldType::kObject:
      return "object";
    case FieldType::kStringOrArray:
      return "string or array";
    case FieldType::kAny:
      break;
  }
  return "value";
}

bool has_type(const json::Value& value, FieldType type) {
  std::int64_t integer = 0;
  switch (type) {
    case FieldType::kBoolean:
      return value.as_bool() != nullptr;
    case FieldType::kInteger:
      return value.is_integer() || value.to_int64(integer);
    case FieldType::kNumber:
      return value.is_number();
    case FieldType::kString:
      return value.as_string() != nullptr;
    case FieldType::kArray:
      return value.as_array() != nullptr;
    case FieldType::kObject:
      return value.as_object() != nullptr;
    case FieldType::kStringOrArray:
      return value.as_string() != nullptr || value.as_array() != nullptr;
    case FieldType::kAny:
      break;
  }
  return true;
}

// What `min` and `max` of a row are about, and its unit for messages.
std::pair<double, std::string_view> measure(const json::Value& value) {
  double number = 0;
  if (value.to_double(number)) return {number, ""};
  if (const auto* text = value.as_string()) return {static_cast<double>(text->size()), " bytes"};
  if (const auto* array = value.as_array()) return {static_cast<double>(array->size()), " items"};
  if (const auto* object = value.as_object())
    return {static_cast<double>(object->size()), " members"};
  return {0, ""};
}

std::string range_text(const Field& field, std::string_view unit) {
  const bool has_min = field.min > -kUnbounded;
  const bool has_max = field.max < kUnbounded;
  if (has_min && has_max) {
    return fmt::format("between {} and {}{}", field.min, field.max, unit);
  }
  std::string text;
  if (has_min) {
    text = fmt::format("at least {}{}", field.min, unit);
  }
  if (has_max) text = fmt::format("at most {}{}", field.max, unit);
  return text;
}

json::Value parse_static(std::string_view text) {
  auto value = json::parse(text);
  HEARTH_CHECK(value.has_value());
  return *std::move(value);
}

void add_bounds(json::Object& out, const Field& field) {
  std::string_view min_key = "minimum";
  std::string_view max_key = "maximum";
  bool is_count = true;
  switch (field.type) {
    case FieldType::kString:
      min_key = "minLength", max_key = "maxLength";
      break;
    case FieldType::kArray:
      min_key = "minItems", max_key = "maxItems";
      break;
    case FieldType::kObject:
      min_key = "minProperties", max_key = "maxProperties";
      break;
    default:
      is_count = field.type == FieldType::kInteger;
  }
  const auto number = [is_count](double value) {
    return is_count ? json::Value(static_cast<std::int64_t>(value)) : json::Value(value);
  };
  if (field.min > -kUnbounded) out.set(std::string(min_key), number(field.min));
  if (field.max < kUnbounded) out.set(std::string(max_key), number(field.max));
}

json::Object type_schema(const Field& field) {
  json::Object out;
  switch (field.type) {
    case FieldType::kAny:
      break;
    case FieldType::kStringOrArray:
      out.set("oneOf",
              json::Array{json::Object{{"type", "string"}},
                          json::Object{{"type", "array"},
                                       {"items", parse_static(field.items)},
                                       {"maxItems", static_cast<std::int64_t>(field.max)}}});
      return out;
    default:
      out.set("type", json_type(field.type));
  }
  add_bounds(out, field);
  if (field.items.empty()) return out;
  out.set(field.type == FieldType::kArray ? "items" : "additionalProperties",
          parse_static(field.items));
  return out;
}

}  // namespace

Schema::Schema(std::string_view name, std::initializer_list<std::span<const Field>> tables)
    : name_(name) {
  for (const std::span<const Field> table : tables) {
    for (const Field& field : table) {
      HEARTH_CHECK(find(field.name) == nullptr);
      fields_.push_back(field);
    }
  }
}

const Field* Schema::find(std::string_view name) const {
  const auto it = std::ranges::find(fields_, name, &Field::name);
  return it == fields_.end() ? nullptr : &*it;
}

json::Value Schema::to_json() const {
  json::Object properties;
  json::Array required;
  for (const Field& field : fields_) {
    json::Object property = type_schema(field);
    std::string doc(field.doc);
    if (field.support == Support::kIgnored) doc += " Accepted and ignored.";
    if (field.support == Support::kRefused) {
      doc += fmt::format(" Not supported: anything but null or one of {} is refused.",
                         field.default_value);
    } else if (!field.default_value.empty()) {
      property.set("default", parse_static(field.default_value));
    }
    property.set("description", std::move(doc));
    if (field.support == Support::kRefused) property.set("deprecated", true);
    properties.append(std::string(field.name), std::move(property));
    if (field.required) required.emplace_back(field.name);
  }
  json::Object out{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) out.set("required", std::move(required));
  return out;
}

ApiResult<Fields> Fields::check(const Schema& schema, const json::Object& object,
                                std::string prefix) {
  Fields fields(schema, object, std::move(prefix));
  for (const Field& field : schema.fields()) {
    if (!field.required || fields.has(field.name)) continue;
    return std::unexpected(
        invalid_field(fields.path(field.name), "missing_field",
                      fmt::format("'{}' is required.", fields.path(field.name))));
  }
  for (const json::Member& member : object) {
    const Field* field = schema.find(member.key);
    if (field == nullptr || member.value.is_null()) continue;
    if (auto error = fields.check_field(*field, member.value)) {
      return std::unexpected(*std::move(error));
    }
  }
  return fields;
}

std::optional<ApiError> Fields::check_field(const Field& field, const json::Value& value) const {
  const std::string name = path(field.name);
  switch (field.support) {
    case Support::kIgnored:
      return std::nullopt;
    case Support::kRefused: {
      const json::Value accepted = parse_static(field.default_value);
      for (const json::Value& harmless : *accepted.as_array()) {
        if (value == harmless) return std::nullopt;
      }
      return invalid_field(name, "unsupported_parameter",
                           fmt::format("'{}' is not supported by this server.", name));
    }
    case Support::kHonoured:
      break;
  }
  if (!has_type(value, field.type)) {
    return invalid_field(name, "invalid_type",
                         fmt::format("'{}' must be of type {}, but {} was given.", name,
                                     json_type(field.type), value.type_name()));
  }
  // The bound of a string-or-array counts items.
  if (field.type == FieldType::kStringOrArray && value.as_string() != nullptr) return std::nullopt;
  const auto [size, unit] = measure(value);
  if (size >= field.min && size <= field.max) return std::nullopt;
  return invalid_field(
      name, "value_out_of_range",
      fmt::format("'{}' must be {}, but it is {}{}.", name, range_text(field, unit), size, unit));
}

const json::Value* Fields::value(std::string_view name) const {
  HEARTH_CHECK(schema_->find(name) != nullptr);
  const json::Value* found = object_->find(name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

json::Value Fields::value_or_default(std::string_view name) const {
  if (const json::Value* found = value(name)) return *found;
  return parse_static(schema_->find(name)->default_value);
}

bool Fields::boolean(std::string_view name) const {
  const json::Value found = value_or_default(name);
  HEARTH_CHECK(found.as_bool() != nullptr);
  return *found.as_bool();
}

double Fields::number(std::string_view name) const {
  double out = 0;
  HEARTH_CHECK(value_or_default(name).to_double(out));
  return out;
}

std::int64_t Fields::integer(std::string_view name) const {
  const json::Value found = value_or_default(name);
  std::int64_t out = std::numeric_limits<std::int64_t>::max();
  HEARTH_CHECK(found.to_int64(out) || found.is_integer());
  return out;
}

std::string Fields::text(std::string_view name) const {
  const json::Value found = value_or_default(name);
  HEARTH_CHECK(found.as_string() != nullptr);
  return *found.as_string();
}

ApiResult<json::Value> parse_json_object(std::string_view body) {
  auto value = json::parse_detailed(body);
  if (!value) {
    std::string code = "invalid_json";
    switch (value.error().kind) {
      case json::ParseErrorKind::kTooDeep:
        code = "json_too_deep";
        break;
      case json::ParseErrorKind::kInvalidUtf8:
        code = "invalid_utf8";
        break;
      case json::ParseErrorKind::kNumberRange:
        code = "value_out_of_range";
        break;
      case json::ParseErrorKind::kSyntax:
      case json::ParseErrorKind::kDuplicateKey:
        break;
    }
    return std::unexpected(
        invalid_field("", std::move(code), "The body is not valid: " + value.error().message));
  }
  if (value->as_object() == nullptr) {
    return std::unexpected(invalid_field(
        "", "invalid_type",
        fmt::format("The body must be a JSON object, but it is of type {}.", value->type_name())));
  }
  return *std::move(value);
}

ApiResult<std::int64_t> integer_item(const json::Value& value, const std::string& path,
                                     std::int64_t min, std::int64_t max) {
  std::int64_t out = 0;
  if (!value.is_number()) {
    return std::unexpected(invalid_field(
        path, "invalid_type",
        fmt::format("'{}' must be of type integer, but {} was given.", path, value.type_name())));
  }
  if (!value.to_int64(out) || out < min || out > max) {
    return std::unexpected(
        invalid_field(path, "value_out_of_range",
                      fmt::format("'{}' must be an integer between {} and {}.", path, min, max)));
  }
  return out;
}

}  // namespace hearth
