#include "loadgen/target.h"

#include <algorithm>
#include <charconv>

namespace hearth::loadgen {
namespace {

constexpr std::string_view kScheme = "http://";
constexpr std::string_view kApiPath = "/v1";

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), port);
  return failure == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

bool is_clean(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

std::string Target::host_header() const {
  const std::string name = host.contains(':') ? fmt::format("[{}]", host) : host;
  return port == "80" ? name : fmt::format("{}:{}", name, port);
}

std::string Target::url(std::string_view suffix) const {
  return fmt::format("{}{}{}{}", kScheme, host_header(), path, suffix);
}

Result<Target> parse_target(std::string_view url) {
  const auto bad = [&](std::string_view reason) {
    return error(StatusCode::kInvalidArgument,
                 "target '{}' {}; expected http://host:port or http://host:port/v1", url, reason);
  };
  if (url.starts_with("https://")) {
    return error(
        StatusCode::kUnimplemented,
        "target '{}': TLS is not supported; measure the server behind its TLS proxy, whose "
        "time would be measured as well",
        url);
  }
  if (!url.starts_with(kScheme)) return bad("does not begin with http://");
  if (!is_clean(url) || url.find_first_of("?#@\"<>\\") != std::string_view::npos) {
    return bad("has characters that have no place there");
  }
  const std::string_view rest = url.substr(kScheme.size());
  const std::string_view authority = rest.substr(0, rest.find('/'));
  std::string_view path = rest.substr(authority.size());
  while (path.ends_with('/'))
    path.remove_suffix(1);

  Target target{.host = {}, .port = "80", .path = std::string(path)};
  if (!path.ends_with(kApiPath)) target.path += kApiPath;
  const std::size_t bracket = authority.starts_with('[') ? authority.find(']') : 0;
  if (bracket == std::string_view::npos) return bad("has an unfinished IPv6 address");
  const std::size_t colon = authority.find(':', bracket);
  target.host = authority.substr(0, colon);
  if (bracket > 0) target.host = authority.substr(1, bracket - 1);
  if (target.host.empty()) return bad("names no host");
  if (colon == std::string_view::npos) return target;
  target.port = authority.substr(colon + 1);
  if (!is_port(target.port)) return bad("has a port that is not 1 to 65535");
  return target;
}

}  // namespace hearth::loadgen
