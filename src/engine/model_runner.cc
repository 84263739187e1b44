#include "engine/model_runner.h"

#include <algorithm>
#include <new>
#include <utility>

namespace hearth {
namespace {

void pick_tokens(SampleTask& task) {
  for (std::size_t row = 0; row < task.logits.rows; ++row) {
    const std::span logits(task.logits.row(row), task.logits.cols);
    const auto token =
        task.sampler->sample(logits, row < task.num_early ? task.banned_early : task.banned);
    if (!token.has_value()) {
      task.status = token.error();
      return;
    }
    PickedToken& pick = task.picks[row];
    pick.id = *token;
    pick.logprobs.reset();
    if (task.top_logprobs.has_value()) {
      pick.logprobs = position_logprobs(logits, *token, *task.top_logprobs);
    }
    ++task.num_picked;
    if (row == task.draft.size() || *token != task.draft[row]) return;
    ++task.num_right;
    if (std::ranges::find(task.stop_tokens, *token) != task.stop_tokens.end()) return;
  }
}

}  // namespace

Status out_of_memory() {
  return make_status(StatusCode::kResourceExhausted,
                     "there is no memory left to compute this request");
}

Result<ModelRunner> ModelRunner::create(Model& model, const RunnerLimits& limits) {
  HEARTH_RETURN_IF_ERROR(model.reserve(limits.max_num_batched_tokens, limits.max_num_logit_rows,
                                       limits.max_model_len));
  ModelRunner runner(model);
  runner.tokens_.reserve(limits.max_num_batched_tokens);
  runner.positions_.reserve(limits.max_num_batched_tokens);
  runner.sequences_.reserve(limits.max_num_seqs);
  runner.logit_rows_.reserve(limits.max_num_logit_rows);
  return runner;
}

void ModelRunner::pack(const StepPlan& plan) {
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  logit_rows_.clear();
  for (const ScheduledSequence& scheduled : plan.sequences) {
    const std::size_t first_row = tokens_.size();
    const std::size_t num_rows = scheduled.tokens.size();
    tokens_.insert(tokens_.end(), scheduled.tokens.begin(), scheduled.tokens.end());
    for (std::size_t idx = 0; idx < num_rows; ++idx) {
      positions_.push_back(static_cast<std::int32_t>(scheduled.first_position + idx));
    }
    for (std::size_t idx = num_rows - scheduled.num_logit_rows; idx < num_rows; ++idx) {
      logit_rows_.push_back(static_cast<std::int32_t>(first_row + idx));
    }
    sequences_.push_back({.first_row = first_row,
                          .num_rows = num_rows,
                          .first_position = scheduled.first_position,
                          .block_table = scheduled.block_table.data()});
  }
}

ConstMatrixView ModelRunner::forward(const StepPlan& plan, KvStorage& kv) {
  pack(plan);
  const ForwardBatch batch{.tokens = tokens_,
                           .positions = positions_,
                           .sequences = sequences_,
                           .logit_rows = logit_rows_};
  const ConstMatrixView logits = model_->forward(batch, kv);
  HEARTH_CHECK(logits.rows == plan.num_logit_rows);
  return logits;
}

void ModelRunner::sample(std::span<SampleTask> tasks, ThreadPool* threads) {
  const auto pick = [tasks](std::size_t idx, std::size_t /*worker*/) {
    try {
      pick_tokens(tasks[idx]);
    } catch (const std::bad_alloc&) {  // Must not leave a thread of the pool.
      tasks[idx].status = out_of_memory();
    }
  };
  if (threads != nullptr && tasks.size() > 1) {
    threads->run(tasks.size(), pick);
    return;
  }
  for (std::size_t idx = 0; idx < tasks.size(); ++idx)
    pick(idx, 0);
}

}  // namespace hearth
