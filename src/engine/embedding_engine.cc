#include "engine/embedding_engine.h"

#include <pthread.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <new>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "engine/embedding_scheduler.h"
#include "engine/model_runner.h"

namespace hearth {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

Status check_input(const EmbeddingInput& input, std::size_t idx, const EncoderConfig& config,
                   std::size_t max_len) {
  if (input.tokens.empty()) {
    return make_status(StatusCode::kInvalidArgument,
                       "input {} is empty: it needs at least one token", idx);
  }
  if (input.tokens.size() > max_len) {
    return make_status(StatusCode::kOutOfRange, "input {} has {} tokens, but at most {} are read",
                       idx, input.tokens.size(), max_len);
  }
  for (const std::int32_t token : input.tokens) {
    if (token >= 0 && static_cast<std::size_t>(token) < config.vocab_size) continue;
    return make_status(StatusCode::kInvalidArgument,
                       "input {} has token {}, but the vocabulary has {} tokens", idx, token,
                       config.vocab_size);
  }
  if (input.token_types.empty() || config.num_token_types == 0) return {};
  const bool as_many = input.token_types.size() == input.tokens.size();
  const bool all_known = std::ranges::all_of(input.token_types, [&config](std::int32_t type) {
    return type >= 0 && static_cast<std::size_t>(type) < config.num_token_types;
  });
  if (as_many && all_known) return {};
  return make_status(
      StatusCode::kInvalidArgument,
      "input {} has {} token types for {} tokens, or one that is not of the {} known", idx,
      input.token_types.size(), input.tokens.size(), config.num_token_types);
}

Status check_request(const EmbeddingRequest& request, const EncoderConfig& config,
                     std::size_t max_len) {
  if (request.inputs.empty()) {
    return make_status(StatusCode::kInvalidArgument, "the request has no inputs");
  }
  for (std::size_t i = 0; i < request.inputs.size(); ++i)
    HEARTH_RETURN_IF_ERROR(check_input(request.inputs[i], i, config, max_len));
  return {};
}

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

EmbeddingOutcome outcome_of(const Status& status) {
  if (status.ok()) return EmbeddingOutcome::kDone;
  return status.code() == StatusCode::kCancelled ? EmbeddingOutcome::kCancelled
                                                 : EmbeddingOutcome::kError;
}

}  // namespace

struct EmbeddingEngine::Impl {
  Impl(std::unique_ptr<Encoder> model, const EmbeddingEngineOptions& engine_options,
       const ModelMetrics& model_metrics, const Clock& engine_clock);

  Status enqueue(std::shared_ptr<EmbeddingJob> job);
  std::unexpected<Status> reject(RejectionReason reason, Status status) const;

  // All below: engine thread.
  void run();
  bool take_new(bool wait);
  void step();
  void encode(std::span<const EmbeddingScheduler::Item> batch);
  void accept(const EmbeddingScheduler::Item& item, std::span<const float> row, TimePoint now);
  void begin(EmbeddingJob& job, TimePoint now);
  void end(EmbeddingJob& job, Status status, TimePoint now);
  void end_everything();

  const EmbeddingEngineOptions options;
  const EmbeddingMetrics& metrics;
  const RequestMetrics& request_metrics;
  const EngineMetrics& engine_metrics;
  const Clock& clock;
  const std::unique_ptr<Encoder> encoder;

  EmbeddingScheduler scheduler;
  std::vector<EncoderInput> inputs;  // Of the batch.
  std::vector<float> rows;           // [max_batch_sequences, width]

  mutable std::mutex mutex;
  std::condition_variable arrived;
  std::vector<std::shared_ptr<EmbeddingJob>> pending;  // Submitted, not seen by the thread.
  bool draining = false;
  bool closed = false;
  std::size_t num_waiting = 0;  // Requests with nothing computed.
  std::size_t num_live = 0;
  std::size_t num_tokens_left = 0;  // Of all live requests, as the next.
  std::size_t result_bytes = 0;
  TimePoint last_step;

  std::vector<std::shared_ptr<EmbeddingJob>> inbox;  // Engine thread: taken from `pending`.

  std::mutex stop_mutex;  // Held to join the thread.
  std::thread thread;
};

EmbeddingEngine::Impl::Impl(std::unique_ptr<Encoder> model,
                            const EmbeddingEngineOptions& engine_options,
                            const ModelMetrics& model_metrics, const Clock& engine_clock)
    : options(engine_options),
      metrics(model_metrics.embedding),
      request_metrics(model_metrics.request),
      engine_metrics(model_metrics.engine),
      clock(engine_clock),
      encoder(std::move(model)),
      scheduler(encoder->limits()),
      rows(encoder->limits().max_batch_sequences * encoder->config().width),
      last_step(clock.now()) {
  inputs.reserve(encoder->limits().max_batch_sequences);
  thread = std::thread([this] { run(); });
}

Status EmbeddingEngine::Impl::enqueue(std::shared_ptr<EmbeddingJob> job) {
  const TimePoint now = clock.now();
  {
    const std::lock_guard lock(mutex);
    if (draining || closed) {
      return Status(StatusCode::kUnavailable, "the server is shutting down");
    }
    if (num_waiting >= options.max_queued_requests) {
      return make_status(StatusCode::kResourceExhausted,
                         "the queue is full: {} requests are waiting, and {} are allowed",
                         num_waiting, options.max_queued_requests);
    }
    if (num_live > 0 && num_tokens_left + job->num_tokens() > options.max_queued_tokens) {
      return make_status(StatusCode::kResourceExhausted,
                         "the queue is full: {} tokens are waiting, this request has {}, and {} "
                         "are allowed",
                         num_tokens_left, job->num_tokens(), options.max_queued_tokens);
    }
    if (num_live > 0 && result_bytes + job->result_bytes() > options.max_result_bytes) {
      return make_status(StatusCode::kResourceExhausted,
                         "the results of all requests would take {} bytes, and {} are allowed",
                         result_bytes + job->result_bytes(), options.max_result_bytes);
    }
    if (num_live == 0) last_step = now;
    ++num_waiting;
    ++num_live;
    num_tokens_left += job->num_tokens();
    result_bytes += job->result_bytes();
    pending.push_back(std::move(job));
    metrics.requests_waiting.add(1);
  }
  arrived.notify_one();
  return {};
}

std::unexpected<Status> EmbeddingEngine::Impl::reject(RejectionReason reason, Status status) const {
  request_metrics.rejected[reason].increment();
  return std::unexpected(std::move(status));
}

void EmbeddingEngine::Impl::run() {
  ::pthread_setname_np(::pthread_self(), "hearth-embed");
  while (take_new(/*wait=*/!scheduler.has_work())) {
    const TimePoint now = clock.now();
    for (const auto& job : scheduler.remove_leavers()) {
      if (!job->ended()) end(*job, Status(StatusCode::kCancelled, "the client left"), now);
    }
    if (scheduler.has_work()) step();
  }
  end_everything();
}

// False once the engine was closed.
bool EmbeddingEngine::Impl::take_new(bool wait) {
  {
    std::unique_lock lock(mutex);
    if (wait) arrived.wait(lock, [this] { return closed || !pending.empty(); });
    inbox.swap(pending);
    if (closed) return false;
  }
  for (auto& job : inbox)
    scheduler.add(std::move(job));
  inbox.clear();
  return true;
}

void EmbeddingEngine::Impl::step() {
  const TimePoint start = clock.now();
  const std::span<EmbeddingScheduler::Item> batch = scheduler.next_batch();
  std::size_t num_tokens = 0;
  for (const EmbeddingScheduler::Item& item : batch)
    num_tokens += item.num_tokens;
  for (const EmbeddingScheduler::Item& item : batch)
    begin(*item.job, start);
  Status failure;
  try {
    encode(batch);
  } catch (const std::bad_alloc&) {
    failure = out_of_memory();
  }
  if (failure.ok() && options.weights_intact) failure = options.weights_intact();
  const TimePoint now = clock.now();
  const std::size_t width = encoder->config().width;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (failure.ok()) {
      accept(batch[i], std::span(rows).subspan(i * width, width), now);
    } else if (!batch[i].job->ended()) {
      end(*batch[i].job, failure, now);
    }
    batch[i].job.reset();  // A result that was taken goes with its consumer.
  }
  {
    const std::lock_guard lock(mutex);
    last_step = now;
  }
  metrics.texts.increment(static_cast<double>(batch.size()));
  metrics.tokens.increment(static_cast<double>(num_tokens));
  metrics.batch_texts.observe(static_cast<double>(batch.size()));
  metrics.batch_tokens.observe(static_cast<double>(num_tokens));
  metrics.batch_duration.observe(seconds_between(start, now));
}

void EmbeddingEngine::Impl::encode(std::span<const EmbeddingScheduler::Item> batch) {
  inputs.clear();
  for (const EmbeddingScheduler::Item& item : batch) {
    const EmbeddingInput& input = item.job->input(item.input);
    inputs.push_back({.tokens = input.tokens, .token_types = input.token_types});
  }
  const std::size_t width = encoder->config().width;
  encoder->encode(inputs, {rows.data(), batch.size(), width, width});
}

void EmbeddingEngine::Impl::accept(const EmbeddingScheduler::Item& item, std::span<const float> row,
                                   TimePoint now) {
  EmbeddingJob& job = *item.job;
  if (job.ended()) return;
  if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); })) {
    engine_metrics.numerical_errors.increment();
    end(job,
        make_status(StatusCode::kInternal,
                    "numerical_error: the model's output for input {} is not a number", item.input),
        now);
    return;
  }
  {
    const std::lock_guard lock(mutex);
    num_tokens_left -= item.num_tokens;
  }
  if (job.store(item.input, row)) end(job, {}, now);
}

void EmbeddingEngine::Impl::begin(EmbeddingJob& job, TimePoint now) {
  if (!job.begin()) return;
  metrics.queue_time.observe(seconds_between(job.queued(), now));
  metrics.requests_waiting.add(-1);
  const std::lock_guard lock(mutex);
  --num_waiting;
}

void EmbeddingEngine::Impl::end(EmbeddingJob& job, Status status, TimePoint now) {
  metrics.finished[outcome_of(status)].increment();
  metrics.request_duration.observe(seconds_between(job.arrival(), now));
  begin(job, now);  // What never began does not wait any more either.
  {
    const std::lock_guard lock(mutex);
    --num_live;
    num_tokens_left -= job.num_tokens_left();
    result_bytes -= job.result_bytes();
  }
  job.end(std::move(status));
}

void EmbeddingEngine::Impl::end_everything() {
  const TimePoint now = clock.now();
  const Status status(StatusCode::kUnavailable, "the server is shutting down");
  for (const auto& job : inbox)
    end(*job, status, now);
  inbox.clear();
  for (const auto& job : scheduler.remove_all()) {
    if (!job->ended()) end(*job, status, now);
  }
}

EmbeddingEngine::EmbeddingEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EmbeddingEngine::~EmbeddingEngine() {
  stop();
}

Result<std::unique_ptr<EmbeddingEngine>> EmbeddingEngine::start(
    std::unique_ptr<Encoder> encoder, const EmbeddingEngineOptions& options,
    const ModelMetrics& metrics, const Clock& clock) {
  const EncoderLimits& limits = encoder->limits();
  const std::size_t most = encoder->config().max_tokens;
  EmbeddingEngineOptions resolved = options;
  if (resolved.max_model_len == 0) resolved.max_model_len = most;
  if (resolved.max_model_len > most) {
    return error(StatusCode::kOutOfRange, "max_model_len is {}, but the model reads at most {}",
                 resolved.max_model_len, most);
  }
  if (limits.max_batch_tokens < resolved.max_model_len || limits.max_batch_sequences == 0) {
    return error(StatusCode::kInvalidArgument,
                 "a batch takes {} tokens of {} texts, but a text may have {} tokens",
                 limits.max_batch_tokens, limits.max_batch_sequences, resolved.max_model_len);
  }
  return std::unique_ptr<EmbeddingEngine>(
      new EmbeddingEngine(std::make_unique<Impl>(std::move(encoder), resolved, metrics, clock)));
}

Result<std::shared_ptr<EmbeddingHandle>> EmbeddingEngine::submit(EmbeddingRequest request,
                                                                 Notify notify) {
  if (Status status = check_request(request, config(), max_model_len()); !status.ok()) {
    const bool too_long = status.code() == StatusCode::kOutOfRange;
    return impl_->reject(too_long ? RejectionReason::kTooLong : RejectionReason::kInvalid,
                         std::move(status));
  }
  auto job = std::make_shared<EmbeddingJob>(std::move(request), config().width, impl_->clock.now(),
                                            std::move(notify));
  if (Status status = impl_->enqueue(job); !status.ok()) {
    const bool is_full = status.code() == StatusCode::kResourceExhausted;
    return impl_->reject(is_full ? RejectionReason::kQueueFull : RejectionReason::kUnavailable,
                         std::move(status));
  }
  return std::make_shared<EmbeddingHandle>(std::move(job));
}

EmbeddingEngineStatus EmbeddingEngine::status() const {
  const TimePoint now = impl_->clock.now();
  const std::lock_guard lock(impl_->mutex);
  EmbeddingEngineStatus status;
  status.since_last_step = now - impl_->last_step;
  status.num_requests = impl_->num_live;
  status.healthy = impl_->num_live == 0 || status.since_last_step <= impl_->options.unhealthy_after;
  return status;
}

const EncoderConfig& EmbeddingEngine::config() const {
  return impl_->encoder->config();
}

std::size_t EmbeddingEngine::max_model_len() const {
  return impl_->options.max_model_len;
}

void EmbeddingEngine::stop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closed = true;
  }
  impl_->arrived.notify_one();
  const std::lock_guard lock(impl_->stop_mutex);
  if (impl_->thread.joinable()) impl_->thread.join();
}

void EmbeddingEngine::drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
}

bool EmbeddingEngine::idle() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->num_live == 0;
}

}  // namespace hearth
