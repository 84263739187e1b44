// The weights of a decoder, as its configuration declares them. Differences in how files store them
// (fused projections, shared norms, scales that a norm can take in) end here.
#pragma once

#include <memory>
#include <vector>

#include "base/anonymous_mapping.h"
#include "models/layer_weights.h"
#include "models/model.h"
#include "models/model_config.h"
#include "models/weights.h"

namespace hearth {

struct ExpertMixture {
  LinearWeights router;              // [num_experts, hidden_size]
  std::vector<FeedForward> experts;  // [num_experts]
  std::vector<float> bias;           // [num_experts], for choosing them; empty: none.
  LinearWeights shared_gate;         // [1, hidden_size]; null: there is none.
  FeedForward shared;                // Null: no shared expert.
};

// Of latent attention (see LatentConfig); r is its rank, h the number of heads.
struct LatentWeights {
  LinearWeights query_down;  // [query_rank, hidden_size]; null: queries have no latent.
  Norm query_norm;           // [query_rank]
  LinearWeights query_up;    // [h * (key_dim + rope_dim), query_rank or hidden_size]
  LinearWeights key_down;    // [r + rope_dim, hidden_size]
  Norm key_norm;             // [r]
  std::vector<std::unique_ptr<WeightMatrix>> keys;    // [h] of [r, key_dim]: of queries.
  std::vector<std::unique_ptr<WeightMatrix>> values;  // [h] of [value_dim, r]
  AnonymousMapping made;                              // What files hold transposed.
};

struct DecoderLayer {
  Norm attention_norm;          // [hidden_size]
  LinearWeights q_proj;         // [num_heads * head_dim, hidden_size]
  LinearWeights k_proj;         // [num_kv_heads * head_dim, hidden_size]
  LinearWeights v_proj;         // [num_kv_heads * head_dim, hidden_size]
  Norm q_norm;                  // [head_dim], of all heads or of each (see QkNorm)
  Norm k_norm;                  // As q_norm.
  std::vector<float> sinks;     // [num_heads]; empty: none.
  LinearWeights o_proj;         // [hidden_size, attention_width()]
  Norm attention_post_norm;     // [hidden_size]
  Norm feed_forward_norm;       // [hidden_size]
  LatentWeights latent;         // Instead of Q, K and V.
  FeedForward feed_forward;     // Without experts.
  ExpertMixture mixture;        // With experts.
  Norm feed_forward_post_norm;  // [hidden_size]
};

struct DecoderWeights {
  std::unique_ptr<WeightMatrix> token_embedding;     // [vocab_size, hidden_size]
  std::unique_ptr<WeightMatrix> position_embedding;  // [context_len, hidden_size]; null: none.
  Norm embedding_norm;                               // [hidden_size]
  std::vector<DecoderLayer> layers;
  Norm output_norm;                      // [hidden_size]; with the logits' scale.
  std::unique_ptr<WeightMatrix> output;  // [vocab_size, hidden_size]; nullptr: tied, or unused.
  std::vector<float> output_bias;        // [vocab_size], with the logits' scale; empty: none.

  const WeightMatrix& output_or_tied() const { return output ? *output : *token_embedding; }
};

// Declares and binds all of them; the binder remembers what is wrong. For hidden states the output
// matrix is left out, and so is the logits' scale.
DecoderWeights bind_decoder(const ModelConfig& config, DecoderResult result, WeightBinder& binder);

}  // namespace hearth
