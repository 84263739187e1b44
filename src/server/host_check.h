// Keeps pages that a browser shows from using a server that listens on this machine alone: by the
// name they reached it under (DNS rebinding), and by where they come from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/http_message.h"

namespace hearth {

struct HostPolicy {
  std::string listen_host = {};                 // As given to the listener.
  std::vector<std::string> allowed_hosts = {};  // Further names of this server, without port.
  std::string cors_origin = {};                 // Of foreign pages that may call it; "*": of all.
};

// The refusal of a request, if it is one. Names are checked only where the listener's address is a
// loopback one; addresses are always fine, as no foreign page is at this machine's address.
std::optional<ApiError> check_host(const HttpRequest& request, const HostPolicy& policy);

}  // namespace hearth
