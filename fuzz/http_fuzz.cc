// Any bytes from a client: head, framing and body of HTTP requests, through a real connection. The
// server must answer or hang up, and stay usable.
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/status.h"
#include "server/http_server.h"

namespace {

using hearth::HttpExchange;
using hearth::HttpRequest;
using hearth::HttpServer;

void answer(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  HEARTH_CHECK(!request.path.empty() && !request.id.empty());
  if (request.method == "POST") {
    exchange->begin_stream({});
    exchange->write(request.body);
    exchange->end_stream();
  } else {
    exchange->respond({});
  }
}

HttpServer& server() {
  static const std::unique_ptr<HttpServer> instance = [] {
    hearth::HttpServerOptions options;
    options.max_header_bytes = 1024;
    options.max_body_bytes = 1024;
    options.max_headers = 16;
    return HttpServer::start_detached(options, answer, {}).value();
  }();
  return *instance;
}

// Everything the server says until it hangs up. The few kilobytes sent fit the socket's buffer.
std::string talk(const std::uint8_t* data, std::size_t size) {
  int ends[2];
  HEARTH_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  HEARTH_CHECK(server().adopt(ends[1]).ok());
  std::string said;
  if (size > 0) static_cast<void>(::send(ends[0], data, size, MSG_NOSIGNAL));
  ::shutdown(ends[0], SHUT_WR);
  char buffer[4096];
  for (ssize_t count = 0; (count = ::recv(ends[0], buffer, sizeof buffer, 0)) > 0;)
    said.append(buffer, static_cast<std::size_t>(count));
  ::close(ends[0]);
  return said;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string said = talk(data, size);
  HEARTH_CHECK(said.empty() || said.starts_with("HTTP/1.1 "));
  return 0;
}
