#include "loadgen/http_client.h"

#include <array>
#include <boost/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <tuple>
#include <utility>

#include "base/build_info.h"

namespace hearth::loadgen {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kReadBytes = std::size_t{16} << 10;
// Errors are results of the awaited call, not exceptions.
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

std::string failure_text(error_code ec) {
  if (ec == beast::error::timeout) return "timed out";
  if (ec == http::error::end_of_stream || ec == http::error::partial_message ||
      ec == asio::error::eof) {
    return "the server closed the connection";
  }
  if (ec.category() == asio::error::get_system_category()) return system_error_text(ec.value());
  return fmt::format("not HTTP: {}", ec.message());
}

http::request<http::span_body<const char>> make_request(const HttpCall& call, const Target& target,
                                                        const std::string& api_key) {
  http::request<http::span_body<const char>> request(
      http::string_to_verb({call.method.data(), call.method.size()}), call.path, 11);
  request.set(http::field::host, target.host_header());
  request.set(http::field::user_agent, fmt::format("hearth-bench/{}", build_info().version));
  request.set(http::field::accept, "*/*");
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  if (!call.body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = {call.body.data(), call.body.size()};
  request.prepare_payload();
  return request;
}

std::string text_of(boost::string_view view) {
  return {view.data(), view.size()};
}

}  // namespace

struct HttpClient::Connection {
  explicit Connection(asio::io_context& loop) : stream(loop) {}

  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  // After the last call: whether the next one may use this connection, and whether the server had
  // hung up before it said anything.
  bool reusable = false;
  bool was_stale = false;
};

HttpClient::HttpClient(asio::io_context& loop, Target target, std::string api_key)
    : loop_(loop), target_(std::move(target)), api_key_(std::move(api_key)) {}

HttpClient::~HttpClient() = default;

Status HttpClient::resolve() {
  error_code ec;
  asio::ip::tcp::resolver resolver(loop_);
  const auto found = resolver.resolve(target_.host, target_.port, ec);
  if (ec) {
    return make_status(StatusCode::kUnavailable, "cannot reach {}: host '{}' has no address",
                       target_.url(), target_.host);
  }
  for (const auto& entry : found)
    endpoints_.push_back(entry.endpoint());
  return {};
}

asio::awaitable<std::string> HttpClient::open(Connection& connection) {
  const auto [ec, endpoint] = co_await connection.stream.async_connect(endpoints_, kAwait);
  if (ec) co_return failure_text(ec);
  error_code ignored;
  connection.stream.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  co_return std::string();
}

asio::awaitable<HttpOutcome> HttpClient::exchange(Connection& connection, const HttpCall& call,
                                                  const Sink& sink) {
  HttpOutcome outcome;
  connection.reusable = false;
  connection.was_stale = false;
  const auto fail = [&](error_code ec) {
    outcome.failure = failure_text(ec);
    outcome.timed_out = ec == beast::error::timeout;
    connection.was_stale = outcome.status == 0 && !outcome.timed_out;
  };
  const auto request = make_request(call, target_, api_key_);
  if (auto [ec, bytes] = co_await http::async_write(connection.stream, request, kAwait); ec) {
    fail(ec);
    co_return outcome;
  }
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  if (auto [ec, bytes] =
          co_await http::async_read_header(connection.stream, connection.buffer, parser, kAwait);
      ec) {
    fail(ec);
    co_return outcome;
  }
  const auto& head = parser.get();
  outcome.status = static_cast<int>(head.result_int());
  outcome.server = text_of(head[http::field::server]);
  outcome.content_type = text_of(head[http::field::content_type]);
  std::array<char, kReadBytes> chunk;
  while (!parser.is_done()) {
    parser.get().body().data = chunk.data();
    parser.get().body().size = chunk.size();
    auto [ec, bytes] =
        co_await http::async_read_some(connection.stream, connection.buffer, parser, kAwait);
    const std::size_t length = chunk.size() - parser.get().body().size;
    if (length > 0 && !sink(outcome.status, {chunk.data(), length})) co_return outcome;
    if (ec && ec != http::error::need_buffer) {
      fail(ec);
      co_return outcome;
    }
  }
  connection.reusable = parser.get().keep_alive();
  co_return outcome;
}

asio::awaitable<HttpOutcome> HttpClient::call(const HttpCall& call, const Sink& sink) {
  std::unique_ptr<Connection> connection;
  HttpOutcome outcome;
  if (!idle_.empty()) {
    connection = std::move(idle_.back());
    idle_.pop_back();
    connection->stream.expires_at(call.deadline);
    outcome = co_await exchange(*connection, call, sink);
    if (connection->was_stale) connection.reset();
  }
  if (connection == nullptr) {
    connection = std::make_unique<Connection>(loop_);
    connection->stream.expires_at(call.deadline);
    outcome = {};
    outcome.failure = co_await open(*connection);
    if (!outcome.failure.empty()) {
      outcome.timed_out = std::chrono::steady_clock::now() >= call.deadline;
      co_return outcome;
    }
    outcome = co_await exchange(*connection, call, sink);
  }
  if (connection->reusable) {
    connection->stream.expires_never();
    idle_.push_back(std::move(connection));
  }
  co_return outcome;
}

}  // namespace hearth::loadgen
