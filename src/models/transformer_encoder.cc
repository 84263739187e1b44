#include "models/transformer_encoder.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <utility>

namespace hearth {
namespace {

// Keeps the length of a vector of zeros, which none should be, away from a division by zero.
constexpr float kTinyEpsilon = 1e-30f;

// Each sequence begins a block of its own.
KvShape kv_shape_of(const ModelConfig& config, const EncoderLimits& limits) {
  return {.num_layers = 1,
          .num_kv_heads = config.heads.num_kv_heads,
          .head_dim = config.heads.head_dim,
          .block_size = kKvPositionLanes,
          .num_blocks = limits.max_batch_tokens / kKvPositionLanes + limits.max_batch_sequences};
}

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
  visit(b.rope, rope_len(LayerRope::kGlobal, config.rope));
  visit(b.local_rope, rope_len(LayerRope::kLocal, config.local_rope));
  visit(b.pooled, sequences * hidden);
  visit(b.head, plan.head_dense ? sequences * hidden : 0);
  visit(b.mean_weights, tokens);
  visit(b.tokens, tokens);
  visit(b.token_types, tokens);
  visit(b.positions, tokens);
  visit(b.row_ids, tokens);
  visit(b.pooled_rows, sequences);
  visit(b.block_ids, kv_shape_of(config, limits).num_blocks);
}

Status check_limits(const EncoderLimits& limits) {
  if (limits.max_batch_tokens == 0 || limits.max_batch_sequences == 0 ||
      limits.max_batch_tokens > static_cast<std::size_t>(1) << 30) {
    return make_status(StatusCode::kInvalidArgument,
                       "batches of {} tokens in {} sequences are impossible",
                       limits.max_batch_tokens, limits.max_batch_sequences);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Encoder>> load_encoder(const ModelFile& file, Device& device,
                                              const EncoderLimits& limits) {
  return TransformerEncoder::load(file, device, limits);
}

Result<std::unique_ptr<Encoder>> TransformerEncoder::load(const ModelFile& file, Device& device,
                                                          const EncoderLimits& limits) {
  HEARTH_RETURN_IF_ERROR(check_limits(limits));
  HEARTH_ASSIGN_OR_RETURN(EncoderPlan plan, read_encoder_plan(file));
  WeightBinder binder(file, device);
  EncoderWeights weights = bind_encoder(plan, binder);
  HEARTH_RETURN_IF_ERROR(binder.finish());
  HEARTH_ASSIGN_OR_RETURN(KvStorage kv, KvStorage::create(kv_shape_of(plan.transformer, limits)));
  std::unique_ptr<TransformerEncoder> encoder(
      new TransformerEncoder(std::move(plan), std::move(weights), device, std::move(kv)));
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
    sequences_.reserve(limits.max_batch_sequences);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kResourceExhausted,
                       "not enough memory for batches of {} tokens in {} sequences",
                       limits.max_batch_tokens, limits.max_batch_sequences);
  }
  std::iota(buffers_.row_ids.begin(), buffers_.row_ids.end(), 0);
  std::iota(buffers_.block_ids.begin(), buffers_.block_ids.end(), 0);
  device_.reserve(
      {.max_tokens = limits.max_batch_tokens,
       .max_features = std::max({config.hidden_size, config.q_width(), config.intermediate_size}),
       .max_head_dim = config.heads.head_dim});
  rope_ = Rope(config.rope, config.context_len);
  local_rope_ = Rope(config.local_rope, config.context_len);
  unit_gain_.assign(config.hidden_size, 1.0f / std::sqrt(static_cast<float>(config.hidden_size)));
  limits_ = limits;
  return {};
}

std::size_t TransformerEncoder::activation_bytes() const {
  std::size_t total = kv_.bytes();
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
  pack(inputs);
  MatrixView residual = embed();
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    const EncoderLayer& layer = weights_.layers[i];
    MatrixView attention = attend(i, normed(layer.attention_norm, residual));
    if (i + 1 == weights_.layers.size() && reads_one_row()) {
      // Nothing behind the last attention mixes rows, so that one row of each sequence will do.
      const auto rows = std::span(buffers_.pooled_rows).first(inputs.size());
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
  const MatrixView pooled = reads_one_row() ? residual : mean_rows(residual);
  if (config.is_classifier()) return run_head(pooled, out);
  if (config.normalize) {
    device_.norm(pooled, {unit_gain_.data(), nullptr, kTinyEpsilon}, out);
  } else {
    device_.gather_rows(pooled, std::span(buffers_.row_ids).first(inputs.size()), out);
  }
}

void TransformerEncoder::pack(std::span<const EncoderInput> inputs) {
  const EncoderConfig& config = plan_.description;
  HEARTH_CHECK(inputs.size() <= limits_.max_batch_sequences);
  const Pooling pooling = config.is_classifier() ? plan_.head_pooling : config.pooling;
  sequences_.clear();
  std::size_t row = 0;
  std::size_t block = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const EncoderInput& input = inputs[i];
    const std::size_t count = input.tokens.size();
    HEARTH_CHECK(count > 0 && count <= config.max_tokens);
    HEARTH_CHECK(row + count <= limits_.max_batch_tokens);
    HEARTH_CHECK(input.token_types.empty() || input.token_types.size() == count);
    std::ranges::copy(input.tokens, buffers_.tokens.data() + row);
    std::fill_n(buffers_.token_types.data() + row, count, 0);
    std::ranges::copy(input.token_types, buffers_.token_types.data() + row);
    std::iota(buffers_.positions.data() + row, buffers_.positions.data() + row + count, 0);
    std::fill_n(buffers_.mean_weights.data() + row, count, 1.0f / static_cast<float>(count));
    const std::size_t read = pooling == Pooling::kLast ? row + count - 1 : row;
    buffers_.pooled_rows[i] = static_cast<std::int32_t>(read);
    sequences_.push_back({.first_row = row,
                          .num_rows = count,
                          .first_position = 0,
                          .block_table = buffers_.block_ids.data() + block});
    row += count;
    block += (count + kKvPositionLanes - 1) / kKvPositionLanes;
  }
  num_tokens_ = row;
}

MatrixView TransformerEncoder::embed() {
  const MatrixView residual =
      rows_of(buffers_.residual, num_tokens_, plan_.transformer.hidden_size);
  device_.embed(*weights_.token_embedding, std::span(buffers_.tokens).first(num_tokens_), residual);
  if (weights_.token_types) add_table_rows(*weights_.token_types, buffers_.token_types, residual);
  if (weights_.position_embedding) {
    add_table_rows(*weights_.position_embedding, buffers_.positions, residual);
  }
  if (!weights_.embedding_norm.gain.empty()) {
    device_.norm(residual, norm_of(weights_.embedding_norm), residual);
  }
  const auto positions = std::span(buffers_.positions).first(num_tokens_);
  const ModelConfig& config = plan_.transformer;
  if (config.uses_rope(LayerRope::kGlobal)) {
    rope_.write_angles(positions, {buffers_.rope.data(), num_tokens_ * config.rope.rope_dim});
  }
  if (config.uses_rope(LayerRope::kLocal)) {
    local_rope_.write_angles(
        positions, {buffers_.local_rope.data(), num_tokens_ * config.local_rope.rope_dim});
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
  rotate(plan.rope, q, k);
  device_.store_kv(k, v, sequences_, config.heads, kv_.layer(0));
  device_.attention(q, sequences_,
                    {.heads = config.heads,
                     .scale = config.attention_scale,
                     .logit_softcap = config.attention_softcap,
                     .sliding_window = plan.sliding_window,
                     .bidirectional = true},
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
  add(layer.o_proj, attention, residual);
  if (!layer.attention_post_norm.gain.empty()) {
    device_.norm(residual, norm_of(layer.attention_post_norm), residual);
  }
  const ConstMatrixView inner = run_expansion(device_, config.activation, layer.feed_forward,
                                              normed(layer.feed_forward_norm, residual), buffers);
  add(layer.feed_forward.down_proj, inner, residual);
  if (!layer.feed_forward_post_norm.gain.empty()) {
    device_.norm(residual, norm_of(layer.feed_forward_post_norm), residual);
  }
}

void TransformerEncoder::add(const LinearWeights& projection, ConstMatrixView input,
                             MatrixView residual) {
  const LinearOutput out[] = {projection.into(residual, /*accumulate=*/true)};
  device_.linear(input, out);
}

bool TransformerEncoder::reads_one_row() const {
  const Pooling pooling =
      plan_.description.is_classifier() ? plan_.head_pooling : plan_.description.pooling;
  return pooling != Pooling::kMean;
}

MatrixView TransformerEncoder::mean_rows(MatrixView residual) {
  const MatrixView pooled = rows_of(buffers_.pooled, sequences_.size(), residual.cols);
  std::fill_n(pooled.data, pooled.rows * pooled.cols, 0.0f);
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const SequenceRows& sequence = sequences_[i];
    device_.add_weighted_rows(residual,
                              {.num_terms = sequence.num_rows,
                               .rows = buffers_.row_ids.data() + sequence.first_row,
                               .weights = buffers_.mean_weights.data() + sequence.first_row},
                              {pooled.row(i), 1, pooled.cols, pooled.stride});
  }
  return pooled;
}

void TransformerEncoder::run_head(MatrixView pooled, MatrixView out) {
  MatrixView input = pooled;
  if (weights_.head_dense.weight) {
    input = rows_of(buffers_.head, pooled.rows, pooled.cols);
    const LinearOutput dense[] = {weights_.head_dense.into(input)};
    device_.linear(pooled, dense);
    switch (plan_.head_activation) {
      case HeadDense::kTanh:
        device_.softcap(input, 1.0f);  // cap * tanh(x / cap)
        break;
      case HeadDense::kRelu:
        device_.activate(Activation::kRelu, input);
        break;
      case HeadDense::kGelu:
        device_.activate(Activation::kGelu, input);
        break;
    }
  }
  if (!weights_.head_norm.gain.empty()) device_.norm(input, norm_of(weights_.head_norm), input);
  const LinearOutput logits[] = {weights_.head_output.into(out)};
  device_.linear(input, logits);
}

}  // namespace hearth
