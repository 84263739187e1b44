// The one decoder implementation: pre-norm transformer blocks with grouped-query attention, rotary
// positions and a gated feed-forward, steered by ModelConfig alone.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "models/model.h"
#include "models/model_config.h"
#include "models/weights.h"

namespace hearth {

struct LinearWeights {
  std::unique_ptr<WeightMatrix> weight;
  std::vector<float> bias;  // Empty: none.

  LinearOutput into(MatrixView out, bool accumulate = false) const {
    return {weight.get(), bias.empty() ? nullptr : bias.data(), out, accumulate};
  }
};

struct DecoderLayer {
  std::vector<float> attention_norm;     // [hidden_size]
  LinearWeights q_proj;                  // [num_heads * head_dim, hidden_size]
  LinearWeights k_proj;                  // [num_kv_heads * head_dim, hidden_size]
  LinearWeights v_proj;                  // [num_kv_heads * head_dim, hidden_size]
  LinearWeights o_proj;                  // [hidden_size, num_heads * head_dim]
  std::vector<float> feed_forward_norm;  // [hidden_size]
  LinearWeights gate_proj;               // [intermediate_size, hidden_size]
  LinearWeights up_proj;                 // [intermediate_size, hidden_size]
  LinearWeights down_proj;               // [hidden_size, intermediate_size]
};

struct DecoderWeights {
  std::unique_ptr<WeightMatrix> token_embedding;  // [vocab_size, hidden_size]
  std::vector<DecoderLayer> layers;
  std::vector<float> output_norm;        // [hidden_size]
  std::unique_ptr<WeightMatrix> output;  // [vocab_size, hidden_size]; nullptr: tied.
  std::vector<float> rope_freq_factors;  // [rope_dim / 2]; empty: none.

  const WeightMatrix& output_or_tied() const { return output ? *output : *token_embedding; }
};

class Decoder final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(const ModelFile& file, ModelConfig config,
                                             Device& device);

  const ModelConfig& config() const override { return config_; }
  Status reserve(std::size_t max_tokens, std::size_t max_logit_rows,
                 std::size_t max_positions) override;
  ConstMatrixView forward(const ForwardBatch& batch, KvStorage& kv) override;
  std::size_t num_parameters() const override { return num_parameters_; }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  std::size_t activation_bytes() const override;

 private:
  // Buffers of one step, for the largest batch.
  struct Activations {
    std::vector<float> residual;   // [max_tokens, hidden_size]
    std::vector<float> normed;     // [max_tokens, hidden_size]
    std::vector<float> q;          // [max_tokens, num_heads * head_dim]
    std::vector<float> k;          // [max_tokens, num_kv_heads * head_dim]
    std::vector<float> v;          // [max_tokens, num_kv_heads * head_dim]
    std::vector<float> attention;  // [max_tokens, num_heads * head_dim]
    std::vector<float> gate;       // [max_tokens, intermediate_size]
    std::vector<float> up;         // [max_tokens, intermediate_size]
    std::vector<float> selected;   // [max_logit_rows, hidden_size]
    std::vector<float> logits;     // [max_logit_rows, vocab_size]
  };

  Decoder(ModelConfig config, DecoderWeights weights, Device& device);

  void attention_block(const DecoderLayer& layer, const ForwardBatch& batch,
                       const KvLayerView& cache);
  void feed_forward_block(const DecoderLayer& layer, std::size_t num_tokens);
  ConstMatrixView compute_logits(const ForwardBatch& batch);

  ModelConfig config_;
  DecoderWeights weights_;
  Device& device_;
  std::size_t num_parameters_ = 0;
  std::size_t weight_bytes_ = 0;
  std::size_t max_tokens_ = 0;
  std::size_t max_logit_rows_ = 0;
  std::size_t max_positions_ = 0;
  std::vector<float> rope_cos_sin_;  // [max_positions, rope_dim / 2, 2]
  Activations activations_;
};

}  // namespace hearth
