#include "models/encoder_weights.h"

#include <string_view>
#include <utility>

namespace hearth {
namespace {

void bind_table(WeightBinder& binder, std::string_view name, std::size_t rows, std::size_t width,
                std::unique_ptr<WeightMatrix>& target) {
  binder.matrix(name, {.out_features = rows, .in_features = width, .use = MatrixUse::kTable},
                target);
}

void bind_layer(const ModelConfig& config, std::size_t idx, NamedBinder binder,
                EncoderLayer& layer) {
  bind_attention_inputs(config, binder, {&layer.q_proj, &layer.k_proj, &layer.v_proj});
  if (config.qk_norm == QkNorm::kHead) {
    binder.rms_norm("attn_q_norm", config.heads.head_dim, layer.q_norm);
    binder.rms_norm("attn_k_norm", config.heads.head_dim, layer.k_norm);
  }
  binder.linear("attn_output", config.hidden_size, config.q_width(), layer.o_proj);
  bind_feed_forward(config, binder, "", config.intermediate_size, layer.feed_forward);
  if (config.norm_placement == NormPlacement::kPost) {
    binder.norm("attn_output_norm", layer.attention_post_norm);
    binder.norm("layer_output_norm", layer.feed_forward_post_norm);
    return;
  }
  if (config.norm_placement == NormPlacement::kPrePost) {
    binder.norm("post_attention_norm", layer.attention_out_norm);
    binder.norm("post_ffw_norm", layer.feed_forward_out_norm);
  }
  if (idx > 0 || !config.embedding_norm || binder.has("attn_norm"))
    binder.norm("attn_norm", layer.attention_norm);
  binder.norm("ffn_norm", layer.feed_forward_norm);
}

}  // namespace

EncoderWeights bind_encoder(const EncoderPlan& plan, WeightBinder& binder) {
  const ModelConfig& config = plan.transformer;
  EncoderWeights weights;
  bind_table(binder, "token_embd.weight", config.vocab_size, config.hidden_size,
             weights.token_embedding);
  if (config.positions == PositionEncoding::kLearned) {
    bind_table(binder, "position_embd.weight", config.context_len, config.hidden_size,
               weights.position_embedding);
  }
  if (config.num_distance_buckets > 0) {
    bind_table(binder, "attn_rel_b.weight", config.num_distance_buckets, config.heads.num_heads,
               weights.distance_biases);
  }
  if (plan.description.num_token_types > 0) {
    bind_table(binder, "token_types.weight", plan.description.num_token_types, config.hidden_size,
               weights.token_types);
  }
  NamedBinder top(config, binder, "");
  if (config.embedding_norm) top.norm("token_embd_norm", weights.embedding_norm);
  const auto bind_one = [&](std::size_t idx, NamedBinder layer_binder, EncoderLayer& layer) {
    bind_layer(config, idx, std::move(layer_binder), layer);
  };
  bind_layers(config, binder, bind_one, weights.layers);
  if (plan.normed_behind_layers()) top.norm("output_norm", weights.output_norm);
  if (!plan.description.is_classifier()) {
    // The pooler of BERT's second training task, which no vector is made with.
    binder.ignore("cls.weight");
    binder.ignore("cls.bias");
  }
  return weights;
}

}  // namespace hearth
