// A mixture of experts: each token's router chooses its experts, tokens are grouped by expert, and
// each token adds up its experts' outputs, likeliest first. Every sum has an order that depends on
// its own token alone, so a group's company changes nothing.
#include <algorithm>

#include "models/buffer_rows.h"
#include "models/decoder.h"

namespace hearth {

// Slots of an expert are in the order of their tokens.
void Decoder::group_by_expert(std::size_t num_tokens) {
  const std::size_t num_used = config_.experts.num_used;
  StepBuffer<std::size_t>& begins = buffers_.expert_begins;
  std::ranges::fill(begins, 0);
  const std::size_t num_slots = num_tokens * num_used;
  for (std::size_t i = 0; i < num_slots; ++i)
    ++begins[static_cast<std::size_t>(buffers_.chosen[i]) + 1];
  for (std::size_t e = 1; e < begins.size(); ++e)
    begins[e] += begins[e - 1];
  // Each begin moves to the expert's end as its slots are given out, then back.
  for (std::size_t i = 0; i < num_slots; ++i) {
    const std::size_t slot = begins[static_cast<std::size_t>(buffers_.chosen[i])]++;
    buffers_.slots[i] = static_cast<std::int32_t>(slot);
    buffers_.slot_rows[slot] = static_cast<std::int32_t>(i / num_used);
  }
  std::shift_right(begins.begin(), begins.end(), 1);
  begins.front() = 0;
}

void Decoder::run_experts(const ExpertMixture& mixture, ConstMatrixView input) {
  const ExpertConfig& experts = config_.experts;
  const std::size_t num_slots = input.rows * experts.num_used;
  const MatrixView gathered = rows_of(buffers_.slot_inputs, num_slots, config_.hidden_size);
  device_.gather_rows(input, {buffers_.slot_rows.data(), num_slots}, gathered);
  const MatrixView out = rows_of(buffers_.slot_outputs, num_slots, config_.hidden_size);
  for (std::size_t e = 0; e < experts.num_experts; ++e) {
    const std::size_t first = buffers_.expert_begins[e];
    const std::size_t count = buffers_.expert_begins[e + 1] - first;
    if (count == 0) continue;
    const FeedForward& expert = mixture.experts[e];
    const ConstMatrixView inner =
        expand(expert, {gathered.row(first), count, gathered.cols, gathered.stride});
    const LinearOutput down[] = {
        expert.down_proj.into({out.row(first), count, out.cols, out.stride})};
    device_.linear(inner, down);
  }
}

void Decoder::add_shared_expert(const ExpertMixture& mixture, ConstMatrixView input) {
  if (!mixture.shared_gate.weight) {
    return add_projection(mixture.shared.down_proj, expand(mixture.shared, input), Norm{});
  }
  const MatrixView gate = rows_of(buffers_.shared_gate, input.rows, 1);
  const LinearOutput gate_out[] = {mixture.shared_gate.into(gate)};
  device_.linear(input, gate_out);
  device_.sigmoid(gate);
  const MatrixView block = rows_of(buffers_.block_out, input.rows, config_.hidden_size);
  const LinearOutput down[] = {mixture.shared.down_proj.into(block)};
  device_.linear(expand(mixture.shared, input), down);
  device_.add_weighted_rows(block, {1, buffers_.row_ids.data(), gate.data},
                            residual_rows(input.rows));
}

void Decoder::add_experts(const ExpertMixture& mixture, ConstMatrixView input) {
  const ExpertConfig& experts = config_.experts;
  const MatrixView logits = rows_of(buffers_.router_logits, input.rows, experts.num_experts);
  const LinearOutput router[] = {mixture.router.into(logits)};
  device_.linear(input, router);
  device_.choose_experts(logits,
                         {.num_used = experts.num_used,
                          .renormalize = experts.renormalize,
                          .scale = experts.weights_scale * config_.residual_scale,
                          .gate = experts.gate,
                          .jitter = experts.jitter,
                          .bias = mixture.bias.empty() ? nullptr : mixture.bias.data(),
                          .num_groups = experts.num_groups,
                          .num_groups_used = experts.num_groups_used,
                          .group_best = experts.group_best()},
                         {buffers_.chosen.data(), buffers_.chosen_weights.data()});
  group_by_expert(input.rows);
  run_experts(mixture, input);
  device_.add_weighted_rows(
      rows_of(buffers_.slot_outputs, input.rows * experts.num_used, config_.hidden_size),
      {experts.num_used, buffers_.slots.data(), buffers_.chosen_weights.data()},
      residual_rows(input.rows));
  if (mixture.shared.down_proj.weight) add_shared_expert(mixture, input);
}

}  // namespace hearth
