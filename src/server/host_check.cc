#include "server/host_check.h"

#include <fmt/format.h>

#include <algorithm>

namespace hearth {
namespace {

ApiError forbidden(std::string code, std::string message) {
  return {403, std::move(code), std::move(message), "", std::nullopt};
}

// "example.com:80" -> "example.com", "[::1]:80" -> "[::1]"; in lower case.
std::string name_of(std::string_view host) {
  const std::size_t after_address = host.starts_with('[') ? host.find(']') : 0;
  const std::size_t colon = host.find(':', std::min(after_address, host.size()));
  std::string name(host.substr(0, colon));
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return name;
}

bool is_address(std::string_view name) {
  return name.starts_with('[') || name.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool is_loopback(std::string_view listen_host) {
  return listen_host == "localhost" || listen_host == "::1" || listen_host.starts_with("127.");
}

}  // namespace

std::optional<ApiError> check_host(const HttpRequest& request, const HostPolicy& policy) {
  const std::string* host = request.header("host");
  const std::string name = host == nullptr ? "localhost" : name_of(*host);
  const bool is_known = is_address(name) || name == "localhost" || name.ends_with(".localhost") ||
                        name == name_of(policy.listen_host) ||
                        std::ranges::find(policy.allowed_hosts, name) != policy.allowed_hosts.end();
  if (!is_known && is_loopback(policy.listen_host)) {
    return forbidden("host_not_allowed",
                     fmt::format("This server does not go by the name '{}'; --allowed-hosts may "
                                 "add it.",
                                 name));
  }
  const std::string* origin = request.header("origin");
  if (origin == nullptr || policy.cors_origin == "*" || *origin == policy.cors_origin) {
    return std::nullopt;
  }
  const std::size_t scheme = origin->find("://");
  const bool is_own = scheme != std::string::npos && host != nullptr &&
                      std::string_view(*origin).substr(scheme + 3) == *host;
  if (is_own) return std::nullopt;
  return forbidden(
      "origin_not_allowed",
      fmt::format("Pages of '{}' may not use this server; --cors-origin may let them.", *origin));
}

}  // namespace hearth
