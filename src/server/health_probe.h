// A health check that means it: generates one token with the model, or has it read one.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "server/http_message.h"
#include "server/model_ref.h"

namespace hearth {

// At most one probe runs at a time, and its result is repeated for a while: however often it is
// asked, it costs next to nothing. Thread-safe. shared_ptr: the engine calls back into it.
class HealthProbe : public std::enable_shared_from_this<HealthProbe> {
 public:
  explicit HealthProbe(std::chrono::milliseconds time_to_live) : time_to_live_(time_to_live) {}

  // Answers 200 or 503, now or when the probe has ended. On the exchange's executor.
  void answer(const ModelLease& model, const std::shared_ptr<HttpExchange>& exchange);

 private:
  struct Result {
    bool healthy = false;
    std::string reason;
    std::chrono::steady_clock::time_point time{};
  };

  void start(const ModelLease& model);
  void start_encoder(const ModelLease& model);
  void refused(const ModelLease& model, const Status& status);
  void on_events();
  void on_encoded();
  void conclude(bool healthy, std::string reason);
  static HttpResponse response(const Result& result);
  static HttpResponse response_while_waiting(const ModelRef& model);

  const std::chrono::milliseconds time_to_live_;
  std::mutex mutex_;
  bool running_ = false;
  std::optional<Result> last_;
  std::vector<std::shared_ptr<HttpExchange>> waiting_;  // At most kMaxWaiting.
  std::shared_ptr<GenerationHandle> handle_;
  std::shared_ptr<EmbeddingHandle> encoder_handle_;
  ModelLease model_;  // Of the probe that runs.
};

}  // namespace hearth
