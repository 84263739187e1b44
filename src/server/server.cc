#include "server/server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "server/api.h"

namespace hearth {
namespace {

// Paths come from clients: keep a log line one line of bounded length.
std::string loggable(std::string_view text) {
  constexpr std::size_t kMaxLength = 256;
  std::string out(text.substr(0, kMaxLength));
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

// A closed set, as label values must be.
std::string_view method_label(std::string_view method) {
  constexpr std::array<std::string_view, 4> kKnown = {"GET", "HEAD", "POST", "OPTIONS"};
  return std::ranges::find(kKnown, method) == kKnown.end() ? "other" : method;
}

bool is_probe(std::string_view route) {
  return route == "/health" || route == "/readyz" || route == "/healthz" || route == "/metrics";
}

ApiOptions api_options(const ServerOptions& options) {
  ApiOptions out;
  out.num_workers = options.num_workers;
  out.max_waiting_for_worker = options.max_waiting_for_worker;
  out.sse_keep_alive = options.sse_keep_alive;
  out.health_probe_ttl = options.health_probe_ttl;
  out.admin_token = options.admin_token;
  out.host = {.listen_host = options.http.host,
              .allowed_hosts = options.allowed_hosts,
              .cors_origin = options.cors_origin};
  return out;
}

// For the errors of failed answers to reach their clients.
constexpr std::chrono::seconds kLastWordsTime{2};

HttpServerOptions http_options(const ServerOptions& options) {
  HttpServerOptions out = options.http;
  if (!options.cors_origin.empty()) {
    out.response_headers.emplace_back("access-control-allow-origin", options.cors_origin);
    out.response_headers.emplace_back("access-control-expose-headers", "x-request-id");
  }
  return out;
}

}  // namespace

struct Server::Impl {
  Impl(const ServerOptions& server_options, ModelPool& models, Metrics& server_metrics)
      : options(server_options),
        metrics(server_metrics),
        api(std::make_unique<Api>(api_options(options), models, metrics)) {}
  ~Impl();

  void observe(const HttpRecord& record);
  void request_shutdown();

  const ServerOptions options;
  Metrics& metrics;
  std::unique_ptr<Api> api;
  std::unique_ptr<HttpServer> http;

  std::mutex mutex;
  std::condition_variable changed;
  bool shutdown_requested = false;
  bool cut_short = false;
  std::atomic<bool> cutting = false;  // Connections end because we end them.
};

// The I/O threads first: they call into the API until they have ended. Workers that are still busy
// may hold exchanges beyond that; what they answer is dropped.
Server::Impl::~Impl() {
  cutting = true;
  http.reset();
  api.reset();
}

void Server::Impl::observe(const HttpRecord& record) {
  const double seconds = std::chrono::duration<double>(record.duration).count();
  const std::string_view route = record.route.empty() ? "unknown" : record.route;
  const std::string_view method = method_label(record.method);
  metrics.http.requests.with({route, method, std::to_string(record.status)}).increment();
  metrics.http.request_duration.with({route, method}).observe(seconds);
  if (record.reached_handler) metrics.http.requests_in_flight.add(-1);
  const bool client_left = record.disconnected && !cutting;
  if (client_left) metrics.http.client_disconnects.increment();
  std::string_view end;
  if (record.disconnected) end = client_left ? " (client left)" : " (cut)";
  const log::Level level = is_probe(record.route) ? log::Level::kDebug : log::Level::kInfo;
  log::write(level, fmt::format("{} {} {} {} bytes {:.1f} ms {}{}", loggable(record.method),
                                loggable(record.path), record.status, record.response_bytes,
                                seconds * 1e3, record.request_id, end));
}

void Server::Impl::request_shutdown() {
  bool second = false;
  {
    const std::lock_guard lock(mutex);
    second = std::exchange(shutdown_requested, true);
    cut_short = second;
  }
  api->begin_drain();
  changed.notify_all();
  if (second) {
    cutting = true;
    http->cut_connections();
  }
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, ModelPool& models,
                                              Metrics& metrics) {
  auto impl = std::make_unique<Impl>(options, models, metrics);
  Impl* const raw = impl.get();
  HEARTH_ASSIGN_OR_RETURN(impl->http,
                          HttpServer::start(
                              http_options(options),
                              [raw](HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
                                raw->metrics.http.requests_in_flight.add(1);
                                raw->api->handle(std::move(request), std::move(exchange));
                              },
                              [raw](const HttpRecord& record) { raw->observe(record); }));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::uint16_t Server::port() const {
  return impl_->http->port();
}

void Server::request_shutdown() {
  impl_->request_shutdown();
}

void Server::stop_on_signals() {
  impl_->http->on_termination_signal([impl = impl_.get()] { impl->request_shutdown(); });
}

bool Server::shutting_down() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->shutdown_requested;
}

void Server::wait() {
  Impl& impl = *impl_;
  {
    std::unique_lock lock(impl.mutex);
    impl.changed.wait(lock, [&impl] { return impl.shutdown_requested; });
    log::info("shutting down: not ready any more");
    impl.changed.wait_for(lock, impl.options.shutdown_grace, [&impl] { return impl.cut_short; });
  }
  impl.http->stop_accepting();
  log::info("shutting down: {} requests under way", impl.http->num_busy());
  const auto deadline = std::chrono::steady_clock::now() + impl.options.shutdown_timeout;
  if (impl.http->wait_until_quiet(deadline)) return;
  log::warning("shutting down: failing {} requests after {} ms", impl.http->num_busy(),
               impl.options.shutdown_timeout.count());
  impl.api->fail_answers();
  if (impl.http->wait_until_quiet(std::chrono::steady_clock::now() + kLastWordsTime)) return;
  impl.cutting = true;
  impl.http->cut_connections();
}

}  // namespace hearth
