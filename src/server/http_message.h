// What the HTTP layer hands up and takes back: plain requests and responses, and the exchange that
// joins one to the other. No HTTP library behind these types.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hearth {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // As sent: "GET", "POST", ...
  std::string path;     // Of the request target, still percent-encoded, without the query.
  std::string query;    // Behind the "?", still percent-encoded.
  HttpHeaders headers;  // Names in lower case, in order of arrival.
  std::string body;
  std::string id;  // x-request-id: the client's if it is well-formed, else a new one.
  std::chrono::steady_clock::time_point arrival{};  // When its first byte came.

  // nullptr when there is no such header; `name` in lower case.
  const std::string* header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;  // Besides date, content-type, framing, connection and x-request-id.
  std::string body;
};

// The answering end of one request. Answer with respond(), or with begin_stream(), write()* and
// end_stream(). An exchange dropped unanswered answers 500.
//
// Lives on its connection's executor: the handler is called there, and every method but post() must
// be called there. After the client has gone all methods do nothing.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual void respond(HttpResponse response) = 0;

  // Sends the head; the body follows in pieces. `head.body` is not used.
  virtual void begin_stream(HttpResponse head) = 0;
  // Never blocks. A client that lets more than the configured buffer pile up, or takes nothing for
  // too long, is treated as gone.
  virtual void write(std::string data) = 0;
  virtual void end_stream() = 0;

  // Called once if the client goes before the answer is complete; at once if it already has.
  // Dropped, with what it captures, when the exchange ends. Replaces an earlier callback.
  virtual void on_disconnect(std::function<void()> callback) = 0;

  // Calls back after `delay` unless the exchange has ended by then. One timer: a new call replaces
  // it.
  virtual void after(std::chrono::milliseconds delay, std::function<void()> callback) = 0;

  // Runs `task` on the connection's executor. From any thread.
  virtual void post(std::function<void()> task) = 0;

  // The pattern of the matched route, for the access log and metrics; static text.
  virtual void set_route(std::string_view pattern) = 0;
};

}  // namespace hearth
