#include "server/http_server.h"

#include <fmt/format.h>

#include <atomic>
#include <boost/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/api_error.h"
#include "server/http_server_parsing.h"
#include "server/random_id.h"

namespace hearth {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using SteadyClock = std::chrono::steady_clock;
using StreamSocket = asio::generic::stream_protocol::socket;

constexpr std::size_t kReadBytes = 4096;
constexpr std::size_t kBodyReadBytes = 16u << 10;
constexpr std::size_t kMaxPipelinedBytes = 64u << 10;  // Kept while a request is answered.
constexpr std::size_t kMaxWriteBuffers = 16;
constexpr std::chrono::seconds kLingerTime{2};  // For the client to read an error and hang up.
constexpr std::chrono::milliseconds kAcceptRetryDelay{50};

class Connection;
class Exchange;

}  // namespace

const std::string* HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

// Shared by the server and its connections: an exchange may be let go of, with its socket, by
// another thread after the server is gone.
struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  explicit Impl(const HttpServerOptions& server_options)
      : options(server_options),
        acceptor(asio::make_strand(io)),
        accept_timer(acceptor.get_executor()),
        signals(acceptor.get_executor()) {}

  Status listen();
  void run_threads();
  void accept();
  void on_accept(const error_code& ec, asio::ip::tcp::socket socket);
  void serve(StreamSocket socket);
  void wait_for_signal();
  void forget(Connection* connection);
  void set_busy(bool busy);
  template <typename Action>
  void for_each_connection(Action action);
  void shut_down();

  const HttpServerOptions options;
  Handler handler;
  Observer observer;

  asio::io_context io;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
  asio::ip::tcp::acceptor acceptor;  // Used on its own strand once listening.
  asio::steady_timer accept_timer;
  bool accepting = false;
  asio::signal_set signals;
  std::function<void()> on_signal;
  std::uint16_t bound_port = 0;
  std::vector<std::thread> threads;

  std::atomic<bool> draining{false};
  std::atomic<bool> stopped{false};
  std::atomic<std::size_t> total_body_bytes{0};

  std::mutex mutex;
  std::condition_variable became_quiet;
  std::size_t num_busy = 0;
  std::unordered_map<Connection*, std::weak_ptr<Connection>> connections;
};

namespace {

// One client. Everything but the constructor runs on the socket's strand.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<HttpServer::Impl> server, StreamSocket socket)
      : server_(std::move(server)),
        socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        buffer_(server_->options.max_header_bytes + kBodyReadBytes) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  StreamSocket::executor_type executor() { return socket_.get_executor(); }
  const HttpServer::Impl& server() const { return *server_; }

  void start();
  void close();
  void close_if_idle();

  // For the exchange of the request being answered.
  void respond(const HttpResponse& response);
  void begin_stream(const HttpResponse& response);
  void write(std::string data);
  void end_stream();
  void set_route(std::string_view route) { route_ = route; }

  // What a handler throws (it is out of memory, say) costs its own connection and no other.
  template <typename Task>
  void run(const Task& task) {
    try {
      task();
    } catch (const std::exception& exception) {
      log::error("an HTTP handler failed ({}); its connection is given up", exception.what());
      close();
    }
  }

 private:
  enum class State : std::uint8_t { kIdle, kHead, kBody, kAnswering, kLingering, kClosed };

  void read();
  void on_read(const error_code& ec, std::size_t num_bytes);
  void advance();
  void begin_request();
  bool parse();  // False when it needs more bytes or the request was refused.
  bool on_head();
  bool on_body_bytes();
  void dispatch();
  HttpRequest take_request();
  void refuse(const ApiError& error);

  std::string head(const HttpResponse& response, std::string_view framing) const;
  void send(std::string data);
  void flush();
  void on_written(const error_code& ec, std::size_t num_bytes);
  void finish_answer();
  void record(bool disconnected);
  void set_busy(bool busy);
  void release_body();

  using Expired = void (Connection::*)();
  void arm(std::chrono::milliseconds delay, Expired expired);
  void disarm();
  void on_head_timeout();
  void on_body_window();

  std::shared_ptr<HttpServer::Impl> server_;
  StreamSocket socket_;
  asio::steady_timer timer_;
  std::uint64_t timer_epoch_ = 0;
  boost::beast::flat_buffer buffer_;
  std::optional<RequestParser> parser_;
  State state_ = State::kIdle;
  bool reading_ = false;
  bool busy_ = false;

  // The request being received or answered.
  SteadyClock::time_point arrival_{};
  std::string method_ = "-", path_ = "-", id_;
  std::string_view route_;
  bool reached_handler_ = false;
  bool keep_alive_ = false, head_only_ = false, http10_ = false;
  std::size_t body_bytes_ = 0, body_bytes_at_window_ = 0;
  std::weak_ptr<Exchange> exchange_;

  // Its answer.
  int status_ = 0;
  bool streaming_ = false, chunked_ = false, complete_ = false, overflowed_ = false;
  std::size_t sent_bytes_ = 0;
  std::deque<std::string> out_;
  std::size_t out_bytes_ = 0, front_offset_ = 0;
  bool writing_ = false;
};

// shared_ptr: held by whoever prepares the answer, and watched by the connection.
class Exchange final : public HttpExchange {
 public:
  explicit Exchange(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)), timer_(connection_->executor()) {}

  ~Exchange() override {
    if (ended_ || connection_->server().stopped) return;
    asio::post(connection_->executor(), [connection = connection_] {
      connection->respond(error_response(
          http_error(500, "internal_error", "The request was dropped without an answer.")));
    });
  }

  void respond(HttpResponse response) override {
    if (ended_) return;
    end();
    connection_->respond(response);
  }

  void begin_stream(HttpResponse head) override {
    if (!ended_) connection_->begin_stream(head);
  }

  void write(std::string data) override {
    if (!ended_) connection_->write(std::move(data));
  }

  void end_stream() override {
    if (ended_) return;
    end();
    connection_->end_stream();
  }

  void on_disconnect(std::function<void()> callback) override {
    if (!ended_) {
      on_disconnect_ = std::move(callback);
    } else if (disconnected_) {
      callback();
    }
  }

  void after(std::chrono::milliseconds delay, std::function<void()> callback) override {
    if (ended_) return;
    const std::uint64_t epoch = ++timer_epoch_;
    on_timer_ = std::move(callback);
    timer_.expires_after(delay);
    timer_.async_wait([weak = self, epoch](const error_code& ec) {
      const auto exchange = weak.lock();
      if (ec || !exchange || exchange->ended_ || exchange->timer_epoch_ != epoch) return;
      exchange->connection_->run(std::exchange(exchange->on_timer_, nullptr));
    });
  }

  void post(std::function<void()> task) override {
    if (connection_->server().stopped) return;
    asio::post(connection_->executor(),
               [connection = connection_, task = std::move(task)] { connection->run(task); });
  }

  void set_route(std::string_view pattern) override {
    if (!ended_) connection_->set_route(pattern);
  }

  // From the connection: the client has gone.
  void disconnect() {
    if (ended_) return;
    const auto callback = std::exchange(on_disconnect_, nullptr);
    disconnected_ = true;
    end();
    if (callback) callback();
  }

  std::weak_ptr<Exchange> self;

 private:
  void end() {
    ended_ = true;
    ++timer_epoch_;
    timer_.cancel();
    on_timer_ = nullptr;
    on_disconnect_ = nullptr;
  }

  std::shared_ptr<Connection> connection_;
  asio::steady_timer timer_;
  std::uint64_t timer_epoch_ = 0;
  std::function<void()> on_timer_, on_disconnect_;
  bool ended_ = false, disconnected_ = false;
};

// Usually closed long before; not when an exception ate the handlers that kept it.
Connection::~Connection() {
  if (state_ == State::kClosed) return;
  release_body();
  set_busy(false);
  server_->forget(this);
}

void Connection::start() {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  arm(server_->options.idle_timeout, &Connection::close);
  read();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  const bool cut_short = state_ == State::kAnswering;
  state_ = State::kClosed;
  disarm();
  error_code ignored;
  socket_.close(ignored);
  if (cut_short) {
    // Counted last: who sees the count knows that the work is cancelled.
    if (const auto exchange = exchange_.lock()) exchange->disconnect();
    record(/*disconnected=*/true);
  }
  out_.clear();
  parser_.reset();
  release_body();
  set_busy(false);
  server_->forget(this);
}

void Connection::close_if_idle() {
  if (state_ == State::kIdle && buffer_.size() == 0) close();
}

void Connection::set_busy(bool busy) {
  if (busy_ == busy) return;
  busy_ = busy;
  server_->set_busy(busy);
}

void Connection::release_body() {
  server_->total_body_bytes -= body_bytes_;
  body_bytes_ = body_bytes_at_window_ = 0;
}

void Connection::arm(std::chrono::milliseconds delay, Expired expired) {
  const std::uint64_t epoch = ++timer_epoch_;
  timer_.expires_after(delay);
  timer_.async_wait([self = shared_from_this(), epoch, expired](const error_code& ec) {
    // A wait that was over before it could be cancelled still arrives.
    if (!ec && epoch == self->timer_epoch_) self->run([&] { ((*self).*expired)(); });
  });
}

void Connection::disarm() {
  ++timer_epoch_;
  timer_.cancel();
}

void Connection::read() {
  if (reading_ || state_ == State::kClosed) return;
  reading_ = true;
  const std::size_t room = buffer_.max_size() - buffer_.size();
  const std::size_t wanted = state_ == State::kBody ? kBodyReadBytes : kReadBytes;
  socket_.async_read_some(buffer_.prepare(std::min(room, wanted)),
                          [self = shared_from_this()](const error_code& ec, std::size_t num_bytes) {
                            self->reading_ = false;
                            self->run([&] { self->on_read(ec, num_bytes); });
                          });
}

void Connection::on_read(const error_code& ec, std::size_t num_bytes) {
  if (state_ == State::kClosed) return;
  if (ec) {
    // A client that hangs up on reading its answer's end may be seen here before the write is; one
    // that does not read it is seen by the writer.
    const bool all_written = state_ == State::kAnswering && complete_ && !overflowed_;
    if (!all_written) close();
    keep_alive_ = false;
    return;
  }
  buffer_.commit(num_bytes);
  if (state_ == State::kAnswering && buffer_.size() >= kMaxPipelinedBytes) {
    close();  // Reading no further would also mean not to see the client leave.
    return;
  }
  advance();
}

// Does what the bytes at hand allow, then waits for more.
void Connection::advance() {
  while (state_ == State::kIdle || state_ == State::kHead || state_ == State::kBody) {
    if (buffer_.size() == 0) break;
    if (state_ == State::kIdle) begin_request();
    if (!parse()) break;
  }
  if (state_ == State::kLingering) buffer_.consume(buffer_.size());
  read();
}

void Connection::begin_request() {
  state_ = State::kHead;
  set_busy(true);
  arrival_ = SteadyClock::now();
  method_ = path_ = "-";
  id_ = "req-" + random_hex(24);
  route_ = {};
  keep_alive_ = head_only_ = http10_ = reached_handler_ = false;
  status_ = 0;
  streaming_ = chunked_ = complete_ = false;
  sent_bytes_ = 0;
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(server_->options.max_header_bytes));
  parser_->body_limit(server_->options.max_body_bytes);
  arm(server_->options.header_timeout, &Connection::on_head_timeout);
}

bool Connection::parse() {
  parser_->eager(state_ == State::kBody);
  error_code ec;
  const std::size_t used = parser_->put(buffer_.data(), ec);
  buffer_.consume(used);
  if (ec && ec != http::error::need_more) {
    refuse(parse_error(ec, server_->options));
    return false;
  }
  if (ec && buffer_.size() == buffer_.max_size()) {
    refuse(http_error(400, "invalid_http", "A chunk's head or the trailer is too long."));
    return false;
  }
  if (state_ == State::kHead && parser_->is_header_done()) {
    if (!on_head()) return false;
  } else if (state_ == State::kBody && !on_body_bytes()) {
    return false;
  }
  if (parser_->is_done()) {
    dispatch();
    return false;  // What follows is the next request: it waits.
  }
  return !ec;
}

bool Connection::on_head() {
  const auto& head = parser_->get();
  http10_ = head.version() < 11;
  head_only_ = head.method() == http::verb::head;
  method_ = std::string(head.method_string());
  const auto given_id = head["x-request-id"];
  if (is_request_id({given_id.data(), given_id.size()})) id_ = std::string(given_id);
  if (const auto error = check_head(head.base(), server_->options.max_headers)) {
    refuse(*error);
    return false;
  }
  keep_alive_ = parser_->keep_alive();
  state_ = State::kBody;
  arm(server_->options.body_window, &Connection::on_body_window);
  const bool wants_continue = head.count(http::field::expect) != 0 && !http10_;
  if (wants_continue && !parser_->is_done() && buffer_.size() == 0) {
    send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return true;
}

bool Connection::on_body_bytes() {
  const std::size_t now = parser_->get().body().size();
  const std::size_t total = server_->total_body_bytes += now - body_bytes_;
  body_bytes_ = now;
  if (total <= server_->options.max_total_body_bytes) return true;
  refuse(unavailable("overloaded", "The server holds as many request bytes as it may."));
  return false;
}

void Connection::on_head_timeout() {
  refuse(http_error(408, "request_timeout", "The request's head did not arrive in time."));
}

void Connection::on_body_window() {
  if (body_bytes_ - body_bytes_at_window_ < server_->options.min_body_bytes_per_window) {
    refuse(http_error(408, "request_timeout", "The request's body arrives too slowly."));
    return;
  }
  body_bytes_at_window_ = body_bytes_;
  arm(server_->options.body_window, &Connection::on_body_window);
}

HttpRequest Connection::take_request() {
  auto message = parser_->release();
  parser_.reset();
  HttpRequest request;
  request.method = method_;
  request.id = id_;
  request.arrival = arrival_;
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  const auto target = message.target();
  if (!split_target({target.data(), target.size()}, message.method() == http::verb::options,
                    request)) {
    request.path.clear();
  }
  request.body = std::move(message.body());
  return request;
}

void Connection::dispatch() {
  disarm();
  HttpRequest request = take_request();
  state_ = State::kAnswering;
  if (request.path.empty()) {
    refuse(http_error(400, "invalid_http", "The request target is not a path."));
    return;
  }
  path_ = request.path;
  const auto exchange = std::make_shared<Exchange>(shared_from_this());
  exchange->self = exchange;
  exchange_ = exchange;
  reached_handler_ = true;
  server_->handler(std::move(request), exchange);
}

// Answers with an error and gives the connection up: what follows on it cannot be trusted.
void Connection::refuse(const ApiError& error) {
  disarm();
  state_ = State::kAnswering;
  exchange_.reset();
  keep_alive_ = false;
  respond(error_response(error));
}

std::string Connection::head(const HttpResponse& response, std::string_view framing) const {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string out = fmt::format("HTTP/1.1 {} {}\r\ndate: {}\r\n", response.status,
                                std::string_view(reason.data(), reason.size()), http_date());
  if (!response.content_type.empty()) out += "content-type: " + response.content_type + "\r\n";
  out += framing;
  if (!keep_alive_) {
    out += "connection: close\r\n";
  } else if (http10_) {
    out += "connection: keep-alive\r\n";
  }
  const auto add = [&out](std::string_view name, std::string_view value) {
    out.append(name).append(": ").append(value).append("\r\n");
  };
  add("x-request-id", id_);
  for (const auto& [name, value] : server_->options.response_headers)
    add(name, value);
  for (const auto& [name, value] : response.headers)
    add(name, value);
  return out + "\r\n";
}

void Connection::respond(const HttpResponse& response) {
  if (state_ != State::kAnswering || complete_ || streaming_) return;
  if (server_->draining) keep_alive_ = false;
  status_ = response.status;
  const bool has_body = response.status != 204 && response.status != 304;
  std::string data =
      head(response,
           has_body ? fmt::format("content-length: {}\r\n", response.body.size()) : std::string());
  if (has_body && !head_only_) data += response.body;
  complete_ = true;
  send(std::move(data));
}

void Connection::begin_stream(const HttpResponse& response) {
  if (state_ != State::kAnswering || complete_ || streaming_) return;
  chunked_ = !http10_;
  if (!chunked_ || server_->draining) keep_alive_ = false;
  status_ = response.status;
  streaming_ = true;
  send(head(response, chunked_ ? "transfer-encoding: chunked\r\n" : ""));
}

void Connection::write(std::string data) {
  if (state_ != State::kAnswering || complete_ || !streaming_ || data.empty() || head_only_) return;
  // A piece larger than the bound may go to a client that has taken everything before it.
  if (out_bytes_ > 0 && out_bytes_ + data.size() > server_->options.max_stream_buffer_bytes) {
    // Not here: the caller does not expect to be called back while it writes.
    complete_ = overflowed_ = true;
    asio::post(executor(), [self = shared_from_this()] { self->close(); });
    return;
  }
  send(chunked_ ? fmt::format("{:x}\r\n{}\r\n", data.size(), data) : std::move(data));
}

void Connection::end_stream() {
  if (state_ != State::kAnswering || complete_ || !streaming_) return;
  complete_ = true;
  if (chunked_ && !head_only_) {
    send("0\r\n\r\n");
  } else {
    flush();
  }
}

void Connection::send(std::string data) {
  out_bytes_ += data.size();
  sent_bytes_ += data.size();
  out_.push_back(std::move(data));
  flush();
}

void Connection::flush() {
  if (writing_ || state_ == State::kClosed) return;
  if (out_.empty()) {
    if (state_ == State::kAnswering && complete_ && !overflowed_) finish_answer();
    return;
  }
  writing_ = true;
  if (state_ == State::kAnswering) arm(server_->options.write_timeout, &Connection::close);
  std::vector<asio::const_buffer> buffers;
  for (std::size_t i = 0; i < out_.size() && i < kMaxWriteBuffers; ++i) {
    const std::size_t offset = i == 0 ? front_offset_ : 0;
    buffers.emplace_back(out_[i].data() + offset, out_[i].size() - offset);
  }
  socket_.async_write_some(
      buffers, [self = shared_from_this()](const error_code& ec, std::size_t num_bytes) {
        self->writing_ = false;
        self->run([&] { self->on_written(ec, num_bytes); });
      });
}

void Connection::on_written(const error_code& ec, std::size_t num_bytes) {
  if (state_ == State::kClosed) return;
  if (ec) {
    close();
    return;
  }
  if (state_ == State::kAnswering) disarm();
  out_bytes_ -= num_bytes;
  front_offset_ += num_bytes;
  while (!out_.empty() && front_offset_ >= out_.front().size()) {
    front_offset_ -= out_.front().size();
    out_.pop_front();
  }
  flush();
}

void Connection::finish_answer() {
  record(/*disconnected=*/false);
  exchange_.reset();
  parser_.reset();
  release_body();
  set_busy(false);
  if (keep_alive_ && !server_->draining) {
    state_ = State::kIdle;
    arm(server_->options.idle_timeout, &Connection::close);
  } else {
    // Closing with unread bytes would reset the connection and could destroy the answer on its way.
    state_ = State::kLingering;
    error_code ignored;
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
    arm(kLingerTime, &Connection::close);
  }
  advance();
}

void Connection::record(bool disconnected) {
  constexpr int kClientClosedRequest = 499;
  if (!server_->observer) return;
  server_->observer({.method = method_,
                     .path = path_,
                     .route = route_,
                     .request_id = id_,
                     .status = status_ != 0 ? status_ : kClientClosedRequest,
                     .response_bytes = sent_bytes_,
                     .duration = SteadyClock::now() - arrival_,
                     .reached_handler = reached_handler_,
                     .disconnected = disconnected});
}

}  // namespace

Status HttpServer::Impl::listen() {
  const auto failure = [this](const error_code& ec) {
    return make_status(StatusCode::kUnavailable, "cannot listen on {} port {}: {}", options.host,
                       options.port, ec.message());
  };
  error_code ec;
  asio::ip::tcp::resolver resolver(io);
  const auto found = resolver.resolve(options.host, std::to_string(options.port),
                                      asio::ip::tcp::resolver::passive, ec);
  if (ec) return failure(ec);
  asio::ip::tcp::endpoint endpoint = found.begin()->endpoint();
  for (const auto& entry : found) {  // "localhost" is 127.0.0.1 to most clients.
    if (!entry.endpoint().address().is_v4()) continue;
    endpoint = entry.endpoint();
    break;
  }
  if (acceptor.open(endpoint.protocol(), ec); ec) return failure(ec);
  if (acceptor.set_option(asio::socket_base::reuse_address(true), ec); ec) return failure(ec);
  if (acceptor.bind(endpoint, ec); ec) return failure(ec);
  if (acceptor.listen(asio::socket_base::max_listen_connections, ec); ec) return failure(ec);
  bound_port = acceptor.local_endpoint(ec).port();
  return ec ? failure(ec) : Status();
}

void HttpServer::Impl::run_threads() {
  work.emplace(asio::make_work_guard(io));
  for (std::size_t i = 0; i < options.num_io_threads; ++i) {
    threads.emplace_back([this] {
      for (;;) {
        try {
          io.run();
          return;
        } catch (const std::exception&) {  // Outside of any connection: accepting one.
          log::error("an HTTP handler failed");
        }
      }
    });
  }
}

void HttpServer::Impl::accept() {
  if (accepting || !acceptor.is_open()) return;
  {
    const std::lock_guard lock(mutex);
    if (connections.size() >= options.max_connections) return;  // forget() resumes.
  }
  accepting = true;
  acceptor.async_accept(
      asio::make_strand(io),
      [self = shared_from_this()](const error_code& ec, asio::ip::tcp::socket socket) {
        self->accepting = false;
        self->on_accept(ec, std::move(socket));
      });
}

void HttpServer::Impl::on_accept(const error_code& ec, asio::ip::tcp::socket socket) {
  if (!acceptor.is_open()) return;
  if (!ec) {
    serve(StreamSocket(std::move(socket)));
    accept();
    return;
  }
  // Mostly a lack of file descriptors: try again when some may have come back.
  accept_timer.expires_after(kAcceptRetryDelay);
  accept_timer.async_wait([self = shared_from_this()](const error_code& cancelled) {
    if (!cancelled) self->accept();
  });
}

void HttpServer::Impl::serve(StreamSocket socket) {
  const auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket));
  {
    const std::lock_guard lock(mutex);
    connections.emplace(connection.get(), connection);
  }
  asio::post(connection->executor(), [connection] { connection->start(); });
}

void HttpServer::Impl::wait_for_signal() {
  signals.async_wait([self = shared_from_this()](const error_code& ec, int) {
    if (ec) return;
    self->on_signal();
    self->wait_for_signal();
  });
}

void HttpServer::Impl::forget(Connection* connection) {
  {
    const std::lock_guard lock(mutex);
    connections.erase(connection);
  }
  if (stopped) return;
  asio::post(acceptor.get_executor(), [self = shared_from_this()] { self->accept(); });
}

void HttpServer::Impl::set_busy(bool busy) {
  const std::lock_guard lock(mutex);
  if (busy) {
    ++num_busy;
  } else if (--num_busy == 0) {
    became_quiet.notify_all();
  }
}

template <typename Action>
void HttpServer::Impl::for_each_connection(Action action) {
  std::vector<std::shared_ptr<Connection>> alive;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [key, weak] : connections) {
      if (auto connection = weak.lock()) alive.push_back(std::move(connection));
    }
  }
  for (const auto& connection : alive)
    asio::post(connection->executor(), [connection, action] { action(*connection); });
}

void HttpServer::Impl::shut_down() {
  draining = true;
  asio::post(acceptor.get_executor(), [self = shared_from_this()] {
    error_code ignored;
    self->acceptor.close(ignored);
    self->accept_timer.cancel();
    self->signals.cancel(ignored);
    // A connection accepted before the listener closed is known by now.
    self->for_each_connection([](Connection& connection) { connection.close(); });
  });
  stopped = true;  // Tasks posted from now on are dropped, so the threads come to an end.
  work.reset();
  for (std::thread& thread : threads)
    thread.join();
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  impl_->shut_down();
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpServerOptions& options,
                                                      Handler handler, Observer observer) {
  HEARTH_ASSIGN_OR_RETURN(auto server,
                          start_detached(options, std::move(handler), std::move(observer)));
  Impl& impl = *server->impl_;
  HEARTH_RETURN_IF_ERROR(impl.listen());
  asio::post(impl.acceptor.get_executor(), [self = impl.shared_from_this()] { self->accept(); });
  return server;
}

Result<std::unique_ptr<HttpServer>> HttpServer::start_detached(const HttpServerOptions& options,
                                                               Handler handler, Observer observer) {
  auto impl = std::make_shared<Impl>(options);
  impl->handler = std::move(handler);
  impl->observer = std::move(observer);
  impl->run_threads();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

std::uint16_t HttpServer::port() const {
  return impl_->bound_port;
}

std::size_t HttpServer::num_busy() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->num_busy;
}

Status HttpServer::adopt(int socket) {
  StreamSocket stream(asio::make_strand(impl_->io));
  error_code ec;
  stream.assign(asio::generic::stream_protocol(AF_UNIX, 0), socket, ec);
  if (ec) {
    return make_status(StatusCode::kInvalidArgument, "cannot serve socket {}: {}", socket,
                       ec.message());
  }
  impl_->serve(std::move(stream));
  return {};
}

void HttpServer::on_termination_signal(std::function<void()> callback) {
  impl_->on_signal = std::move(callback);
  error_code ignored;
  impl_->signals.add(SIGINT, ignored);
  impl_->signals.add(SIGTERM, ignored);
  impl_->wait_for_signal();
}

void HttpServer::stop_accepting() {
  impl_->draining = true;
  std::promise<void> closed;
  asio::post(impl_->acceptor.get_executor(), [impl = impl_, &closed] {
    error_code ignored;
    impl->acceptor.close(ignored);
    impl->accept_timer.cancel();
    impl->for_each_connection([](Connection& connection) { connection.close_if_idle(); });
    closed.set_value();
  });
  closed.get_future().wait();
}

bool HttpServer::wait_until_quiet(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(impl_->mutex);
  return impl_->became_quiet.wait_until(lock, deadline, [this] { return impl_->num_busy == 0; });
}

void HttpServer::cut_connections() {
  impl_->for_each_connection([](Connection& connection) { connection.close(); });
}

}  // namespace hearth
