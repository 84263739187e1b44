#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <utility>

#include "engine/active_request.h"
#include "engine/model_runner.h"
#include "engine/ngram_proposer.h"
#include "engine/request_channel.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"
#include "engine/step_pacer.h"
#include "kv/block_pool.h"
#include "kv/kv_storage.h"
#include "sampling/sampler.h"

namespace hearth {
namespace {

// Logit rows of a step beyond one per running sequence: they bound the memory of prompt logprobs
// and of guesses.
constexpr std::size_t kExtraLogitRows = 32;

// The consumer's end. Shares the channel and the command queue with the engine because either side
// may be gone first.
class Handle final : public GenerationHandle {
 public:
  Handle(std::shared_ptr<RequestChannel> channel, std::shared_ptr<CommandQueue> commands,
         RequestId id, std::uint32_t num_choices)
      : channel_(std::move(channel)),
        commands_(std::move(commands)),
        id_(id),
        ended_choices_(num_choices) {}
  ~Handle() override { send_cancel(); }

  bool poll(std::vector<GenerationEvent>& events) override { return channel_->poll(events); }
  bool wait(std::vector<GenerationEvent>& events) override { return channel_->wait(events); }
  void cancel() override { send_cancel(); }

  void end_choice(std::uint32_t choice) override {
    if (choice >= ended_choices_.size() || channel_->ended()) return;
    if (ended_choices_[choice].exchange(true)) return;
    commands_->send(EndChoiceCommand{{id_, choice}});
  }

 private:
  void send_cancel() {
    if (channel_->ended() || cancelled_.exchange(true)) return;
    commands_->send(CancelCommand{id_});
  }

  std::shared_ptr<RequestChannel> channel_;
  std::shared_ptr<CommandQueue> commands_;
  const RequestId id_;
  std::atomic<bool> cancelled_ = false;
  std::vector<std::atomic<bool>> ended_choices_;
};

struct EngineParts {
  EngineOptions options;
  RequestContext context;
  std::unique_ptr<Model> model;
  ModelRunner runner;
  KvStorage kv;
  MemoryBudget memory;
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineParts parts, const Clock& clock);
  ~EngineImpl() override;

  Result<std::shared_ptr<GenerationHandle>> submit(GenerationRequest request,
                                                   Notify notify) override;
  EngineStatus status() const override;
  std::size_t max_model_len() const override { return options_.max_model_len; }
  std::size_t max_queued_requests() const override { return options_.max_queued_requests; }
  const ModelConfig& model_config() const override { return model_->config(); }
  const MemoryBudget& memory() const override { return memory_; }
  void stop() override;
  void drain() override { commands_->drain(); }
  bool idle() const override { return commands_->idle(); }

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  Status check(const GenerationRequest& request) const;
  std::unexpected<Status> reject(RejectionReason reason, Status status) const;

  // All below: engine thread.
  void run();
  void apply(Command& command);
  void try_step();
  void step();
  void collect_tasks(const StepPlan& plan, ConstMatrixView logits);
  void check_or_sample(const ScheduledSequence& scheduled, ConstMatrixView rows);
  void check_weights();
  void accept_results(const StepPlan& plan, TimePoint now);
  void accept_tokens(SampleTask& task, TimePoint now);
  void finish_choice(const SequenceId& id, TimePoint now);
  void fail(RequestId id, Status status, TimePoint now);
  void fail_after_bad_alloc();
  void end(RequestId id, GenerationEvent terminal, TimePoint now);
  void end_everything();
  void publish_state();
  void forget_state();
  void deliver_events();
  ActiveRequest* find(RequestId id);

  const EngineOptions options_;
  const RequestContext context_;
  const MemoryBudget memory_;
  const ModelMetrics& metrics_;
  const Clock& clock_;
  const std::unique_ptr<Model> model_;
  const std::shared_ptr<CommandQueue> commands_;

  ModelRunner runner_;
  KvStorage kv_;
  BlockPool pool_;
  Scheduler scheduler_;  // Its check_fits() is for every thread.
  StepPacer pacer_;
  std::unordered_map<RequestId, std::unique_ptr<ActiveRequest>> active_;
  std::vector<std::unique_ptr<ActiveRequest>> ended_;  // Their last events are not delivered yet.
  std::vector<Command> inbox_;
  Speculation speculation_;
  std::vector<SampleTask> tasks_;
  std::vector<PickedToken> picks_;      // [logit rows of a step]
  std::vector<std::int32_t> accepted_;  // Scratch of accept_tokens().
  std::vector<std::pair<RequestId, Status>> failures_;
  std::vector<RequestId> stepped_;  // With a part in the last step.

  mutable std::mutex state_mutex_;
  EngineStatus state_;  // As of the last step.

  std::mutex stop_mutex_;  // Held to join the thread.
  std::thread thread_;
};

// As sampling sees it: minus infinity rules a token out, NaN and plus infinity are errors.
bool is_usable(float logit) {
  return logit < std::numeric_limits<float>::infinity();
}

std::size_t max_num_logit_rows(const EngineOptions& options) {
  return options.max_num_seqs + kExtraLogitRows;
}

std::unique_ptr<DraftProposer> make_proposer(const EngineOptions& options) {
  if (options.speculation == SpeculationMethod::kOff) return nullptr;
  return std::make_unique<NgramProposer>();
}

SchedulerOptions scheduler_options(const EngineOptions& options) {
  return {.max_model_len = options.max_model_len,
          .max_num_seqs = options.max_num_seqs,
          .max_num_batched_tokens = options.max_num_batched_tokens,
          .max_num_logit_rows = max_num_logit_rows(options),
          .max_draft_tokens = options.max_draft_tokens,
          .prefix_cache = options.prefix_cache,
          .hash_key = BlockHasher::random_key()};
}

EngineImpl::EngineImpl(EngineParts parts, const Clock& clock)
    : options_(parts.options),
      context_(std::move(parts.context)),
      memory_(parts.memory),
      metrics_(*context_.metrics),
      clock_(clock),
      model_(std::move(parts.model)),
      commands_(std::make_shared<CommandQueue>(options_.max_queued_requests, clock)),
      runner_(std::move(parts.runner)),
      kv_(std::move(parts.kv)),
      pool_(kv_.shape().num_blocks, kv_.shape().block_size),
      scheduler_(scheduler_options(options_), pool_),
      pacer_(options_.target_step_time),
      speculation_(make_proposer(options_), options_.max_draft_tokens, options_.max_num_seqs),
      picks_(max_num_logit_rows(options_)) {
  tasks_.reserve(options_.max_num_seqs);
  accepted_.reserve(options_.max_draft_tokens + 1);
  stepped_.reserve(options_.max_num_seqs);
  const MemoryMetrics& memory = metrics_.memory;
  memory.bytes[MemoryKind::kWeights].set(static_cast<double>(memory_.weight_bytes));
  memory.bytes[MemoryKind::kActivations].set(static_cast<double>(memory_.activation_bytes));
  memory.kv_cache_info.with({std::string(kv_cache_dtype_name(options_.kv_cache_dtype))}).set(1);
  memory.bytes[MemoryKind::kKvCache].set(static_cast<double>(memory_.kv_cache_bytes));
  publish_state();
  thread_ = std::thread([this] { run(); });
}

EngineImpl::~EngineImpl() {
  stop();
  forget_state();
}

// A model that is not in memory takes none.
void EngineImpl::forget_state() {
  const MemoryMetrics& memory = metrics_.memory;
  for (const MemoryKind kind :
       {MemoryKind::kWeights, MemoryKind::kActivations, MemoryKind::kKvCache}) {
    memory.bytes[kind].set(0);
  }
  for (const KvBlockState state :
       {KvBlockState::kInUse, KvBlockState::kCached, KvBlockState::kFree})
    memory.kv_blocks[state].set(0);
  memory.kv_cache_info.with({kv_cache_dtype_name(options_.kv_cache_dtype)}).set(0);
  metrics_.engine.last_step_age.set(0);
}

void EngineImpl::stop() {
  commands_->close();
  const std::lock_guard lock(stop_mutex_);
  if (thread_.joinable()) thread_.join();
}

Status EngineImpl::check(const GenerationRequest& request) const {
  if (request.prompt.empty()) {
    return make_status(StatusCode::kInvalidArgument,
                       "the prompt is empty: it needs at least one token");
  }
  if (request.num_choices == 0) {
    return make_status(StatusCode::kInvalidArgument,
                       "the number of choices must be at least 1, not 0");
  }
  for (const std::int32_t token : request.prompt) {
    if (token >= 0 && static_cast<std::size_t>(token) < context_.vocab_size) continue;
    return make_status(StatusCode::kInvalidArgument,
                       "the prompt has token {}, but the vocabulary has {} tokens", token,
                       context_.vocab_size);
  }
  return check_sampling_params(request.sampling, context_.vocab_size);
}

std::unexpected<Status> EngineImpl::reject(RejectionReason reason, Status status) const {
  metrics_.request.rejected[reason].increment();
  return std::unexpected(std::move(status));
}

Result<std::shared_ptr<GenerationHandle>> EngineImpl::submit(GenerationRequest request,
                                                             Notify notify) {
  if (Status status = check(request); !status.ok()) {
    return reject(RejectionReason::kInvalid, std::move(status));
  }
  Status fits = scheduler_.check_fits({request.prompt.size(), request.max_tokens});
  if (!fits.ok()) return reject(RejectionReason::kTooLong, std::move(fits));
  const std::uint32_t num_choices = request.num_choices;
  auto channel = std::make_shared<RequestChannel>(std::move(notify));
  auto active = std::make_unique<ActiveRequest>(context_, std::move(request), channel);
  const Result<RequestId> id = commands_->submit(std::move(active));
  if (!id.has_value()) {
    const bool is_full = id.error().code() == StatusCode::kResourceExhausted;
    return reject(is_full ? RejectionReason::kQueueFull : RejectionReason::kUnavailable,
                  id.error());
  }
  return std::make_shared<Handle>(std::move(channel), commands_, *id, num_choices);
}

EngineStatus EngineImpl::status() const {
  const CommandQueue::Progress progress = commands_->progress();
  const std::lock_guard lock(state_mutex_);
  EngineStatus status = state_;
  status.since_last_step = progress.since_last_step;
  status.healthy = !progress.has_work || progress.since_last_step <= options_.unhealthy_after;
  return status;
}

void EngineImpl::run() {
  ::pthread_setname_np(::pthread_self(), "hearth-engine");
  bool was_idle = true;
  while (commands_->take(inbox_, /*wait=*/!scheduler_.has_work())) {
    for (Command& command : inbox_)
      apply(command);
    inbox_.clear();
    if (!ended_.empty()) {  // A cancelled request does not wait for the next step.
      publish_state();
      deliver_events();
    }
    if (scheduler_.has_work()) try_step();
    if (!scheduler_.has_work() && !was_idle) {
      HEARTH_CHECK(scheduler_.check_integrity().ok() && pool_.stats().in_use == 0);
    }
    was_idle = !scheduler_.has_work();
    publish_state();
    deliver_events();
  }
  end_everything();
}

void EngineImpl::apply(Command& command) {
  if (auto* submit = std::get_if<SubmitCommand>(&command)) {
    const RequestId id = submit->request->id();
    const SchedulerRequest spec = submit->request->scheduler_request();
    active_.emplace(id, std::move(submit->request));
    try {
      scheduler_.add(spec);
    } catch (const std::bad_alloc&) {
      fail(id, out_of_memory(), clock_.now());
    }
  } else if (const auto* cancel = std::get_if<CancelCommand>(&command)) {
    end(cancel->id, RequestCancelled{}, clock_.now());
  } else if (const auto* ended = std::get_if<EndChoiceCommand>(&command)) {
    ActiveRequest* request = find(ended->id.request);
    if (request == nullptr) return;
    request->end_choice(ended->id.choice);
    finish_choice(ended->id, clock_.now());
  }
}

ActiveRequest* EngineImpl::find(RequestId id) {
  const auto found = active_.find(id);
  return found == active_.end() ? nullptr : found->second.get();
}

// Without memory the requests that need it end, and the process goes on.
void EngineImpl::try_step() {
  try {
    step();
  } catch (const std::bad_alloc&) {
    fail_after_bad_alloc();
  }
}

void EngineImpl::step() {
  const TimePoint start = clock_.now();
  speculation_.propose(scheduler_);
  const StepPlan& plan = scheduler_.schedule(pacer_.max_tokens());
  for (const RequestId id : plan.admitted) {
    find(id)->admitted(start);
    commands_->leave_queue();
  }
  for (const PrefixCacheHit& hit : plan.cache_hits)
    find(hit.id)->add_cached_tokens(hit.num_tokens);
  collect_tasks(plan, runner_.forward(plan, kv_));
  ModelRunner::sample(tasks_, options_.host_threads);
  check_weights();
  const TimePoint now = clock_.now();
  accept_results(plan, now);
  commands_->note_step();
  pacer_.note(plan.num_tokens, now - start);

  const EngineMetrics& metrics = metrics_.engine;
  metrics.step_tokens.observe(static_cast<double>(plan.num_tokens));
  metrics.step_sequences.observe(static_cast<double>(plan.sequences.size()));
  metrics.step_duration.observe(std::chrono::duration<double>(now - start).count());
  metrics.preemptions.increment(static_cast<double>(plan.num_preempted));
  metrics.draft_tokens.increment(static_cast<double>(plan.num_draft_tokens));
}

void EngineImpl::collect_tasks(const StepPlan& plan, ConstMatrixView logits) {
  tasks_.clear();
  failures_.clear();
  stepped_.clear();
  std::size_t first_row = 0;
  for (const ScheduledSequence& scheduled : plan.sequences) {
    stepped_.push_back(scheduled.id.request);
    const std::size_t num_rows = scheduled.num_logit_rows;
    if (num_rows == 0) continue;
    check_or_sample(scheduled, {logits.row(first_row), num_rows, logits.cols, logits.stride});
    if (!tasks_.empty() && tasks_.back().id == scheduled.id) {
      tasks_.back().picks = std::span(picks_).subspan(first_row, num_rows);
    }
    first_row += num_rows;
  }
}

// What a sequence's logits are for: the log-probabilities of its prompt, its next tokens, or only
// to see that they are numbers.
void EngineImpl::check_or_sample(const ScheduledSequence& scheduled, ConstMatrixView rows) {
  const RequestId id = scheduled.id.request;
  ActiveRequest& request = *find(id);
  if (Status status = request.add_prompt_logits(rows); !status.ok()) {
    failures_.emplace_back(id, std::move(status));
    return;
  }
  if (scheduled.caught_up && !request.wants_no_tokens()) {
    const std::size_t num_draft = scheduled.num_draft_tokens;
    SampleTask task = request.sample_task(scheduled.id.choice);
    task.logits = {rows.row(rows.rows - 1 - num_draft), num_draft + 1, context_.vocab_size,
                   rows.stride};
    task.draft = scheduled.tokens.last(num_draft);
    tasks_.push_back(std::move(task));
    return;
  }
  const std::span<const float> last(rows.row(rows.rows - 1), context_.vocab_size);
  if (std::ranges::all_of(last, is_usable)) return;
  failures_.emplace_back(
      id, make_status(StatusCode::kInternal, "numerical_error: a logit is not a number"));
}

// What was computed with other weights than the model's is nobody's answer.
void EngineImpl::check_weights() {
  if (!options_.weights_intact) return;
  const Status status = options_.weights_intact();
  if (status.ok()) return;
  for (const auto& [id, request] : active_)
    failures_.emplace_back(id, status);
}

void EngineImpl::accept_results(const StepPlan& plan, TimePoint now) {
  // Whose numbers are wrong leaves before the blocks of the rest get their names in the cache.
  for (SampleTask& task : tasks_) {
    ActiveRequest* request = task.status.ok() ? nullptr : find(task.id.request);
    if (request == nullptr) continue;
    request->accept_tokens(task, now);
    fail(task.id.request, task.status, now);
  }
  for (auto& [id, status] : failures_)
    fail(id, std::move(status), now);
  scheduler_.commit();
  for (const ScheduledSequence& scheduled : plan.sequences) {
    ActiveRequest* request = scheduled.completes_prompt ? find(scheduled.id.request) : nullptr;
    if (request == nullptr) continue;
    request->complete_prompt();
    if (!request->wants_no_tokens()) continue;
    request->finish_without_tokens();
    end(scheduled.id.request, RequestFinished{}, now);
  }
  for (SampleTask& task : tasks_)
    accept_tokens(task, now);
}

void EngineImpl::accept_tokens(SampleTask& task, TimePoint now) {
  ActiveRequest* request = find(task.id.request);
  if (request == nullptr) return;  // It failed in this step.
  speculation_.record(task.id, task.draft.size(), task.num_right);
  metrics_.engine.accepted_draft_tokens.increment(static_cast<double>(task.num_right));
  const std::size_t num_accepted = request->accept_tokens(task, now);
  accepted_.clear();
  for (const PickedToken& pick : task.picks.first(num_accepted))
    accepted_.push_back(pick.id);
  if (!accepted_.empty()) scheduler_.append_tokens(task.id, accepted_);
  if (!request->is_open(task.id.choice)) finish_choice(task.id, now);
}

// Its choice has ended in the request already.
void EngineImpl::finish_choice(const SequenceId& id, TimePoint now) {
  scheduler_.finish(id);
  speculation_.end(id);
  if (find(id.request)->all_choices_ended()) end(id.request, RequestFinished{}, now);
}

void EngineImpl::fail(RequestId id, Status status, TimePoint now) {
  if (find(id) == nullptr) return;  // Another choice of it failed in this step.
  if (status.code() == StatusCode::kInternal) metrics_.engine.numerical_errors.increment();
  scheduler_.discard(id);
  end(id, RequestFailed{std::move(status)}, now);
}

// Whose allocation failed is not known: it may be any of those that run, or the next that would.
void EngineImpl::fail_after_bad_alloc() {
  const auto was_admitted = [this](const auto& entry) {
    return scheduler_.was_admitted(entry.first);
  };
  const TimePoint now = clock_.now();
  auto running = std::ranges::find_if(active_, was_admitted);
  if (running == active_.end()) {
    const auto next =
        std::ranges::min_element(active_, {}, [](const auto& entry) { return entry.first; });
    if (next != active_.end()) fail(next->first, out_of_memory(), now);
    return;
  }
  for (; running != active_.end(); running = std::ranges::find_if(active_, was_admitted))
    fail(running->first, out_of_memory(), now);
}

// Ends a request that has not ended yet.
void EngineImpl::end(RequestId id, GenerationEvent terminal, TimePoint now) {
  const auto found = active_.find(id);
  if (found == active_.end()) return;
  std::unique_ptr<ActiveRequest> request = std::move(found->second);
  active_.erase(found);
  scheduler_.cancel(id);
  for (std::uint32_t choice = 0; choice < request->request().num_choices; ++choice)
    speculation_.end({id, choice});
  if (!request->was_admitted()) commands_->leave_queue();
  request->end(std::move(terminal), now);
  commands_->end_request();
  ended_.push_back(std::move(request));
}

void EngineImpl::end_everything() {
  for (Command& command : inbox_)
    apply(command);
  inbox_.clear();
  while (!active_.empty()) {
    end(active_.begin()->first,
        RequestFailed{make_status(StatusCode::kUnavailable, "the server is shutting down")},
        clock_.now());
  }
  HEARTH_CHECK(scheduler_.check_integrity().ok() && pool_.stats().in_use == 0);
  publish_state();
  stepped_.clear();
  deliver_events();
}

void EngineImpl::publish_state() {
  const BlockPool::Stats blocks = pool_.stats();
  const std::size_t num_running = scheduler_.num_running_requests();
  const std::size_t num_waiting = scheduler_.num_waiting_requests();
  {
    const std::lock_guard lock(state_mutex_);
    state_.num_running = num_running;
    state_.num_waiting = num_waiting;
    state_.kv_blocks_total = blocks.total;
    state_.kv_blocks_in_use = blocks.in_use;
    state_.kv_blocks_cached = blocks.cached;
  }
  metrics_.engine.requests_running.set(static_cast<double>(num_running));
  metrics_.engine.requests_waiting.set(static_cast<double>(num_waiting));
  const MemoryMetrics& memory = metrics_.memory;
  memory.kv_blocks[KvBlockState::kInUse].set(static_cast<double>(blocks.in_use));
  memory.kv_blocks[KvBlockState::kCached].set(static_cast<double>(blocks.cached));
  memory.kv_blocks[KvBlockState::kFree].set(static_cast<double>(blocks.free));
  memory.kv_cache_usage.set(static_cast<double>(blocks.in_use) / static_cast<double>(blocks.total));
}

// Last in a step, so that who sees an event also sees the state after it.
void EngineImpl::deliver_events() {
  for (const RequestId id : stepped_) {
    if (ActiveRequest* request = find(id); request != nullptr) request->deliver();
  }
  for (const auto& request : ended_)
    request->deliver();
  ended_.clear();
}

Result<EngineOptions> complete_options(EngineOptions options, const ModelConfig& config) {
  if (options.max_model_len == 0) options.max_model_len = config.context_len;
  if (options.max_model_len > config.context_len) {
    return error(StatusCode::kOutOfRange,
                 "max_model_len is {}, but the model was made for {} tokens", options.max_model_len,
                 config.context_len);
  }
  if (options.block_size == 0 || options.block_size % kKvPositionLanes != 0) {
    return error(StatusCode::kInvalidArgument, "block_size must be a multiple of {}, not {}",
                 kKvPositionLanes, options.block_size);
  }
  const std::array<std::pair<std::string_view, std::size_t>, 3> positive = {
      {{"max_num_seqs", options.max_num_seqs},
       {"max_queued_requests", options.max_queued_requests},
       {"max_draft_tokens", options.max_draft_tokens}}};
  for (const auto& [name, value] : positive) {
    if (value == 0)
      return error(StatusCode::kInvalidArgument, "{} must be at least 1, not 0", name);
  }
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    return error(StatusCode::kInvalidArgument,
                 "max_num_batched_tokens must be at least max_num_seqs ({}), not {}: every running "
                 "sequence gets a token in every step",
                 options.max_num_seqs, options.max_num_batched_tokens);
  }
  return options;
}

RunnerLimits runner_limits(const EngineOptions& complete) {
  return {.max_num_seqs = complete.max_num_seqs,
          .max_num_batched_tokens = complete.max_num_batched_tokens,
          .max_num_logit_rows = max_num_logit_rows(complete),
          .max_model_len = complete.max_model_len};
}

// Without the machine's limit.
MemoryRequest memory_request(const ModelConfig& config, std::size_t weight_bytes,
                             const EngineOptions& complete) {
  return {.limit = {},
          .budget_bytes = complete.memory_bytes,
          .weight_bytes = weight_bytes,
          .activation_bytes =
              activation_bytes_for(config, {.max_tokens = complete.max_num_batched_tokens,
                                            .max_logit_rows = max_num_logit_rows(complete),
                                            .max_positions = complete.max_model_len}),
          .kv = kv_shape(config, complete.block_size, complete.kv_cache_dtype),
          .max_model_len = complete.max_model_len,
          .max_num_seqs = complete.max_num_seqs,
          .kv_cache_bytes = complete.kv_cache_bytes};
}

}  // namespace

Result<std::size_t> Engine::least_memory(const ModelConfig& config, std::size_t weight_bytes,
                                         const EngineOptions& options) {
  HEARTH_ASSIGN_OR_RETURN(const EngineOptions complete, complete_options(options, config));
  return hearth::least_memory(memory_request(config, weight_bytes, complete));
}

Result<std::unique_ptr<Engine>> Engine::start(std::unique_ptr<Model> model,
                                              std::vector<std::int32_t> eos_tokens,
                                              const EngineOptions& options,
                                              const ModelMetrics& metrics, const Clock& clock) {
  const ModelConfig& config = model->config();
  HEARTH_ASSIGN_OR_RETURN(const EngineOptions complete, complete_options(options, config));
  // Nothing is taken before it is known to fit.
  MemoryRequest request = memory_request(config, model->weight_bytes(), complete);
  HEARTH_ASSIGN_OR_RETURN(request.limit, detect_memory_limit());
  HEARTH_ASSIGN_OR_RETURN(const MemoryBudget memory, plan_memory(request));
  HEARTH_ASSIGN_OR_RETURN(ModelRunner runner, ModelRunner::create(*model, runner_limits(complete)));
  KvShape shape = request.kv;
  shape.num_blocks = memory.num_kv_blocks;
  HEARTH_ASSIGN_OR_RETURN(KvStorage kv, KvStorage::create(shape));
  RequestContext context{.max_model_len = complete.max_model_len,
                         .vocab_size = config.vocab_size,
                         .max_draft_tokens = complete.max_draft_tokens,
                         .prefix_cache = complete.prefix_cache,
                         .eos_tokens = std::move(eos_tokens),
                         .metrics = &metrics};
  return std::make_unique<EngineImpl>(EngineParts{.options = complete,
                                                  .context = std::move(context),
                                                  .model = std::move(model),
                                                  .runner = std::move(runner),
                                                  .kv = std::move(kv),
                                                  .memory = memory},
                                      clock);
}

}  // namespace hearth
