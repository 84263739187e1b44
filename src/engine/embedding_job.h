// Work for an encoder: a list of token sequences that one consumer asked about, on its way through
// the embedding engine and back.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "models/encoder.h"

namespace hearth {

// One sequence, special tokens included.
struct EmbeddingInput {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> token_types;  // As many, or empty: zeros.
};

struct EmbeddingRequest {
  std::vector<EmbeddingInput> inputs;               // At least one.
  std::chrono::steady_clock::time_point arrival{};  // When the front end first saw it.
};

// How a request ended; there is exactly one per accepted request.
struct EmbeddingResult {
  // kCancelled: by its consumer; kUnavailable: shutting down; kInternal: numerical error.
  Status status;
  // [inputs, width] in the order of the inputs when ok, else empty: vectors, or raw outputs.
  std::vector<float> rows;
};

// Shared by the consumer's handle and the engine because either side may be gone first. The
// consumer may be any threads; what is the engine thread's says so.
class EmbeddingJob {
 public:
  // On the engine thread, after the result is there; at once, must not throw.
  using Notify = std::function<void()>;
  using TimePoint = std::chrono::steady_clock::time_point;

  // Sorts the inputs and makes room for `width` numbers per input, so that the engine thread
  // allocates nothing.
  EmbeddingJob(EmbeddingRequest request, std::size_t width, TimePoint queued, Notify notify);

  std::size_t num_inputs() const { return request_.inputs.size(); }
  std::size_t num_tokens() const { return num_tokens_; }
  std::size_t result_bytes() const { return result_bytes_; }
  TimePoint arrival() const { return request_.arrival; }
  TimePoint queued() const { return queued_; }

  // Consumer side. poll() and wait() hand the result out once.
  std::optional<EmbeddingResult> poll();
  EmbeddingResult wait();
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  // All below: engine thread.
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  bool ended() const { return ended_; }
  // Inputs are taken longest first: the short ones fill what the long ones leave of a batch.
  bool all_taken() const { return num_taken_ == order_.size(); }
  std::size_t next_length() const { return input(order_[num_taken_]).tokens.size(); }
  std::uint32_t take_next() { return order_[num_taken_++]; }
  const EmbeddingInput& input(std::uint32_t idx) const { return request_.inputs[idx]; }
  std::size_t num_tokens_left() const { return num_tokens_left_; }

  // True the first time: the job does not wait any more.
  bool begin() { return !std::exchange(begun_, true); }
  // The result of one taken input. True when it was the last one missing.
  bool store(std::uint32_t idx, std::span<const float> row);
  // Hands the result over. Once.
  void end(Status status);

 private:
  bool take_result(EmbeddingResult& out);

  const EmbeddingRequest request_;
  const TimePoint queued_;
  const Notify notify_;
  const std::size_t result_bytes_;
  std::size_t num_tokens_ = 0;
  std::vector<std::uint32_t> order_;
  std::atomic<bool> cancelled_ = false;

  // Engine thread.
  std::size_t num_taken_ = 0;
  std::size_t num_stored_ = 0;
  std::size_t num_tokens_left_ = 0;  // Not stored yet.
  std::vector<float> rows_;
  bool begun_ = false;
  bool ended_ = false;

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<EmbeddingResult> result_;
  bool handed_out_ = false;
};

// The consumer's end of one request. Thread-safe. Dropping it cancels the request.
class EmbeddingHandle {
 public:
  explicit EmbeddingHandle(std::shared_ptr<EmbeddingJob> job) : job_(std::move(job)) {}
  ~EmbeddingHandle() { job_->cancel(); }
  EmbeddingHandle(const EmbeddingHandle&) = delete;
  EmbeddingHandle& operator=(const EmbeddingHandle&) = delete;

  // The result, once it is there; it is handed out only once. Never blocks.
  std::optional<EmbeddingResult> poll() { return job_->poll(); }
  // The same, but waits. Not again after either has handed it out.
  EmbeddingResult wait() { return job_->wait(); }
  // Ends the request before the next batch; its result then is kCancelled unless it was complete.
  void cancel() { job_->cancel(); }

 private:
  std::shared_ptr<EmbeddingJob> job_;
};

}  // namespace hearth
