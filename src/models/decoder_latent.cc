// Latent attention in its absorbed form (see LatentConfig): all heads' queries meet one key per
// position, and what they get is one latent each.
#include "models/buffer_rows.h"
#include "models/decoder.h"

namespace hearth {
namespace {

MatrixView columns_of(MatrixView matrix, std::size_t first, std::size_t count) {
  return {matrix.data + first, matrix.rows, count, matrix.stride};
}

// The same columns of every head as one row each: [rows * heads, count].
MatrixView heads_of(MatrixView matrix, std::size_t head_len, std::size_t first, std::size_t count) {
  return {matrix.data + first, matrix.rows * (matrix.cols / head_len), count, head_len};
}

}  // namespace

void Decoder::project_latent(const LatentWeights& weights, ConstMatrixView input) {
  const LatentConfig& latent = config_.latent;
  const std::size_t num_heads = config_.heads.num_heads;
  const MatrixView k = rows_of(buffers_.k, input.rows, config_.kv_width());
  const MatrixView query_latents = rows_of(buffers_.query_latents, input.rows, latent.query_rank);
  LinearOutput down[] = {weights.key_down.into(k), weights.query_down.into(query_latents)};
  const bool has_query_latents = latent.query_rank > 0;
  device_.linear(input, std::span(down).first(has_query_latents ? 2 : 1));
  const MatrixView key_latents = columns_of(k, 0, latent.rank);
  device_.norm(key_latents, weights.key_norm.view(latent.norm_epsilon), key_latents);
  if (has_query_latents) {
    device_.norm(query_latents, weights.query_norm.view(latent.norm_epsilon), query_latents);
  }

  const std::size_t rope_dim = config_.rope.rope_dim;
  const std::size_t own_len = latent.key_dim + rope_dim;
  const MatrixView own = rows_of(buffers_.own_heads, input.rows, num_heads * own_len);
  const LinearOutput up[] = {weights.query_up.into(own)};
  device_.linear(has_query_latents ? query_latents : input, up);
  const MatrixView q = rows_of(buffers_.q, input.rows, config_.q_width());
  const std::size_t head_len = config_.heads.head_dim;
  for (std::size_t head = 0; head < num_heads; ++head) {
    const LinearOutput absorbed[] = {
        {.weight = weights.keys[head].get(), .out = columns_of(q, head * head_len, latent.rank)}};
    device_.linear(columns_of(own, head * own_len, latent.key_dim), absorbed);
  }
  device_.gather_rows(heads_of(own, own_len, latent.key_dim, rope_dim),
                      {buffers_.row_ids.data(), input.rows * num_heads},
                      heads_of(q, head_len, latent.rank, rope_dim));
}

void Decoder::attend_latent(std::size_t idx, ConstMatrixView input, const ForwardBatch& batch,
                            const KvLayerView& cache) {
  const LatentWeights& weights = weights_.layers[idx].latent;
  const LatentConfig& latent = config_.latent;
  const std::size_t num_heads = config_.heads.num_heads;
  project_latent(weights, input);
  rotate(config_.layers[idx].rope, input.rows);
  const MatrixView k = rows_of(buffers_.k, input.rows, config_.kv_width());
  device_.store_kv(k, columns_of(k, 0, latent.rank), batch.sequences, config_.heads, cache);
  const MatrixView seen = rows_of(buffers_.own_heads, input.rows, num_heads * latent.rank);
  device_.attention(rows_of(buffers_.q, input.rows, config_.q_width()), batch.sequences,
                    attention_params(idx), cache, seen);
  const MatrixView out = rows_of(buffers_.attention, input.rows, config_.attention_width());
  for (std::size_t head = 0; head < num_heads; ++head) {
    const LinearOutput values[] = {
        {.weight = weights.values[head].get(),
         .out = columns_of(out, head * latent.value_dim, latent.value_dim)}};
    device_.linear(columns_of(seen, head * latent.rank, latent.rank), values);
  }
}

}  // namespace hearth
