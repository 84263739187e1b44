// Sends requests to a server and times its answers. Everything runs on the thread that calls, in
// one event loop, so the server measured loses as little of the machine as possible.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "loadgen/prompts.h"
#include "loadgen/run_result.h"
#include "loadgen/target.h"

namespace hearth::loadgen {

// What a server says about itself.
struct ServerIdentity {
  std::vector<std::string> models;
  std::string server_header;    // "uvicorn"; empty: none.
  json::Value models_answer;    // Of GET /v1/models, whole.
  std::int64_t vocab_size = 0;  // Of a model, where GET /v1/models tells it; else 0.
};

struct ConnectOptions {
  Target target = {};
  std::string api_key = {};  // Sent as a bearer token; empty: none.
  std::chrono::milliseconds request_timeout{600'000};
};

// Not thread-safe; SIGINT and SIGTERM interrupt what runs while an object lives.
class LoadGenerator {
 public:
  // Finds the target's address; the server itself is not asked yet.
  static Result<std::unique_ptr<LoadGenerator>> create(const ConnectOptions& options);
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // GET /v1/models. Errors name the URL and the status.
  Result<ServerIdentity> identify();

  // One request that is not part of a measurement.
  RequestRecord try_request(Endpoint endpoint, const PlannedRequest& request);

  using Progress = std::function<void(std::size_t done)>;
  // The next request begins when one of `concurrency` has ended.
  LevelResult run_closed(Endpoint endpoint, std::span<const PlannedRequest> requests,
                         std::size_t concurrency, const Progress& progress = {});
  // Request i begins at arrivals_s[i], as many as there are arrivals.
  LevelResult run_open(Endpoint endpoint, std::span<const PlannedRequest> requests,
                       std::span<const double> arrivals_s, const Progress& progress = {});

  // A signal came; nothing more is sent.
  bool interrupted() const;

 private:
  LoadGenerator();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth::loadgen
