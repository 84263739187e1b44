#include "models/decoder_weights.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace hearth {
namespace {

void bind_qk_norms(const ModelConfig& config, NamedBinder& binder, DecoderLayer& layer) {
  const HeadShape& heads = config.heads;
  switch (config.qk_norm) {
    case QkNorm::kNone:
      return;
    case QkNorm::kHead:
      binder.rms_norm("attn_q_norm", heads.head_dim, layer.q_norm);
      return binder.rms_norm("attn_k_norm", heads.head_dim, layer.k_norm);
    case QkNorm::kWhole:
      binder.rms_norm("attn_q_norm", config.q_width(), layer.q_norm);
      return binder.rms_norm("attn_k_norm", config.kv_width(), layer.k_norm);
    case QkNorm::kOwnLayerNorms:
      binder.own_layer_norms("attn_q_norm", heads.num_heads, heads.head_dim, layer.q_norm);
      return binder.own_layer_norms("attn_k_norm", heads.num_kv_heads, heads.head_dim,
                                    layer.k_norm);
  }
}

void bind_qkv(const ModelConfig& config, NamedBinder& binder, DecoderLayer& layer) {
  bind_attention_inputs(config, binder, {&layer.q_proj, &layer.k_proj, &layer.v_proj});
  bind_qk_norms(config, binder, layer);
  if (config.attention_sinks) binder.vector("attn_sinks", config.heads.num_heads, layer.sinks);
}

// Keys and values of all heads from the latent: a stack each, or for each head its keys above its
// values.
void bind_latent_heads(const ModelConfig& config, NamedBinder& binder, LatentWeights& latent) {
  const LatentConfig& sizes = config.latent;
  latent.keys.resize(config.heads.num_heads);
  latent.values.resize(config.heads.num_heads);
  if (binder.has("attn_kv_b")) {
    const SplitBands bands = {
        .in_features = sizes.rank, .transposed_rows = sizes.key_dim, .plain_rows = sizes.value_dim};
    binder.split_bands("attn_kv_b", bands, {latent.keys, latent.values, &latent.made});
  } else {
    binder.stacked("attn_k_b", {sizes.rank, sizes.key_dim}, latent.keys);
    binder.stacked("attn_v_b", {sizes.value_dim, sizes.rank}, latent.values);
  }
}

void bind_latent(const ModelConfig& config, NamedBinder& binder, LatentWeights& latent) {
  const LatentConfig& sizes = config.latent;
  const std::size_t rope_dim = config.rope.rope_dim;
  const std::size_t queries = config.heads.num_heads * (sizes.key_dim + rope_dim);
  binder.linear("attn_kv_a_mqa", sizes.rank + rope_dim, config.hidden_size, latent.key_down);
  binder.rms_norm("attn_kv_a_norm", sizes.rank, latent.key_norm);
  if (sizes.query_rank > 0) {
    binder.linear("attn_q_a", sizes.query_rank, config.hidden_size, latent.query_down);
    binder.rms_norm("attn_q_a_norm", sizes.query_rank, latent.query_norm);
    binder.linear("attn_q_b", queries, sizes.query_rank, latent.query_up);
  } else {
    binder.linear("attn_q", queries, config.hidden_size, latent.query_up);
  }
  // Without one of them there is no saying that the number of heads is more than a claim.
  if (latent.query_up.weight) bind_latent_heads(config, binder, latent);
}

// One of the projections of all experts.
void bind_stack(NamedBinder& binder, std::string_view name, const MatrixSpec& spec,
                std::span<FeedForward> experts, LinearWeights FeedForward::* member) {
  std::vector<std::unique_ptr<WeightMatrix>> matrices(experts.size());
  std::vector<VectorPart> biases;
  binder.stacked(name, spec, matrices);
  for (std::size_t i = 0; i < experts.size(); ++i) {
    LinearWeights& target = experts[i].*member;
    target.weight = std::move(matrices[i]);
    biases.push_back({spec.out_features, &target.bias});
  }
  binder.stacked_biases(name, experts.size(), biases);
}

// Gate above up in one tensor, or in one each.
void bind_expanding_stacks(NamedBinder& binder, const MatrixSpec& spec,
                           std::span<FeedForward> experts) {
  if (binder.has("ffn_gate_exps")) {
    bind_stack(binder, "ffn_gate_exps", spec, experts, &FeedForward::gate_proj);
    bind_stack(binder, "ffn_up_exps", spec, experts, &FeedForward::up_proj);
    return;
  }
  std::vector<std::unique_ptr<WeightMatrix>> matrices(2 * experts.size());
  std::vector<VectorPart> biases;
  binder.stacked_pairs("ffn_up_exps", spec, matrices);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    FeedForward& expert = experts[i / 2];
    LinearWeights& target = i % 2 == 0 ? expert.gate_proj : expert.up_proj;
    target.weight = std::move(matrices[i]);
    biases.push_back({spec.out_features, &target.bias});
  }
  binder.stacked_biases("ffn_up_exps", experts.size(), biases);
}

void bind_experts(const ModelConfig& config, NamedBinder& binder, ExpertMixture& mixture) {
  const ExpertConfig& experts = config.experts;
  const std::size_t hidden = config.hidden_size;
  const std::size_t size = experts.intermediate_size;
  binder.linear("ffn_gate_inp", experts.num_experts, hidden, mixture.router);
  // Without the router there is no saying that the number of experts is more than a claim.
  if (!mixture.router.weight) return;
  mixture.experts.resize(experts.num_experts);
  if (binder.has("ffn_up_exps")) {
    bind_expanding_stacks(binder, {size, hidden}, mixture.experts);
    bind_stack(binder, "ffn_down_exps", {hidden, size}, mixture.experts, &FeedForward::down_proj);
  } else {
    // A matrix for each expert: directories, and GGUF files of the first mixtures.
    for (std::size_t i = 0; i < experts.num_experts; ++i)
      bind_feed_forward(config, binder, fmt::format(".{}", i), size, mixture.experts[i]);
  }
  if (experts.gate == ExpertGate::kSigmoid) {
    binder.optional_bias("exp_probs_b", experts.num_experts, mixture.bias);
  }
  if (experts.shared_intermediate_size == 0) return;
  if (experts.shared_gated) {
    binder.row("ffn_gate_inp_shexp", hidden, mixture.shared_gate.weight);
  }
  bind_feed_forward(config, binder, "_shexp", experts.shared_intermediate_size, mixture.shared);
}

void bind_layer_norms(const ModelConfig& config, NamedBinder& binder, DecoderLayer& layer) {
  if (config.norm_placement != NormPlacement::kPre) {
    binder.norm("post_attention_norm", layer.attention_post_norm);
    binder.norm("post_ffw_norm", layer.feed_forward_post_norm);
  }
  if (config.norm_placement == NormPlacement::kOutputs) return;
  if (!config.parallel_residual || binder.has("ffn_norm")) {
    // Some converters name it by its place behind attention, as the class does.
    const bool by_place =
        config.norm_placement == NormPlacement::kPre && binder.has("post_attention_norm");
    binder.norm("attn_norm", layer.attention_norm);
    binder.norm(by_place ? "post_attention_norm" : "ffn_norm", layer.feed_forward_norm);
    return;
  }
  // One norm for both, or a second one for attention.
  binder.norm("attn_norm", layer.feed_forward_norm);
  if (binder.has("attn_norm_2")) {
    binder.norm("attn_norm_2", layer.attention_norm);
  } else {
    layer.attention_norm = layer.feed_forward_norm;
  }
}

void bind_layer(const ModelConfig& config, std::size_t idx, NamedBinder binder,
                DecoderLayer& layer) {
  if (config.latent.rank > 0) {
    bind_latent(config, binder, layer.latent);
  } else {
    bind_qkv(config, binder, layer);
  }
  binder.linear("attn_output", config.hidden_size, config.attention_width(), layer.o_proj);
  bind_layer_norms(config, binder, layer);
  if (config.has_experts(idx)) {
    bind_experts(config, binder, layer.mixture);
  } else {
    bind_feed_forward(config, binder, "", config.intermediate_size, layer.feed_forward);
  }
  // Rotation frequencies that some converters leave in the file; we compute our own.
  binder.ignore("attn_rot_embd");
  binder.ignore("rope_freqs");
}

void fold_logit_scale(float scale, DecoderWeights& weights) {
  for (auto* values :
       {&weights.output_norm.gain, &weights.output_norm.bias, &weights.output_bias}) {
    for (float& value : *values)
      value *= scale;
  }
}

}  // namespace

DecoderWeights bind_decoder(const ModelConfig& config, DecoderResult result, WeightBinder& binder) {
  DecoderWeights weights;
  const MatrixSpec vocabulary = {config.vocab_size, config.hidden_size};
  const bool has_logits = result == DecoderResult::kLogits;
  const bool tied = has_logits && !binder.has("output.weight");
  MatrixSpec embedding = vocabulary;
  embedding.use = tied ? MatrixUse::kBoth : MatrixUse::kTable;
  binder.matrix("token_embd.weight", embedding, weights.token_embedding);
  if (has_logits && !tied) binder.matrix("output.weight", vocabulary, weights.output);
  if (has_logits) {
    binder.vector("output.bias", config.vocab_size, Presence::kOptional, weights.output_bias);
  }
  if (config.positions == PositionEncoding::kLearned) {
    binder.matrix("position_embd.weight",
                  {.out_features = config.context_len,
                   .in_features = config.hidden_size,
                   .use = MatrixUse::kTable},
                  weights.position_embedding);
  }
  NamedBinder top(config, binder, "");
  if (config.embedding_norm) top.norm("token_embd_norm", weights.embedding_norm);
  const auto bind_one = [&](std::size_t idx, NamedBinder layer_binder, DecoderLayer& layer) {
    bind_layer(config, idx, std::move(layer_binder), layer);
  };
  bind_layers(config, binder, bind_one, weights.layers);
  top.norm("output_norm", weights.output_norm);
  if (has_logits) fold_logit_scale(config.logit_scale, weights);
  if (!has_logits) {
    binder.ignore("output.weight");
    binder.ignore("output.bias");
  }
  // Their values are in the configuration.
  top.ignore("rope_freqs");
  top.ignore("rope_factors_short");
  top.ignore("rope_factors_long");
  return weights;
}

}  // namespace hearth
