// The engine of encoders: one thread that owns the model and its device, with texts of all requests
// batched together. Requests in, one result out for each.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "engine/embedding_job.h"
#include "metrics/metrics.h"
#include "models/encoder.h"

namespace hearth {

struct EmbeddingEngineOptions {
  std::size_t max_model_len = 0;          // Tokens of one sequence; 0: what the model reads.
  std::size_t max_queued_requests = 256;  // Of which nothing was computed yet; more are refused.
  // Not computed yet, of all requests; beyond it they are refused. One request alone is always
  // taken.
  std::size_t max_queued_tokens = std::size_t{1} << 22;
  // Of the results of all requests that have not ended; likewise.
  std::size_t max_result_bytes = std::size_t{1} << 28;
  // Asked after each batch, before its results count; see EngineOptions.
  std::function<Status()> weights_intact = {};
  // With work to do and no batch ended for this long, the engine calls itself unhealthy.
  std::chrono::seconds unhealthy_after{120};
};

struct EmbeddingEngineStatus {
  bool healthy = true;  // False when there is work and no batch has ended for too long.
  std::chrono::steady_clock::duration since_last_step{};  // Or since work came to an idle engine.
  std::size_t num_requests = 0;                           // Not ended.
};

// Methods may be called from any thread.
class EmbeddingEngine {
 public:
  using Notify = EmbeddingJob::Notify;

  // Takes the encoder, whose limits are the batch's: max_batch_tokens is at least the longest
  // sequence. `metrics` and `clock` outlive the engine. kOutOfRange when the model does not read so
  // many tokens; kInvalidArgument when its limits contradict the options.
  static Result<std::unique_ptr<EmbeddingEngine>> start(std::unique_ptr<Encoder> encoder,
                                                        const EmbeddingEngineOptions& options,
                                                        const ModelMetrics& metrics,
                                                        const Clock& clock = system_clock());
  // As stop(). Handles may live on.
  ~EmbeddingEngine();

  // Queues a request. `notify` is called on the engine thread when its result is there. Refused at
  // once, with limits and values in the message: kInvalidArgument (no inputs, an empty one, a token
  // outside the vocabulary), kOutOfRange (longer than the model can read), kResourceExhausted (the
  // queue is full), kUnavailable (draining).
  Result<std::shared_ptr<EmbeddingHandle>> submit(EmbeddingRequest request, Notify notify);

  EmbeddingEngineStatus status() const;
  const EncoderConfig& config() const;
  std::size_t max_model_len() const;

  // Refuses requests from now on and fails those that are left with kUnavailable; returns when each
  // has its result. Repeating it has no effect. Not from within Notify.
  void stop();
  // Stops accepting. What is queued goes on.
  void drain();
  bool idle() const;

 private:
  struct Impl;
  explicit EmbeddingEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
