// The API server: HTTP in front, a model behind, and the life of the process between start and
// drain.
//
//   ModelPool models(pool_options, specs);
//   auto server = Server::start(options, models, metrics);  // listens; the API answers 503
//   "loading" server->stop_on_signals(); models.load("chat", {});                                //
//   ready when it is loaded server->wait();                                         // until a
//   signal came and the drain ended
//
// The order of a shutdown: /readyz turns 503; after `shutdown_grace` the listener and idle
// connections close; answers under way finish, or are cut after `shutdown_timeout` or by a second
// signal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "metrics/metrics.h"
#include "server/http_server.h"
#include "server/model_pool.h"

namespace hearth {

struct ServerOptions {
  HttpServerOptions http;
  std::size_t num_workers = 2;               // Threads that parse, render templates and tokenize.
  std::size_t max_waiting_for_worker = 256;  // Requests beyond this are refused with 503.
  std::chrono::milliseconds sse_keep_alive{
      15'000};  // Comment lines while the first token takes long.
  std::chrono::milliseconds health_probe_ttl{10'000};  // How long /healthz repeats its last answer.
  std::chrono::milliseconds shutdown_grace{0};         // Not ready, but still accepting.
  std::chrono::milliseconds shutdown_timeout{30'000};  // For answers under way.
  std::vector<std::string> allowed_hosts;              // See HostPolicy.
  std::string admin_token;  // Of the /admin endpoints. Empty: nobody may use them.
  std::string cors_origin;  // Access-Control-Allow-Origin for browsers elsewhere; empty: none.
};

// Methods may be called from any thread.
class Server {
 public:
  // Fails like HttpServer::start. `models` and `metrics` outlive the server, which closes the pool.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, ModelPool& models,
                                               Metrics& metrics);
  // Cuts what is left.
  ~Server();

  std::uint16_t port() const;

  // The first call begins the drain, a second one cuts it short.
  void request_shutdown();
  // request_shutdown() at each SIGTERM and SIGINT.
  void stop_on_signals();
  // True after the first request_shutdown(); a loading model may give up.
  bool shutting_down() const;

  // Returns when a shutdown was requested and its drain has ended.
  void wait();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
