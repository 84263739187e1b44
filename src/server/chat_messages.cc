#include "server/chat_messages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "server/request_schemas.h"
#include "server/schema.h"

namespace hearth {
namespace {

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                    "tool"};

std::unexpected<ApiError> wrong_type(const std::string& path, std::string_view wanted,
                                     const json::Value& value) {
  return std::unexpected(invalid_field(
      path, "invalid_type",
      fmt::format("'{}' must be {}, but {} was given.", path, wanted, value.type_name())));
}

ApiResult<std::string> part_text(const json::Value& part, const std::string& path) {
  const json::Object* object = part.as_object();
  if (object == nullptr) return wrong_type(path, "an object", part);
  const json::Value* type = object->find("type");
  const std::string* type_name = type == nullptr ? nullptr : type->as_string();
  if (type_name == nullptr) {
    return std::unexpected(invalid_field(path + ".type", "missing_field",
                                         fmt::format("'{}.type' must be a string.", path)));
  }
  if (*type_name != "text") {
    return std::unexpected(
        invalid_field(path + ".type", "unsupported_parameter",
                      fmt::format("Content of type '{}' is not supported, only 'text'.",
                                  type_name->substr(0, 32))));
  }
  const json::Value* text = object->find("text");
  if (text == nullptr || text->as_string() == nullptr) {
    return wrong_type(path + ".text", "a string", text == nullptr ? json::Value() : *text);
  }
  return *text->as_string();
}

ApiResult<std::string> content_text(const json::Value* content, const std::string& role,
                                    const std::string& path) {
  if (content == nullptr || content->is_null()) {
    if (role == "assistant") return std::string();
    return std::unexpected(
        invalid_field(path, "missing_field", fmt::format("'{}' is required.", path)));
  }
  if (const std::string* text = content->as_string()) return *text;
  const json::Array* parts = content->as_array();
  if (parts == nullptr) return wrong_type(path, "a string or an array of parts", *content);
  if (parts->size() > kMaxContentParts) {
    return std::unexpected(
        invalid_field(path, "value_out_of_range",
                      fmt::format("'{}' may have at most {} parts, but it has {}.", path,
                                  kMaxContentParts, parts->size())));
  }
  std::string joined;
  for (std::size_t i = 0; i < parts->size(); ++i) {
    auto text = part_text((*parts)[i], fmt::format("{}[{}]", path, i));
    if (!text) return std::unexpected(std::move(text).error());
    if (i > 0) joined += '\n';
    joined += *text;
  }
  return joined;
}

ApiResult<json::Value> normalize_message(const json::Value& message, const std::string& path) {
  const json::Object* object = message.as_object();
  if (object == nullptr) return wrong_type(path, "an object", message);
  const auto fields = Fields::check(message_schema(), *object, path + ".");
  if (!fields) return std::unexpected(fields.error());
  std::string role = fields->text("role");
  if (std::ranges::find(kRoles, role) == kRoles.end()) {
    return std::unexpected(
        invalid_field(path + ".role", "invalid_role",
                      fmt::format("'{}.role' must be one of {}.", path, fmt::join(kRoles, ", "))));
  }
  auto content = content_text(fields->value("content"), role, path + ".content");
  if (!content) return std::unexpected(std::move(content).error());
  if (role == "developer") role = "system";
  json::Object out{{"role", std::move(role)}, {"content", *std::move(content)}};
  for (const std::string_view name : {"name", "tool_calls", "tool_call_id"}) {
    if (const json::Value* value = fields->value(name)) out.append(std::string(name), *value);
  }
  return json::Value(std::move(out));
}

}  // namespace

ApiResult<json::Array> normalize_messages(const json::Array& messages) {
  json::Array out;
  out.reserve(messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    auto message = normalize_message(messages[i], fmt::format("messages[{}]", i));
    if (!message) return std::unexpected(std::move(message).error());
    out.push_back(*std::move(message));
  }
  return out;
}

}  // namespace hearth
