#include "models/transformer_encoder.h"

#include <algorithm>
#include <new>
#include <utility>

namespace hearth {
namespace {

// visit(buffer, its number of elements) for every buffer.
template <typename Visit>
void for_each_buffer(EncoderBuffers& b, const EncoderPlan& plan, const EncoderLimits& limits,
                     Visit visit) {
  const ModelConfig& config = plan.transformer;
  const std::size_t tokens = limits.max_batch_tokens;
  const std::size_t sequences = limits.max_batch_sequences;
  const std::size_t hidden = config.hidden_size;
  const auto rope_len = [&](LayerRope kind, const RopeConfig& rope) {
    return config.uses_rope(kind) ? tokens * rope.rope_dim : 0;
  };
  visit(b.residual, tokens * hidden);
  visit(b.normed, tokens * hidden);
  visit(b.q, tokens * config.q_width());
  visit(b.k, tokens * config.kv_width());
  visit(b.v, tokens * config.kv_width());
  visit(b.attention, tokens * config.q_width());
  visit(b.gate, config.gated ? tokens * config.intermediate_size : 0);
  visit(b.up, tokens * config.intermediate_size);
  visit(b.block_out, config.norm_placement == NormPlacement::kPrePost ? tokens * hidden : 0);
  visit(b.rope, rope_len(LayerRope::kGlobal, config.rope));
  visit(b.local_rope, rope_len(LayerRope::kLocal, config.local_rope));
  visit(b.pooled, sequences * hidden);
}

}  // namespace

Result<std::unique_ptr<Encoder>> TransformerEncoder::load(const ModelFile& file, EncoderPlan plan,
                                                          Device& device,
                                                          const EncoderLimits& limits) {
  WeightBinder binder(file, device);
  EncoderWeights weights = bind_encoder(plan, binder);
  EncoderHead head(plan.head, plan.transformer, binder);
  HEARTH_RETURN_IF_ERROR(binder.finish());
  HEARTH_ASSIGN_OR_RETURN(KvStorage kv, make_encoder_kv(plan.transformer.heads, limits));
  std::unique_ptr<TransformerEncoder> encoder(
      new TransformerEncoder(std::move(plan), std::move(weights), device, std::move(kv)));
  encoder->head_ = std::move(head);
  encoder->num_parameters_ = binder.num_parameters();
  encoder->weight_bytes_ = binder.weight_bytes();
  HEARTH_RETURN_IF_ERROR(encoder->reserve(limits));
  return encoder;
}

Status TransformerEncoder::reserve(const EncoderLimits& limits) {
  const ModelConfig& config = plan_.transformer;
  try {
    for_each_buffer(buffers_, plan_, limits,
                    [](auto& buffer, std::size_t count) { buffer.resize(count); });
    batch_.reserve(limits);
    head_.reserve(limits.max_batch_sequences);
    distance_biases_ =
        make_distance_biases(std::min(plan_.description.max_tokens, limits.max_batch_tokens));
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kResourceExhausted,
                       "not enough memory for batches of {} tokens in {} sequences",
                       limits.max_batch_tokens, limits.max_batch_sequences);
  }
  device_.reserve({.max_tokens = limits.max_batch_tokens,
                   .max_features = std::max({config.hidden_size, config.q_width(),
                                             config.intermediate_size, head_.max_features()}),
                   .max_head_dim = config.heads.head_dim});
  rope_ = Rope(config.rope, config.context_len);
  local_rope_ = Rope(config.local_rope, config.context_len);
  limits_ = limits;
  return {};
}

DistanceBiasTable TransformerEncoder::make_distance_biases(std::size_t max_tokens) {
  const ModelConfig& config = plan_.transformer;
  if (weights_.distance_biases) return {device_, *weights_.distance_biases, max_tokens};
  if (config.positions != PositionEncoding::kAlibi) return {};
  return {alibi_slopes(config.heads.num_heads, config.alibi_max_bias), max_tokens};
}

std::size_t TransformerEncoder::activation_bytes() const {
  std::size_t total = kv_.bytes() + batch_.bytes() + head_.bytes() + distance_biases_.bytes();
  EncoderBuffers sizes;
  for_each_buffer(sizes, plan_, limits_, [&total](const auto& buffer, std::size_t count) {
    total += count * sizeof(buffer[0]);
  });
  return total;
}

void TransformerEncoder::encode(std::span<const EncoderInput> inputs, MatrixView out) {
  const EncoderConfig& config = plan_.description;
  HEARTH_CHECK(out.rows == inputs.size() && out.cols == config.width);
  if (inputs.empty()) return;
  batch_.pack(inputs, config, plan_.pooling);
  MatrixView residual = embed();
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    const EncoderLayer& layer = weights_.layers[i];
    MatrixView attention = attend(i, normed(layer.attention_norm, residual));
    if (i + 1 == weights_.layers.size() && reads_one_row()) {
      // Nothing behind the last attention mixes rows, so that one row of each sequence will do.
      const auto rows = std::span(batch_.read_rows).first(inputs.size());
      const MatrixView kept = rows_of(buffers_.pooled, rows.size(), residual.cols);
      const MatrixView kept_attention = rows_of(buffers_.q, rows.size(), attention.cols);
      device_.gather_rows(residual, rows, kept);
      device_.gather_rows(attention, rows, kept_attention);
      residual = kept;
      attention = kept_attention;
    }
    finish_layer(layer, attention, residual);
  }
  if (!weights_.output_norm.gain.empty()) {
    device_.norm(residual, norm_of(weights_.output_norm), residual);
  }
  head_.run(device_, reads_one_row() ? residual : mean_rows(residual), out);
}

MatrixView TransformerEncoder::embed() {
  const std::size_t num_tokens = batch_.num_tokens;
  const MatrixView residual = rows_of(buffers_.residual, num_tokens, plan_.transformer.hidden_size);
  device_.embed(*weights_.token_embedding, std::span(batch_.tokens).first(num_tokens), residual);
  if (plan_.transformer.embedding_scale != 1.0f)
    device_.scale(residual, plan_.transformer.embedding_scale);
  if (weights_.token_types) add_table_rows(*weights_.token_types, batch_.token_types, residual);
  if (weights_.position_embedding) {
    add_table_rows(*weights_.position_embedding, batch_.positions, residual);
  }
  if (!weights_.embedding_norm.gain.empty()) {
    device_.norm(residual, norm_of(weights_.embedding_norm), residual);
  }
  const auto positions = std::span(batch_.positions).first(num_tokens);
  const ModelConfig& config = plan_.transformer;
  if (config.uses_rope(LayerRope::kGlobal)) {
    rope_.write_angles(positions, {buffers_.rope.data(), num_tokens * config.rope.rope_dim});
  }
  if (config.uses_rope(LayerRope::kLocal)) {
    local_rope_.write_angles(positions,
                             {buffers_.local_rope.data(), num_tokens * config.local_rope.rope_dim});
  }
  return residual;
}

void TransformerEncoder::add_table_rows(const WeightMatrix& table,
                                        const StepBuffer<std::int32_t>& ids, MatrixView residual) {
  const MatrixView rows = rows_of(buffers_.normed, residual.rows, residual.cols);
  device_.embed(table, std::span(ids).first(residual.rows), rows);
  device_.add_scaled(rows, 1.0f, residual);
}

ConstMatrixView TransformerEncoder::normed(const Norm& norm, MatrixView residual) {
  if (norm.gain.empty()) return residual;
  const MatrixView out = rows_of(buffers_.normed, residual.rows, residual.cols);
  device_.norm(residual, norm_of(norm), out);
  return out;
}

MatrixView TransformerEncoder::attend(std::size_t idx, ConstMatrixView input) {
  const ModelConfig& config = plan_.transformer;
  const EncoderLayer& layer = weights_.layers[idx];
  const LayerConfig& plan = config.layers[idx];
  const MatrixView q = rows_of(buffers_.q, input.rows, config.q_width());
  const MatrixView k = rows_of(buffers_.k, input.rows, config.kv_width());
  const MatrixView v = rows_of(buffers_.v, input.rows, config.kv_width());
  const MatrixView attention = rows_of(buffers_.attention, input.rows, config.q_width());
  const LinearOutput qkv[] = {layer.q_proj.into(q), layer.k_proj.into(k), layer.v_proj.into(v)};
  device_.linear(input, qkv);
  norm_parts(device_, layer.q_norm, config.norm_epsilon, q);
  norm_parts(device_, layer.k_norm, config.norm_epsilon, k);
  rotate(plan.rope, q, k);
  device_.store_kv(k, v, batch_.sequences, config.heads, kv_.layer(0));
  device_.attention(q, batch_.sequences,
                    {.heads = config.heads,
                     .scale = config.attention_scale,
                     .logit_softcap = config.attention_softcap,
                     .sliding_window = plan.sliding_window,
                     .bidirectional = true,
                     .distance_biases = distance_biases_.view()},
                    kv_.layer(0), attention);
  return attention;
}

void TransformerEncoder::rotate(LayerRope kind, MatrixView q, MatrixView k) {
  if (kind == LayerRope::kNone) return;
  const ModelConfig& config = plan_.transformer;
  const bool local = kind == LayerRope::kLocal;
  const RopeConfig& rope = local ? config.local_rope : config.rope;
  const RopeTable table = {rope.layout, rope.rope_dim,
                           local ? buffers_.local_rope.data() : buffers_.rope.data()};
  device_.rope(q, config.heads.head_dim, table);
  device_.rope(k, config.heads.head_dim, table);
}

void TransformerEncoder::finish_layer(const EncoderLayer& layer, ConstMatrixView attention,
                                      MatrixView residual) {
  const ModelConfig& config = plan_.transformer;
  const FeedForwardBuffers buffers = {
      .gate = rows_of(buffers_.gate, residual.rows, config.intermediate_size),
      .up = rows_of(buffers_.up, residual.rows, config.intermediate_size)};
  add(layer.o_proj, attention, layer.attention_out_norm, residual);
  if (!layer.attention_post_norm.gain.empty()) {
    device_.norm(residual, norm_of(layer.attention_post_norm), residual);
  }
  const ConstMatrixView inner = run_expansion(device_, config.activation, layer.feed_forward,
                                              normed(layer.feed_forward_norm, residual), buffers);
  add(layer.feed_forward.down_proj, inner, layer.feed_forward_out_norm, residual);
  if (!layer.feed_forward_post_norm.gain.empty()) {
    device_.norm(residual, norm_of(layer.feed_forward_post_norm), residual);
  }
}

void TransformerEncoder::add(const LinearWeights& projection, ConstMatrixView input,
                             const Norm& norm, MatrixView residual) {
  const bool direct = norm.gain.empty();
  const MatrixView target =
      direct ? residual : rows_of(buffers_.block_out, residual.rows, residual.cols);
  const LinearOutput out[] = {projection.into(target, /*accumulate=*/direct)};
  device_.linear(input, out);
  if (direct) return;
  device_.norm(target, norm_of(norm), target);
  device_.add_scaled(target, 1.0f, residual);
}

MatrixView TransformerEncoder::mean_rows(MatrixView residual) {
  const MatrixView pooled = rows_of(buffers_.pooled, batch_.sequences.size(), residual.cols);
  std::fill_n(pooled.data, pooled.rows * pooled.cols, 0.0f);
  for (std::size_t i = 0; i < batch_.sequences.size(); ++i) {
    const SequenceRows& sequence = batch_.sequences[i];
    device_.add_weighted_rows(residual,
                              {.num_terms = sequence.num_rows,
                               .rows = batch_.row_ids.data() + sequence.first_row,
                               .weights = batch_.mean_weights.data() + sequence.first_row},
                              {pooled.row(i), 1, pooled.cols, pooled.stride});
  }
  return pooled;
}

}  // namespace hearth
