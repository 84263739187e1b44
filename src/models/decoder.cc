#include "models/decoder.h"

#include <algorithm>
#include <new>
#include <utility>

#include "models/buffer_rows.h"

namespace hearth {

Result<std::unique_ptr<Decoder>> Decoder::load(WeightBinder& binder, ModelConfig config,
                                               Device& device, DecoderResult result) {
  DecoderWeights weights = bind_decoder(config, result, binder);
  HEARTH_RETURN_IF_ERROR(binder.finish());
  std::unique_ptr<Decoder> decoder(new Decoder(std::move(config), std::move(weights), device));
  decoder->result_ = result;
  decoder->num_parameters_ = binder.num_parameters();
  decoder->weight_bytes_ = binder.weight_bytes();
  return decoder;
}

Decoder::Decoder(ModelConfig config, DecoderWeights weights, Device& device)
    : config_(std::move(config)), weights_(std::move(weights)), device_(device) {
  if (config_.positions == PositionEncoding::kAlibi) {
    alibi_slopes_ = alibi_slopes(config_.heads.num_heads, config_.alibi_max_bias);
  }
}

Status Decoder::reserve(std::size_t max_tokens, std::size_t max_logit_rows,
                        std::size_t max_positions) {
  HEARTH_CHECK(max_tokens > 0 && max_logit_rows > 0 && max_positions > 0);
  if (config_.positions == PositionEncoding::kLearned && max_positions > config_.context_len) {
    return make_status(StatusCode::kInvalidArgument,
                       "the model has learned {} positions; {} are more", config_.context_len,
                       max_positions);
  }
  const BatchLimits limits = {max_tokens, max_logit_rows, max_positions, result_};
  try {
    buffers_.resize(config_, limits);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kResourceExhausted,
                       "not enough memory for activations of {} tokens with {} rows of logits",
                       max_tokens, max_logit_rows);
  }
  device_.reserve({.max_tokens = max_tokens,
                   .max_features = std::max(
                       {config_.hidden_size, config_.attention_width(), config_.intermediate_size,
                        config_.experts.intermediate_size, config_.experts.shared_intermediate_size,
                        config_.latent.query_rank, config_.latent.rank, config_.latent.key_dim}),
                   .max_head_dim = std::max(config_.heads.head_dim, config_.heads.value_len())});
  rope_ = Rope(config_.rope, max_positions);
  local_rope_ = Rope(config_.local_rope, max_positions);
  limits_ = limits;
  return {};
}

ConstMatrixView Decoder::forward(const ForwardBatch& batch, KvStorage& kv) {
  HEARTH_CHECK(result_ == DecoderResult::kLogits);
  run_layers(batch, kv);
  return compute_logits(batch);
}

ConstMatrixView Decoder::hidden_states(const ForwardBatch& batch, KvStorage& kv) {
  run_layers(batch, kv);
  return select_rows(batch);
}

void Decoder::run_layers(const ForwardBatch& batch, KvStorage& kv) {
  const std::size_t num_tokens = batch.tokens.size();
  HEARTH_CHECK(num_tokens <= limits_.max_tokens && batch.positions.size() == num_tokens);
  HEARTH_CHECK(batch.logit_rows.size() <= limits_.max_logit_rows);
  for (const SequenceRows& sequence : batch.sequences)
    HEARTH_CHECK(sequence.first_position + sequence.num_rows <= limits_.max_positions);

  embed(batch);
  prepare_rotations(batch.positions);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i)
    run_layer(i, batch, kv.layer(i % kv.shape().num_layers));
}

MatrixView Decoder::residual_rows(std::size_t num_tokens) {
  return rows_of(buffers_.residual, num_tokens, config_.hidden_size);
}

void Decoder::embed(const ForwardBatch& batch) {
  const MatrixView residual = residual_rows(batch.tokens.size());
  device_.embed(*weights_.token_embedding, batch.tokens, residual);
  if (config_.embedding_scale != 1.0f) device_.scale(residual, config_.embedding_scale);
  if (weights_.position_embedding) {
    const MatrixView learned = rows_of(buffers_.normed, residual.rows, config_.hidden_size);
    device_.embed(*weights_.position_embedding, batch.positions, learned);
    device_.add_scaled(learned, 1.0f, residual);
  }
  if (config_.embedding_norm) device_.norm(residual, norm_of(weights_.embedding_norm), residual);
}

ConstMatrixView Decoder::normed(const Norm& norm, MatrixView out) {
  const MatrixView residual = residual_rows(out.rows);
  if (norm.gain.empty()) return residual;
  device_.norm(residual, norm_of(norm), out);
  return out;
}

void Decoder::run_layer(std::size_t idx, const ForwardBatch& batch, const KvLayerView& cache) {
  const DecoderLayer& layer = weights_.layers[idx];
  const std::size_t num_tokens = batch.tokens.size();
  const MatrixView buffer = rows_of(buffers_.normed, num_tokens, config_.hidden_size);
  ConstMatrixView feed_forward_input;
  if (config_.parallel_residual) {
    feed_forward_input = normed(layer.feed_forward_norm,
                                rows_of(buffers_.parallel_normed, num_tokens, config_.hidden_size));
  }
  const ConstMatrixView attention_input = normed(layer.attention_norm, buffer);
  if (config_.latent.rank > 0) {
    attend_latent(idx, attention_input, batch, cache);
  } else {
    attend(idx, attention_input, batch, cache);
  }
  add_projection(layer.o_proj, rows_of(buffers_.attention, num_tokens, config_.attention_width()),
                 layer.attention_post_norm);
  if (!config_.parallel_residual) feed_forward_input = normed(layer.feed_forward_norm, buffer);
  if (config_.has_experts(idx)) {
    add_experts(layer.mixture, feed_forward_input);
  } else {
    add_projection(layer.feed_forward.down_proj, expand(layer.feed_forward, feed_forward_input),
                   layer.feed_forward_post_norm);
  }
}

void Decoder::attend(std::size_t idx, ConstMatrixView input, const ForwardBatch& batch,
                     const KvLayerView& cache) {
  const DecoderLayer& layer = weights_.layers[idx];
  const std::size_t num_tokens = batch.tokens.size();
  const MatrixView q = rows_of(buffers_.q, num_tokens, config_.q_width());
  const MatrixView k = rows_of(buffers_.k, num_tokens, config_.kv_width());
  const MatrixView v = rows_of(buffers_.v, num_tokens, config_.kv_width());

  const LinearOutput qkv[] = {layer.q_proj.into(q), layer.k_proj.into(k), layer.v_proj.into(v)};
  device_.linear(input, qkv);
  const bool normed = config_.qk_norm != QkNorm::kNone;
  if (normed && !config_.qk_norm_rotated) norm_queries_and_keys(layer, num_tokens);
  if (config_.qkv_limit > 0.0f) {
    for (const MatrixView& x : {q, k, v})
      device_.clamp(x, config_.qkv_limit);
  }
  rotate(config_.layers[idx].rope, num_tokens);
  if (normed && config_.qk_norm_rotated) norm_queries_and_keys(layer, num_tokens);
  device_.store_kv(k, v, batch.sequences, config_.heads, cache);
  device_.attention(q, batch.sequences, attention_params(idx), cache,
                    rows_of(buffers_.attention, num_tokens, config_.attention_width()));
}

AttentionParams Decoder::attention_params(std::size_t idx) const {
  const std::vector<float>& sinks = weights_.layers[idx].sinks;
  return {.heads = config_.heads,
          .scale = config_.attention_scale,
          .logit_softcap = config_.attention_softcap,
          .sliding_window = config_.layers[idx].sliding_window,
          .alibi_slopes = alibi_slopes_.empty() ? nullptr : alibi_slopes_.data(),
          .sinks = sinks.empty() ? nullptr : sinks.data()};
}

void Decoder::norm_queries_and_keys(const DecoderLayer& layer, std::size_t num_tokens) {
  norm_heads(layer.q_norm, rows_of(buffers_.q, num_tokens, config_.q_width()));
  norm_heads(layer.k_norm, rows_of(buffers_.k, num_tokens, config_.kv_width()));
}

void Decoder::norm_heads(const Norm& norm, MatrixView heads) {
  if (config_.qk_norm != QkNorm::kOwnLayerNorms) {
    return norm_parts(device_, norm, config_.norm_epsilon, heads);
  }
  const std::size_t head_dim = config_.heads.head_dim;
  for (std::size_t first = 0; first < heads.cols; first += head_dim) {
    const MatrixView head = {heads.data + first, heads.rows, head_dim, heads.stride};
    const NormWeights all = norm_of(norm);
    device_.norm(head, {all.gain + first, all.bias + first, all.epsilon}, head);
  }
}

void Decoder::prepare_rotations(std::span<const std::int32_t> positions) {
  const auto prepare = [&](LayerRope kind, const RopeConfig& config, const Rope& rope,
                           StepBuffer<float>& angles) {
    if (!config_.uses_rope(kind)) return;
    rope.write_angles(positions, {angles.data(), positions.size() * config.rope_dim});
  };
  prepare(LayerRope::kGlobal, config_.rope, rope_, buffers_.rope);
  prepare(LayerRope::kLocal, config_.local_rope, local_rope_, buffers_.local_rope);
}

void Decoder::rotate(LayerRope kind, std::size_t num_tokens) {
  if (kind == LayerRope::kNone) return;
  const bool local = kind == LayerRope::kLocal;
  const RopeConfig& rope = local ? config_.local_rope : config_.rope;
  const RopeTable table = {rope.layout, rope.rope_dim,
                           local ? buffers_.local_rope.data() : buffers_.rope.data(),
                           config_.latent.rank};
  const std::size_t head_dim = config_.heads.head_dim;
  device_.rope(rows_of(buffers_.q, num_tokens, config_.q_width()), head_dim, table);
  device_.rope(rows_of(buffers_.k, num_tokens, config_.kv_width()), head_dim, table);
}

ConstMatrixView Decoder::expand(const FeedForward& weights, ConstMatrixView input) {
  const std::size_t size = weights.up_proj.weight->out_features();
  const FeedForwardBuffers buffers = {.gate = rows_of(buffers_.gate, input.rows, size),
                                      .up = rows_of(buffers_.up, input.rows, size)};
  return run_expansion(device_, config_.activation, weights, input, buffers);
}

void Decoder::add_projection(const LinearWeights& projection, ConstMatrixView input,
                             const Norm& post_norm) {
  const MatrixView residual = residual_rows(input.rows);
  if (post_norm.gain.empty() && config_.residual_scale == 1.0f) {
    const LinearOutput out[] = {projection.into(residual, /*accumulate=*/true)};
    device_.linear(input, out);
    return;
  }
  const MatrixView block = rows_of(buffers_.block_out, input.rows, config_.hidden_size);
  const LinearOutput out[] = {projection.into(block)};
  device_.linear(input, out);
  if (!post_norm.gain.empty()) device_.norm(block, norm_of(post_norm), block);
  device_.add_scaled(block, config_.residual_scale, residual);
}

MatrixView Decoder::select_rows(const ForwardBatch& batch) {
  const MatrixView selected =
      rows_of(buffers_.selected, batch.logit_rows.size(), config_.hidden_size);
  device_.gather_rows(residual_rows(batch.tokens.size()), batch.logit_rows, selected);
  device_.norm(selected, norm_of(weights_.output_norm), selected);
  return selected;
}

ConstMatrixView Decoder::compute_logits(const ForwardBatch& batch) {
  const MatrixView logits = rows_of(buffers_.logits, batch.logit_rows.size(), config_.vocab_size);
  if (batch.logit_rows.empty()) return logits;
  const float* bias = weights_.output_bias.empty() ? nullptr : weights_.output_bias.data();
  const LinearOutput out[] = {{&weights_.output_or_tied(), bias, logits, false}};
  device_.linear(select_rows(batch), out);
  if (config_.logit_softcap > 0.0f) device_.softcap(logits, config_.logit_softcap);
  return logits;
}

}  // namespace hearth
