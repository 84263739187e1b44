// What a route is, apart from the code that answers it: enough to dispatch by and to document.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "server/schema.h"

namespace hearth {

struct RouteInfo {
  std::string_view method;  // "GET" routes answer HEAD as well.
  std::string_view path;    // "{id}" at the end stands for the rest of the path.
  std::string_view doc;
  const Schema& (*body)() = nullptr;  // nullptr: no body.
};

// True when `path` matches; `id` then is the percent-decoded rest, if the pattern has one.
bool match_route(std::string_view pattern, std::string_view path, std::string& id);

// The percent-decoded value of a parameter in a query ("a=1&b=2"); empty when there is none.
std::string query_value(std::string_view query, std::string_view name);

// An OpenAPI 3.1 document of the routes and the schemas they name.
json::Value openapi_document(std::span<const RouteInfo> routes, std::string_view version);

// A page without outside resources that shows openapi.json and sends a chat request.
std::string_view docs_page();

}  // namespace hearth
