#include "models/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "models/rope.h"

namespace hearth {
namespace {

MatrixView rows_of(std::vector<float>& buffer, std::size_t num_rows, std::size_t width) {
  return {buffer.data(), num_rows, width, width};
}

// Names below "blk.N." of one layer, as GGUF files spell them.
class LayerBinder {
 public:
  LayerBinder(WeightBinder& binder, std::size_t layer_idx)
      : binder_(binder), prefix_(fmt::format("blk.{}.", layer_idx)) {}

  void norm(std::string_view name, std::size_t length, std::vector<float>& target) {
    binder_.vector(prefix_ + std::string(name) + ".weight", length, Presence::kRequired, target);
  }

  void linear(std::string_view name, std::size_t out_features, std::size_t in_features,
              LinearWeights& target) {
    const std::string full = prefix_ + std::string(name);
    binder_.matrix(full + ".weight", {out_features, in_features}, target.weight);
    binder_.vector(full + ".bias", out_features, Presence::kOptional, target.bias);
  }

  // Rotation frequencies that some converters leave in the file; we compute our own.
  void ignore_frequencies() {
    binder_.ignore(prefix_ + "attn_rot_embd.weight");
    binder_.ignore(prefix_ + "rope_freqs.weight");
  }

 private:
  WeightBinder& binder_;
  std::string prefix_;
};

void bind_layer(const ModelConfig& config, LayerBinder binder, DecoderLayer& layer) {
  binder.norm("attn_norm", config.hidden_size, layer.attention_norm);
  binder.linear("attn_q", config.q_width(), config.hidden_size, layer.q_proj);
  binder.linear("attn_k", config.kv_width(), config.hidden_size, layer.k_proj);
  binder.linear("attn_v", config.kv_width(), config.hidden_size, layer.v_proj);
  binder.linear("attn_output", config.hidden_size, config.q_width(), layer.o_proj);
  binder.norm("ffn_norm", config.hidden_size, layer.feed_forward_norm);
  binder.linear("ffn_gate", config.intermediate_size, config.hidden_size, layer.gate_proj);
  binder.linear("ffn_up", config.intermediate_size, config.hidden_size, layer.up_proj);
  binder.linear("ffn_down", config.hidden_size, config.intermediate_size, layer.down_proj);
  binder.ignore_frequencies();
}

DecoderWeights bind_weights(const ModelConfig& config, WeightBinder& binder) {
  DecoderWeights weights;
  const MatrixSpec vocabulary = {config.vocab_size, config.hidden_size};
  const bool tied = !binder.has("output.weight");
  MatrixSpec embedding = vocabulary;
  embedding.use = tied ? MatrixUse::kLinear : MatrixUse::kTable;
  binder.matrix("token_embd.weight", embedding, weights.token_embedding);
  if (!tied) binder.matrix("output.weight", vocabulary, weights.output);
  weights.layers.resize(config.num_layers);
  for (std::size_t i = 0; i < config.num_layers; ++i) {
    bind_layer(config, LayerBinder(binder, i), weights.layers[i]);
  }
  binder.vector("output_norm.weight", config.hidden_size, Presence::kRequired, weights.output_norm);
  binder.vector("rope_freqs.weight", config.rope.rope_dim / 2, Presence::kOptional,
                weights.rope_freq_factors);
  return weights;
}

}  // namespace

Result<std::unique_ptr<Model>> Decoder::load(const ModelFile& file, ModelConfig config,
                                             Device& device) {
  WeightBinder binder(file, device);
  DecoderWeights weights = bind_weights(config, binder);
  HEARTH_RETURN_IF_ERROR(binder.finish());
  if (std::ranges::any_of(weights.rope_freq_factors, [](float f) { return !(f > 0.0f); })) {
    return error(StatusCode::kDataLoss,
                 "tensor 'rope_freqs.weight' holds a value that is not above 0");
  }
  std::unique_ptr<Decoder> decoder(new Decoder(std::move(config), std::move(weights), device));
  decoder->num_parameters_ = binder.num_parameters();
  decoder->weight_bytes_ = binder.weight_bytes();
  return decoder;
}

Decoder::Decoder(ModelConfig config, DecoderWeights weights, Device& device)
    : config_(std::move(config)), weights_(std::move(weights)), device_(device) {}

Status Decoder::reserve(std::size_t max_tokens, std::size_t max_logit_rows,
                        std::size_t max_positions) {
  HEARTH_CHECK(max_tokens > 0 && max_logit_rows > 0 && max_positions > 0);
  try {
    Activations& a = activations_;
    a.residual.resize(max_tokens * config_.hidden_size);
    a.normed.resize(max_tokens * config_.hidden_size);
    a.q.resize(max_tokens * config_.q_width());
    a.k.resize(max_tokens * config_.kv_width());
    a.v.resize(max_tokens * config_.kv_width());
    a.attention.resize(max_tokens * config_.q_width());
    a.gate.resize(max_tokens * config_.intermediate_size);
    a.up.resize(max_tokens * config_.intermediate_size);
    a.selected.resize(max_logit_rows * config_.hidden_size);
    a.logits.resize(max_logit_rows * config_.vocab_size);
    rope_cos_sin_ = make_rope_table(config_.rope, weights_.rope_freq_factors, max_positions);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kResourceExhausted,
                       "not enough memory for activations of {} tokens with {} rows of logits",
                       max_tokens, max_logit_rows);
  }
  device_.reserve({.max_tokens = max_tokens,
                   .max_features = std::max(
                       {config_.hidden_size, config_.q_width(), config_.intermediate_size}),
                   .max_head_dim = config_.heads.head_dim});
  max_tokens_ = max_tokens;
  max_logit_rows_ = max_logit_rows;
  max_positions_ = max_positions;
  return {};
}

std::size_t activation_bytes_for(const ModelConfig& config, const BatchLimits& limits) {
  const std::size_t floats_per_token = 2 * config.hidden_size + 2 * config.q_width() +
                                       2 * config.kv_width() + 2 * config.intermediate_size;
  const std::size_t floats_per_logit_row = config.hidden_size + config.vocab_size;
  return sizeof(float) *
         (limits.max_tokens * floats_per_token + limits.max_logit_rows * floats_per_logit_row +
          limits.max_positions * config.rope.rope_dim);
}

std::size_t Decoder::activation_bytes() const {
  const Activations& a = activations_;
  const std::size_t floats = a.residual.size() + a.normed.size() + a.q.size() + a.k.size() +
                             a.v.size() + a.attention.size() + a.gate.size() + a.up.size() +
                             a.selected.size() + a.logits.size() + rope_cos_sin_.size();
  return floats * sizeof(float);
}

ConstMatrixView Decoder::forward(const ForwardBatch& batch, KvStorage& kv) {
  const std::size_t num_tokens = batch.tokens.size();
  HEARTH_CHECK(num_tokens <= max_tokens_ && batch.positions.size() == num_tokens);
  HEARTH_CHECK(batch.logit_rows.size() <= max_logit_rows_);

  const MatrixView residual = rows_of(activations_.residual, num_tokens, config_.hidden_size);
  device_.embed(*weights_.token_embedding, batch.tokens, residual);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    attention_block(weights_.layers[i], batch, kv.layer(i));
    feed_forward_block(weights_.layers[i], num_tokens);
  }
  return compute_logits(batch);
}

void Decoder::attention_block(const DecoderLayer& layer, const ForwardBatch& batch,
                              const KvLayerView& cache) {
  const std::size_t num_tokens = batch.tokens.size();
  const MatrixView residual = rows_of(activations_.residual, num_tokens, config_.hidden_size);
  const MatrixView normed = rows_of(activations_.normed, num_tokens, config_.hidden_size);
  const MatrixView q = rows_of(activations_.q, num_tokens, config_.q_width());
  const MatrixView k = rows_of(activations_.k, num_tokens, config_.kv_width());
  const MatrixView v = rows_of(activations_.v, num_tokens, config_.kv_width());
  const MatrixView attention = rows_of(activations_.attention, num_tokens, config_.q_width());

  device_.rms_norm(residual, layer.attention_norm.data(), config_.norm_epsilon, normed);
  const LinearOutput qkv[] = {layer.q_proj.into(q), layer.k_proj.into(k), layer.v_proj.into(v)};
  device_.linear(normed, qkv);
  const RopeTable rope = {config_.rope.layout, config_.rope.rope_dim, rope_cos_sin_.data()};
  device_.rope(q, config_.heads.head_dim, rope, batch.positions);
  device_.rope(k, config_.heads.head_dim, rope, batch.positions);
  device_.store_kv(k, v, batch.sequences, config_.heads, cache);
  device_.attention(q, batch.sequences,
                    {.heads = config_.heads,
                     .scale = config_.attention_scale,
                     .logit_softcap = 0.0f,
                     .sliding_window = config_.sliding_window},
                    cache, attention);
  const LinearOutput out[] = {layer.o_proj.into(residual, /*accumulate=*/true)};
  device_.linear(attention, out);
}

void Decoder::feed_forward_block(const DecoderLayer& layer, std::size_t num_tokens) {
  const MatrixView residual = rows_of(activations_.residual, num_tokens, config_.hidden_size);
  const MatrixView normed = rows_of(activations_.normed, num_tokens, config_.hidden_size);
  const MatrixView gate = rows_of(activations_.gate, num_tokens, config_.intermediate_size);
  const MatrixView up = rows_of(activations_.up, num_tokens, config_.intermediate_size);

  device_.rms_norm(residual, layer.feed_forward_norm.data(), config_.norm_epsilon, normed);
  const LinearOutput gate_up[] = {layer.gate_proj.into(gate), layer.up_proj.into(up)};
  device_.linear(normed, gate_up);
  device_.gated_activation(config_.activation, gate, up, gate);
  const LinearOutput down[] = {layer.down_proj.into(residual, /*accumulate=*/true)};
  device_.linear(gate, down);
}

ConstMatrixView Decoder::compute_logits(const ForwardBatch& batch) {
  const std::size_t num_rows = batch.logit_rows.size();
  const MatrixView selected = rows_of(activations_.selected, num_rows, config_.hidden_size);
  const MatrixView logits = rows_of(activations_.logits, num_rows, config_.vocab_size);
  if (num_rows == 0) return logits;

  for (std::size_t i = 0; i < num_rows; ++i) {
    const auto row = static_cast<std::size_t>(batch.logit_rows[i]);
    HEARTH_CHECK(row < batch.tokens.size());
    std::copy_n(activations_.residual.data() + row * config_.hidden_size, config_.hidden_size,
                selected.row(i));
  }
  device_.rms_norm(selected, weights_.output_norm.data(), config_.norm_epsilon, selected);
  const LinearOutput out[] = {{&weights_.output_or_tied(), nullptr, logits, false}};
  device_.linear(selected, out);
  return logits;
}

}  // namespace hearth
