// A health check that means it: generates one token with the model, or has it read one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/http_message.h"
#include "server/model_ref.h"

namespace hearth {

// Of one model. At most one probe runs at a time, and its result is repeated for a while: however
// often it is asked, it costs next to nothing. Thread-safe. shared_ptr: the engine calls back into
// it.
class HealthProbe : public std::enable_shared_from_this<HealthProbe> {
 public:
  explicit HealthProbe(std::chrono::milliseconds time_to_live) : time_to_live_(time_to_live) {}

  using OnResult = std::function<void(const std::optional<ApiError>& problem)>;
  // Calls back now or, on whatever thread, when the probe has ended.
  void ask(const ModelLease& model, const OnResult& on_result);

 private:
  struct Result {
    std::optional<ApiError> problem;
    std::chrono::steady_clock::time_point time{};
  };

  void start(const ModelLease& model);
  void start_encoder(const ModelLease& model);
  void refused(const ModelLease& model, const Status& status);
  void on_events();
  void on_encoded();
  void conclude(bool healthy, std::string reason);

  const std::chrono::milliseconds time_to_live_;
  std::mutex mutex_;
  bool running_ = false;
  std::optional<Result> last_;
  std::vector<OnResult> waiting_;  // At most kMaxWaiting.
  std::shared_ptr<GenerationHandle> handle_;
  std::shared_ptr<EmbeddingHandle> encoder_handle_;
  ModelLease model_;  // Of the probe that runs.
};

// Of all models of a server. Thread-safe.
class HealthProbes {
 public:
  explicit HealthProbes(std::chrono::milliseconds time_to_live) : time_to_live_(time_to_live) {}

  // Answers 200 when all of `models` are well, else 503 with what ails the first one, now or when
  // their probes have ended. On the exchange's executor.
  void answer(const std::vector<ModelLease>& models, const std::shared_ptr<HttpExchange>& exchange);

 private:
  struct Probed {
    std::int64_t created = 0;  // Of the model: a newly loaded one may be in better health.
    std::shared_ptr<HealthProbe> probe;
  };
  std::shared_ptr<HealthProbe> probe_of(const ModelRef& model);

  const std::chrono::milliseconds time_to_live_;
  std::mutex mutex_;
  std::map<std::string, Probed> probes_;  // By the model's name.
};

}  // namespace hearth
