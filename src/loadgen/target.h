// The address of the server that a load is sent to.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::loadgen {

struct Target {
  std::string host;  // Without the brackets of an IPv6 address.
  std::string port;
  std::string path;  // Of the API, without a slash at the end: "/v1".

  std::string host_header() const;
  // "http://host:port/v1" + `suffix`, for messages.
  std::string url(std::string_view suffix = {}) const;
  bool operator==(const Target&) const = default;
};

// "http://host[:port][/path]". A path that does not end in /v1 gets it appended, so that both a
// server and its API can be named. https:// is kUnimplemented, anything else kInvalidArgument.
Result<Target> parse_target(std::string_view url);

}  // namespace hearth::loadgen
