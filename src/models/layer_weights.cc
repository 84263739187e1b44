#include "models/layer_weights.h"

#include <fmt/format.h>

namespace hearth {

ConstMatrixView run_expansion(Device& device, Activation activation, const FeedForward& weights,
                              ConstMatrixView input, const FeedForwardBuffers& buffers) {
  if (!weights.gate_proj.weight) {
    const LinearOutput out[] = {weights.up_proj.into(buffers.up)};
    device.linear(input, out);
    device.activate(activation, buffers.up);
    return buffers.up;
  }
  const LinearOutput out[] = {weights.gate_proj.into(buffers.gate),
                              weights.up_proj.into(buffers.up)};
  device.linear(input, out);
  device.gated_activation(activation, buffers.gate, buffers.up, buffers.gate);
  return buffers.gate;
}

void norm_parts(Device& device, const Norm& norm, float epsilon, MatrixView rows) {
  if (norm.gain.empty()) return;
  const std::size_t len = norm.gain.size();
  HEARTH_CHECK(rows.stride == rows.cols && rows.cols % len == 0);
  const MatrixView parts = {rows.data, rows.rows * (rows.cols / len), len, len};
  device.norm(parts, norm.view(epsilon), parts);
}

void bind_attention_inputs(const ModelConfig& config, NamedBinder& binder,
                           const AttentionInputs& targets) {
  const std::size_t q = config.q_width();
  const std::size_t kv = config.kv_width();
  if (binder.has("attn_qkv")) {
    const MatrixPart matrices[] = {
        {q, &targets.q->weight}, {kv, &targets.k->weight}, {kv, &targets.v->weight}};
    const VectorPart biases[] = {
        {q, &targets.q->bias}, {kv, &targets.k->bias}, {kv, &targets.v->bias}};
    binder.fused("attn_qkv", matrices, biases);
  } else {
    binder.linear("attn_q", q, config.hidden_size, *targets.q);
    binder.linear("attn_k", kv, config.hidden_size, *targets.k);
    binder.linear("attn_v", kv, config.hidden_size, *targets.v);
  }
}

void bind_feed_forward(const ModelConfig& config, NamedBinder& binder, std::string_view suffix,
                       std::size_t size, FeedForward& target) {
  const std::string gate = fmt::format("ffn_gate{}", suffix);
  const std::string up = fmt::format("ffn_up{}", suffix);
  const std::string up_gate = fmt::format("ffn_up_gate{}", suffix);
  if (config.gated && !binder.has(gate) && binder.num_rows(up) == 2 * size) {
    const MatrixPart matrices[] = {{size, &target.gate_proj.weight},
                                   {size, &target.up_proj.weight}};
    const VectorPart biases[] = {{size, &target.gate_proj.bias}, {size, &target.up_proj.bias}};
    binder.fused(up, matrices, biases);
  } else if (config.gated && binder.has(up_gate)) {
    const MatrixPart matrices[] = {{size, &target.up_proj.weight},
                                   {size, &target.gate_proj.weight}};
    const VectorPart biases[] = {{size, &target.up_proj.bias}, {size, &target.gate_proj.bias}};
    binder.fused(up_gate, matrices, biases);
  } else {
    if (config.gated) binder.linear(gate, size, config.hidden_size, target.gate_proj);
    binder.linear(up, size, config.hidden_size, target.up_proj);
  }
  binder.linear(fmt::format("ffn_down{}", suffix), config.hidden_size, size, target.down_proj);
}

}  // namespace hearth
