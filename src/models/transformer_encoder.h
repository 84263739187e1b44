// The one encoder implementation: transformer blocks whose attention looks both ways, steered by
// EncoderPlan alone. Internal to the models module; see encoder.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kv/kv_storage.h"
#include "models/buffer_rows.h"
#include "models/distance_biases.h"
#include "models/encoder.h"
#include "models/encoder_batch.h"
#include "models/encoder_config.h"
#include "models/encoder_head.h"
#include "models/encoder_weights.h"
#include "models/rope.h"

namespace hearth {

// The memory a batch is computed in; what a plan does not need stays empty. T = max_batch_tokens,
// S = max_batch_sequences.
struct EncoderBuffers {
  StepBuffer<float> residual;    // [T, hidden_size]
  StepBuffer<float> normed;      // [T, hidden_size]
  StepBuffer<float> q;           // [T, num_heads * head_dim]
  StepBuffer<float> k;           // [T, num_kv_heads * head_dim]
  StepBuffer<float> v;           // [T, num_kv_heads * head_dim]
  StepBuffer<float> attention;   // [T, num_heads * head_dim]
  StepBuffer<float> gate;        // [T, intermediate_size]
  StepBuffer<float> up;          // [T, intermediate_size]
  StepBuffer<float> block_out;   // [T, hidden_size], of norms on what is added
  StepBuffer<float> rope;        // cos and sin of the angles of ModelConfig::rope
  StepBuffer<float> local_rope;  // and local_rope: [T, rope_dim / 2, 2]
  StepBuffer<float> pooled;      // [S, hidden_size]
};

class TransformerEncoder final : public Encoder {
 public:
  static Result<std::unique_ptr<Encoder>> load(const ModelFile& file, EncoderPlan plan,
                                               Device& device, const EncoderLimits& limits);

  const EncoderConfig& config() const override { return plan_.description; }
  const EncoderLimits& limits() const override { return limits_; }
  void encode(std::span<const EncoderInput> inputs, MatrixView out) override;
  std::size_t num_parameters() const override { return num_parameters_; }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  std::size_t activation_bytes() const override;

 private:
  TransformerEncoder(EncoderPlan plan, EncoderWeights weights, Device& device, KvStorage kv)
      : plan_(std::move(plan)), weights_(std::move(weights)), device_(device), kv_(std::move(kv)) {}

  Status reserve(const EncoderLimits& limits);
  DistanceBiasTable make_distance_biases(std::size_t max_tokens);
  NormWeights norm_of(const Norm& norm) const { return norm.view(plan_.transformer.norm_epsilon); }

  MatrixView embed();
  void add_table_rows(const WeightMatrix& table, const StepBuffer<std::int32_t>& ids,
                      MatrixView residual);
  // From the layer's input to `attention`.
  MatrixView attend(std::size_t idx, ConstMatrixView input);
  void rotate(LayerRope kind, MatrixView q, MatrixView k);
  // Adds attention and feed-forward to the residual stream.
  void finish_layer(const EncoderLayer& layer, ConstMatrixView attention, MatrixView residual);
  // Adds projection x input to the residual stream, through the norm if there is one.
  void add(const LinearWeights& projection, ConstMatrixView input, const Norm& norm,
           MatrixView residual);
  // The input of attention or feed-forward: the residual stream, or its norm.
  ConstMatrixView normed(const Norm& norm, MatrixView residual);
  bool reads_one_row() const { return plan_.pooling != Pooling::kMean; }
  // One row per sequence, from all rows.
  MatrixView mean_rows(MatrixView residual);

  EncoderPlan plan_;
  EncoderWeights weights_;
  Device& device_;
  KvStorage kv_;  // One layer's, used by all in turn.
  EncoderLimits limits_;
  EncoderBuffers buffers_;
  EncoderBatch batch_;
  EncoderHead head_;
  Rope rope_;
  Rope local_rope_;
  DistanceBiasTable distance_biases_;
  std::size_t num_parameters_ = 0;
  std::size_t weight_bytes_ = 0;
};

}  // namespace hearth
