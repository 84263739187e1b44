// The engine: one thread that owns the model, the KV memory and the schedule, and two hand-offs to
// the rest of the process: requests in, events out.
//
// Every accepted request ends in exactly one terminal event. Requests really run together: each
// step spends a token budget over all of them, without prefill or decode phases.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "engine/memory_budget.h"
#include "engine/request.h"
#include "metrics/metrics.h"
#include "models/model.h"

namespace hearth {

// Where guesses at the next tokens come from; see speculation.h.
enum class SpeculationMethod : std::uint8_t { kOff, kNgram };

struct EngineOptions {
  std::size_t max_model_len = 0;  // Positions per sequence; 0: what the model was made for.
  std::size_t max_num_seqs = 64;  // Sequences (choices) running in one step.
  // Token budget of one step, at least max_num_seqs. Large: prompts are read faster. Small: running
  // streams wait less for other people's prompts.
  std::size_t max_num_batched_tokens = 512;
  // What a step may take while answers run: their pause when others' prompts are read. Zero: any
  // time.
  std::chrono::milliseconds target_step_time{100};
  std::size_t max_queued_requests = 256;  // Waiting beyond this are refused.
  std::size_t block_size = 16;
  DType kv_cache_dtype = DType::kF16;  // Or kQ8_0: half the memory, slightly less exact answers.
  std::size_t kv_cache_bytes = 0;      // 0: chosen from the memory budget (see memory_budget.h).
  // What weights, activations and KV cache may take in all. 0: the part of the machine's or the
  // container's memory that is ours.
  std::size_t memory_bytes = 0;
  bool prefix_cache = true;
  SpeculationMethod speculation = SpeculationMethod::kNgram;
  std::size_t max_draft_tokens = 16;  // Guesses for one sequence in one step, at least 1.
  // Threads to pick tokens with, used by the engine thread between the model's steps: the device's
  // (see Device::host_threads). They outlive the engine. nullptr: the engine thread does it alone.
  ThreadPool* host_threads = nullptr;
  // Asked on the engine thread after each step, before its results count: an error fails all
  // requests with it. For weights that others may change under the model. Empty: not asked.
  std::function<Status()> weights_intact = {};
  // With work to do and no step ended for this long, the engine calls itself unhealthy.
  std::chrono::seconds unhealthy_after{120};
};

// The consumer's end of one request. Thread-safe. Dropping the last handle cancels the request.
class GenerationHandle {
 public:
  virtual ~GenerationHandle() = default;
  // Appends the events that arrived since the last call; never blocks. True once the terminal event
  // has been handed out.
  virtual bool poll(std::vector<GenerationEvent>& events) = 0;
  // The same, but waits until at least one event is there.
  virtual bool wait(std::vector<GenerationEvent>& events) = 0;
  // Ends the whole request within one step; its terminal event is RequestCancelled unless it had
  // already finished. Safe to call repeatedly.
  virtual void cancel() = 0;
  // Ends one choice within one step (its stop string was found): no more tokens and no
  // ChoiceFinished for it. When all choices are ended the request finishes normally.
  virtual void end_choice(std::uint32_t choice) = 0;
};

struct EngineStatus {
  bool healthy = true;  // False when there is work and no step has ended for too long.
  std::chrono::steady_clock::duration since_last_step{};  // Or since work came to an idle engine.
  std::size_t num_running = 0;                            // Requests, as of the last step.
  std::size_t num_waiting = 0;  // Requests not running: new ones and preempted ones.
  std::size_t kv_blocks_total = 0;
  std::size_t kv_blocks_in_use = 0;
  std::size_t kv_blocks_cached = 0;
};

class Engine {
 public:
  // Called on the engine thread after events were added to a request that had none pending (they
  // may be gone again when the consumer was faster); must return at once (post to an executor,
  // signal a condition) and not throw. May be called after the last handle was dropped.
  using Notify = std::function<void()>;

  // Takes the model; starts the thread. `eos_tokens` end a choice unless ignored. `metrics` and
  // `clock` outlive the engine. kInvalidArgument or kOutOfRange name an option that contradicts
  // another or the model; kResourceExhausted when the KV cache does not fit (see memory_budget.h).
  static Result<std::unique_ptr<Engine>> start(std::unique_ptr<Model> model,
                                               std::vector<std::int32_t> eos_tokens,
                                               const EngineOptions& options,
                                               const ModelMetrics& metrics,
                                               const Clock& clock = system_clock());
  // The least memory that an engine of such a model takes, weights included.
  static Result<std::size_t> least_memory(const ModelConfig& config, std::size_t weight_bytes,
                                          const EngineOptions& options);
  // Fails what is left with kUnavailable and joins the thread. Handles may live on.
  virtual ~Engine() = default;

  // Queues a request. Refused at once, with limits and values in the message: kInvalidArgument
  // (empty prompt, token outside the vocabulary, no choices, a sampling parameter outside its
  // limits), kOutOfRange (prompt longer than the context), kResourceExhausted (the queue is full),
  // kUnavailable (draining).
  virtual Result<std::shared_ptr<GenerationHandle>> submit(GenerationRequest request,
                                                           Notify notify) = 0;

  virtual EngineStatus status() const = 0;
  virtual std::size_t max_model_len() const = 0;
  // So many requests may wait: more at once can never be taken together.
  virtual std::size_t max_queued_requests() const = 0;
  virtual const ModelConfig& model_config() const = 0;
  virtual const MemoryBudget& memory() const = 0;

  // Refuses requests from now on and fails those that are left with kUnavailable; returns when each
  // has its terminal event. Repeating it has no effect. Not from within Notify.
  virtual void stop() = 0;

  // Stops accepting. Running and waiting requests go on.
  virtual void drain() = 0;
  // True when nothing runs or waits.
  virtual bool idle() const = 0;
};

}  // namespace hearth
