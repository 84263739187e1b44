// Runs a step plan on a model: packs the ragged batch, computes it, and picks tokens from its
// logits. Owned by the engine thread; nothing here allocates after create(), except where logprobs
// are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "engine/scheduler.h"
#include "kv/kv_storage.h"
#include "models/model.h"
#include "sampling/sampler.h"

namespace hearth {

struct RunnerLimits {
  std::size_t max_num_seqs = 0;
  std::size_t max_num_batched_tokens = 0;
  std::size_t max_num_logit_rows = 0;
  std::size_t max_model_len = 0;
};

struct PickedToken {
  std::int32_t id = 0;
  std::optional<PositionLogprobs> logprobs;
};

// The next token of a sequence to pick, and more as long as the picked ones are those of its draft.
// The spans outlive the call to sample().
struct SampleTask {
  SequenceId id = {};
  Sampler* sampler = nullptr;
  ConstMatrixView logits = {};               // [1 + draft.size(), vocab_size]
  std::span<const std::int32_t> draft = {};  // The tokens behind all rows but the first.
  std::span<const std::int32_t> banned = {};
  std::span<const std::int32_t> banned_early = {};  // Instead of `banned`, for the first num_early.
  std::size_t num_early = 0;
  std::span<const std::int32_t> stop_tokens = {};  // Nothing follows these.
  std::optional<std::uint32_t> top_logprobs = {};
  std::span<PickedToken> picks = {};  // One per row.

  // Set by sample(). Tokens before an error stay good.
  std::size_t num_picked = 0;  // Of `picks`, from the first.
  std::size_t num_right = 0;   // Of `draft`, from the first.
  Status status = {};
};

// What a request fails with when an allocation does.
Status out_of_memory();

class ModelRunner {
 public:
  // Reserves the model's activations. `model` outlives the runner.
  static Result<ModelRunner> create(Model& model, const RunnerLimits& limits);

  // Logits [plan.num_logit_rows, vocab_size], sequence by sequence, valid until the next call.
  ConstMatrixView forward(const StepPlan& plan, KvStorage& kv);

  // Picks the tokens of every task, on `threads` if there are any: a task reads whole rows of
  // logits, which takes far longer than a fork. Tasks are independent of each other. Their errors
  // are kInternal (logits that are not numbers) and kResourceExhausted (no memory).
  static void sample(std::span<SampleTask> tasks, ThreadPool* threads);

 private:
  explicit ModelRunner(Model& model) : model_(&model) {}
  void pack(const StepPlan& plan);

  Model* model_;
  std::vector<std::int32_t> tokens_;     // [num_tokens]
  std::vector<std::int32_t> positions_;  // [num_tokens]
  std::vector<SequenceRows> sequences_;
  std::vector<std::int32_t> logit_rows_;  // [num_logit_rows]
};

}  // namespace hearth
