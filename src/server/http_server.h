// HTTP/1.1 over TCP: listener, connections, limits. Knows nothing of the API behind it.
//
// Asynchronous on a few I/O threads. Each connection is a small state machine on its own strand
// that always has a read pending, also while a request is being answered: that is how a client's
// leaving is noticed, before the first byte of the answer and in the middle of it. Bytes that
// arrive meanwhile are the next (pipelined) request and wait; a client that sends more than 64 KiB
// of them is cut. Requests of one connection are answered in order, one at a time.
//
// Refused, with a JSON error and the end of the connection: malformed heads and every ambiguous
// framing (400), heads over the limit (431), bodies over the limit (413, before anything of them is
// kept), heads or bodies that come too slowly (408). Message syntax: RFC 9112.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/http_message.h"

namespace hearth {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // A name or an address.
  std::uint16_t port = 8080;       // 0: any free one.
  std::size_t num_io_threads = 1;
  std::size_t max_connections = 4096;  // Further clients wait in the listen queue.
  std::size_t max_header_bytes = 64u << 10;
  std::size_t max_headers = 256;
  std::size_t max_body_bytes = 32u << 20;
  std::size_t max_total_body_bytes = 1u << 30;     // Over all requests in memory; beyond it 503.
  std::size_t max_stream_buffer_bytes = 1u << 20;  // Streamed to one client, not yet taken by it.
  std::chrono::milliseconds idle_timeout{75'000};  // Between requests.
  std::chrono::milliseconds header_timeout{
      10'000};                                    // From a request's first byte to its last header.
  std::chrono::milliseconds body_window{10'000};  // Within each window ...
  HttpHeaders response_headers = {};              // Added to every answer.
  std::size_t min_body_bytes_per_window = 10'000;  // ... this much must come, or the body's rest.
  std::chrono::milliseconds write_timeout{
      30'000};  // A client that takes nothing for so long is cut.
};

// One answered (or cut) request.
struct HttpRecord {
  std::string_view method;  // "-" when the head was not understood.
  std::string_view path;
  std::string_view route;  // Pattern; empty when no route was reached.
  std::string_view request_id;
  int status = 0;  // 499: the client left before there was one.
  std::size_t response_bytes = 0;
  std::chrono::steady_clock::duration duration{};
  bool reached_handler = false;
  bool disconnected = false;  // The client left before the answer was complete.
};

class HttpServer {
 public:
  // Called on the connection's executor; must return at once (hand work over, use exchange->post).
  using Handler = std::function<void(HttpRequest request, std::shared_ptr<HttpExchange> exchange)>;
  // Called after each request, on the connection's executor. The views live during the call.
  using Observer = std::function<void(const HttpRecord& record)>;

  // Binds, listens and starts the threads. kUnavailable names host, port and reason when that
  // fails.
  static Result<std::unique_ptr<HttpServer>> start(const HttpServerOptions& options,
                                                   Handler handler, Observer observer);
  // A server without a listener; connections come from adopt().
  static Result<std::unique_ptr<HttpServer>> start_detached(const HttpServerOptions& options,
                                                            Handler handler, Observer observer);
  // Cuts what is left and joins the threads.
  ~HttpServer();

  std::uint16_t port() const;    // The bound one; 0 without a listener.
  std::size_t num_busy() const;  // Requests being received or answered.

  // Serves a connected stream socket, which it owns from now on.
  Status adopt(int socket);

  // Calls back (on an I/O thread) at each SIGTERM and SIGINT from now on.
  void on_termination_signal(std::function<void()> callback);

  // Closes the listener, which has happened on return, and idle connections; answers from now on
  // end their connection. Not from a callback.
  void stop_accepting();
  // Waits until no request is being received or answered; false when `deadline` came first.
  bool wait_until_quiet(std::chrono::steady_clock::time_point deadline);
  // Ends every connection now; exchanges see a disconnect.
  void cut_connections();

  struct Impl;  // Public for the connections in the source file.

 private:
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace hearth
