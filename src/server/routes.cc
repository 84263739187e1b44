#include "server/routes.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "server/request_schemas.h"

namespace hearth {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// A malformed escape stays as it is.
std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                         hex_digit(text[i + 2]) >= 0;
    if (escaped) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

json::Value reference(std::string_view schema) {
  return json::Object{{"$ref", "#/components/schemas/" + std::string(schema)}};
}

json::Value json_content(json::Value schema) {
  return json::Object{{"application/json", json::Object{{"schema", std::move(schema)}}}};
}

json::Value error_schema() {
  const auto nullable_text = [] { return json::Object{{"type", json::Array{"string", "null"}}}; };
  json::Object properties{{"message", json::Object{{"type", "string"}}},
                          {"type", json::Object{{"type", "string"}}},
                          {"param", nullable_text()},
                          {"code", nullable_text()}};
  return json::Object{
      {"type", "object"},
      {"properties", json::Object{{"error", json::Object{{"type", "object"},
                                                         {"properties", std::move(properties)}}}}}};
}

json::Value operation(const RouteInfo& route) {
  json::Object out{{"summary", route.doc}};
  if (route.path.ends_with("{id}")) {
    out.append("parameters",
               json::Array{json::Object{{"name", "id"},
                                        {"in", "path"},
                                        {"required", true},
                                        {"schema", json::Object{{"type", "string"}}}}});
  }
  if (route.body != nullptr) {
    out.append("requestBody",
               json::Object{{"required", true},
                            {"content", json_content(reference(route.body().name()))}});
  }
  out.append(
      "responses",
      json::Object{{"200", json::Object{{"description", "Success."}}},
                   {"default", json::Object{{"description", "Any error."},
                                            {"content", json_content(reference("Error"))}}}});
  return out;
}

}  // namespace

bool match_route(std::string_view pattern, std::string_view path, std::string& id) {
  constexpr std::string_view kRest = "{id}";
  if (!pattern.ends_with(kRest)) return pattern == path;
  const std::string_view stem = pattern.substr(0, pattern.size() - kRest.size());
  if (!path.starts_with(stem) || path.size() == stem.size()) return false;
  id = percent_decode(path.substr(stem.size()));
  return true;
}

std::string query_value(std::string_view query, std::string_view name) {
  for (std::size_t start = 0; start < query.size();) {
    const std::size_t end = std::min(query.find('&', start), query.size());
    const std::string_view item = query.substr(start, end - start);
    start = end + 1;
    if (item.size() > name.size() && item.starts_with(name) && item[name.size()] == '=') {
      return percent_decode(item.substr(name.size() + 1));
    }
  }
  return {};
}

json::Value openapi_document(std::span<const RouteInfo> routes, std::string_view version) {
  json::Object paths, schemas;
  std::vector<const Schema*> named = {&message_schema(), &stream_options_schema()};
  for (const RouteInfo& route : routes) {
    const json::Value* earlier = paths.find(route.path);
    json::Object operations = earlier == nullptr ? json::Object() : *earlier->as_object();
    std::string method(route.method);
    std::ranges::transform(method, method.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    operations.append(std::move(method), operation(route));
    paths.set(std::string(route.path), std::move(operations));
    if (route.body != nullptr) named.push_back(&route.body());
  }
  for (const Schema* schema : named)
    schemas.set(std::string(schema->name()), schema->to_json());
  schemas.set("Error", error_schema());
  return json::Object{{"openapi", "3.1.0"},
                      {"info", json::Object{{"title", "Hearth"}, {"version", version}}},
                      {"paths", std::move(paths)},
                      {"components", json::Object{{"schemas", std::move(schemas)}}}};
}

}  // namespace hearth
