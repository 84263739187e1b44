// HTTP/1.1 requests on one event loop. The only header with Boost.Asio in it; private to loadgen.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loadgen/answer_reader.h"
#include "loadgen/target.h"

namespace hearth::loadgen {

struct HttpCall {
  std::string_view method;  // "GET", "POST"; borrowed until the call has ended, like the body.
  std::string path;
  std::string_view body;
  TimePoint deadline;
};

struct HttpOutcome {
  int status = 0;      // 0: no complete head came.
  std::string server;  // The header of that name.
  std::string content_type;
  std::string failure;  // Empty: the response came to its end.
  bool timed_out = false;
  bool ok() const { return status == 200 && failure.empty(); }
};

// Keeps connections open and uses them again. Calls run side by side, all on the loop's thread.
class HttpClient {
 public:
  // Borrows the loop. `api_key` may be empty.
  HttpClient(boost::asio::io_context& loop, Target target, std::string api_key);
  ~HttpClient();

  // Looks up the target's name; an error says that it has no address. Blocks.
  Status resolve();

  // The body's bytes as they come, of error responses as well. False stops the call there.
  using Sink = std::function<bool(int status, std::string_view bytes)>;
  // A connection that the server closed while it was idle is replaced without further notice.
  boost::asio::awaitable<HttpOutcome> call(const HttpCall& call, const Sink& sink);

 private:
  struct Connection;
  boost::asio::awaitable<std::string> open(Connection& connection);
  boost::asio::awaitable<HttpOutcome> exchange(Connection& connection, const HttpCall& call,
                                               const Sink& sink);

  boost::asio::io_context& loop_;
  Target target_;
  std::string api_key_;
  std::vector<boost::asio::ip::tcp::endpoint> endpoints_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace hearth::loadgen
