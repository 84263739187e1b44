// The one decoder implementation: transformer blocks of attention and feed-forward, steered by
// ModelConfig alone.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "models/decoder_buffers.h"
#include "models/decoder_weights.h"
#include "models/model.h"
#include "models/model_config.h"
#include "models/rope.h"

namespace hearth {

class Decoder final : public Model {
 public:
  // Binds its weights and finishes the binder: what else the caller wants of the file is bound
  // before. Borrows `device`.
  static Result<std::unique_ptr<Decoder>> load(WeightBinder& binder, ModelConfig config,
                                               Device& device,
                                               DecoderResult result = DecoderResult::kLogits);

  const ModelConfig& config() const override { return config_; }
  Status reserve(std::size_t max_tokens, std::size_t max_logit_rows,
                 std::size_t max_positions) override;
  ConstMatrixView forward(const ForwardBatch& batch, KvStorage& kv) override;
  // The normed hidden states of logit_rows instead of their logits: [logit_rows.size(),
  // hidden_size], as long valid. `kv` may have one layer, which all use in turn, when every
  // sequence is in the batch from its first position on.
  ConstMatrixView hidden_states(const ForwardBatch& batch, KvStorage& kv);
  std::size_t num_parameters() const override { return num_parameters_; }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  std::size_t activation_bytes() const override { return buffers_.bytes(); }

 private:
  Decoder(ModelConfig config, DecoderWeights weights, Device& device);

  NormWeights norm_of(const Norm& norm) const { return norm.view(config_.norm_epsilon); }
  MatrixView residual_rows(std::size_t num_tokens);

  void embed(const ForwardBatch& batch);
  void run_layers(const ForwardBatch& batch, KvStorage& kv);
  void run_layer(std::size_t idx, const ForwardBatch& batch, const KvLayerView& cache);
  // The residual stream through the norm into `out`, or as it is where there is no such norm.
  ConstMatrixView normed(const Norm& norm, MatrixView out);
  // Into `attention`.
  void attend(std::size_t idx, ConstMatrixView input, const ForwardBatch& batch,
              const KvLayerView& cache);
  // The same of latent attention: decoder_latent.cc.
  void attend_latent(std::size_t idx, ConstMatrixView input, const ForwardBatch& batch,
                     const KvLayerView& cache);
  AttentionParams attention_params(std::size_t idx) const;
  // Queries as they meet the cache, into `q`, and keys, but for the rotation of both.
  void project_latent(const LatentWeights& weights, ConstMatrixView input);
  void norm_queries_and_keys(const DecoderLayer& layer, std::size_t num_tokens);
  void norm_heads(const Norm& norm, MatrixView heads);
  void prepare_rotations(std::span<const std::int32_t> positions);
  void rotate(LayerRope kind, std::size_t num_tokens);
  // The inner activations of a feed-forward: rows of `gate` or `up`.
  ConstMatrixView expand(const FeedForward& weights, ConstMatrixView input);
  // Adds projection x input to the residual stream, through the post norm if there is one.
  void add_projection(const LinearWeights& projection, ConstMatrixView input,
                      const Norm& post_norm);
  // The same for a mixture of experts: decoder_experts.cc.
  void add_experts(const ExpertMixture& mixture, ConstMatrixView input);
  void group_by_expert(std::size_t num_tokens);
  void run_experts(const ExpertMixture& mixture, ConstMatrixView input);
  void add_shared_expert(const ExpertMixture& mixture, ConstMatrixView input);
  MatrixView select_rows(const ForwardBatch& batch);
  ConstMatrixView compute_logits(const ForwardBatch& batch);

  ModelConfig config_;
  DecoderWeights weights_;
  Device& device_;
  std::vector<float> alibi_slopes_;  // [num_heads]; empty: none.
  DecoderResult result_ = DecoderResult::kLogits;
  std::size_t num_parameters_ = 0;
  std::size_t weight_bytes_ = 0;
  // After reserve().
  BatchLimits limits_;
  Rope rope_;
  Rope local_rope_;
  DecoderBuffers buffers_;
};

}  // namespace hearth
