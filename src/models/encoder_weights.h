// The weights of an encoder but its head, as its configuration declares them. Internal to the
// models module.
#pragma once

#include <memory>
#include <vector>

#include "models/encoder_config.h"
#include "models/layer_weights.h"
#include "models/weights.h"

namespace hearth {

struct EncoderLayer {
  // Norms stand in front of attention and feed-forward or behind them, and those that do not are
  // empty. The first of those in front may be missing: the embedding's norm is enough.
  // Or they stand on what each of the two adds.
  Norm attention_norm;     // [hidden_size]
  Norm feed_forward_norm;  // [hidden_size]
  LinearWeights q_proj;    // [num_heads * head_dim, hidden_size]
  LinearWeights k_proj;    // [num_kv_heads * head_dim, hidden_size]
  LinearWeights v_proj;    // [num_kv_heads * head_dim, hidden_size]
  Norm q_norm;             // [head_dim]
  Norm k_norm;             // [head_dim]
  LinearWeights o_proj;    // [hidden_size, num_heads * head_dim]
  FeedForward feed_forward;
  Norm attention_out_norm;      // [hidden_size]
  Norm feed_forward_out_norm;   // [hidden_size]
  Norm attention_post_norm;     // [hidden_size]
  Norm feed_forward_post_norm;  // [hidden_size]
};

struct EncoderWeights {
  std::unique_ptr<WeightMatrix> token_embedding;     // [vocab_size, hidden_size]
  std::unique_ptr<WeightMatrix> position_embedding;  // [context_len, hidden_size]; null: none.
  std::unique_ptr<WeightMatrix> token_types;         // [num_token_types, hidden_size]; null: none.
  std::unique_ptr<WeightMatrix> distance_biases;     // [buckets, num_heads]; null: none.
  Norm embedding_norm;                               // [hidden_size]
  std::vector<EncoderLayer> layers;
  Norm output_norm;  // [hidden_size]; empty: none.
};

// Declares and binds all of them; the binder remembers what is wrong.
EncoderWeights bind_encoder(const EncoderPlan& plan, WeightBinder& binder);

}  // namespace hearth
