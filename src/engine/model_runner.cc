#include "engine/model_runner.h"

#include <utility>

namespace hearth {

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
    SampleTask& task = tasks[idx];
    task.token = task.sampler->sample(task.logits, task.banned);
    if (!task.token.has_value() || !task.top_logprobs.has_value()) return;
    task.logprobs = position_logprobs(task.logits, *task.token, *task.top_logprobs);
  };
  if (threads != nullptr && tasks.size() > 1) {
    threads->run(tasks.size(), pick);
    return;
  }
  for (std::size_t idx = 0; idx < tasks.size(); ++idx)
    pick(idx, 0);
}

}  // namespace hearth
