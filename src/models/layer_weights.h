// Parts of layers that decoders and encoders share, and how files store them: projections that may
// be fused, norms, feed-forwards. Internal to the models module.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// Empty: there is no such norm.
struct Norm {
  std::vector<float> gain;
  std::vector<float> bias;  // Empty: RMS norm.

  NormWeights view(float epsilon) const {
    return {gain.data(), bias.empty() ? nullptr : bias.data(), epsilon};
  }
};

// Of size n = intermediate_size, or an expert's.
struct FeedForward {
  LinearWeights gate_proj;  // [n, hidden_size]; null when not gated.
  LinearWeights up_proj;    // [n, hidden_size]
  LinearWeights down_proj;  // [hidden_size, n]
};

// Where the inner activations of a feed-forward are computed: [rows, n] each, `gate` only if gated.
struct FeedForwardBuffers {
  MatrixView gate;
  MatrixView up;
};

// Norms, in place, of parts of each row as long as the norm; none where it is empty.
void norm_parts(Device& device, const Norm& norm, float epsilon, MatrixView rows);

// The inner activations: one of the buffers.
ConstMatrixView run_expansion(Device& device, Activation activation, const FeedForward& weights,
                              ConstMatrixView input, const FeedForwardBuffers& buffers);

// Names of one layer below "blk.N.", or with an empty prefix those outside layers, as GGUF files
// spell them.
class NamedBinder {
 public:
  NamedBinder(const ModelConfig& config, WeightBinder& binder, std::string prefix)
      : config_(config), binder_(binder), prefix_(std::move(prefix)) {}

  std::string weight(std::string_view name) const { return full(name, "weight"); }
  std::string bias(std::string_view name) const { return full(name, "bias"); }
  bool has(std::string_view name) const { return binder_.has(weight(name)); }
  std::size_t num_rows(std::string_view name) const { return binder_.num_rows(weight(name)); }

  // A norm of the configured kind over the hidden state. What the file has no tensor for is made
  // only while nothing is amiss: else nothing may have proved the width.
  void norm(std::string_view name, Norm& target) {
    if (!config_.norm_gains) {
      if (binder_.has_problems()) return;
      target = {.gain = std::vector<float>(config_.hidden_size, 1.0f),
                .bias = std::vector<float>(config_.hidden_size)};
      return;
    }
    rms_norm(name, config_.hidden_size, target);
    if (config_.norm != NormKind::kLayer) return;
    binder_.vector(bias(name), config_.hidden_size,
                   config_.norm_biases ? Presence::kRequired : Presence::kOptional, target.bias);
    // Without one the mean is taken off all the same.
    if (!config_.norm_biases && target.bias.empty() && !target.gain.empty())
      target.bias.resize(config_.hidden_size);
  }

  void rms_norm(std::string_view name, std::size_t length, Norm& target) {
    vector(name, length, target.gain);
  }

  // LayerNorms without biases side by side, each with gains of its own [length]: a matrix of these,
  // or in directories a vector for each.
  void own_layer_norms(std::string_view name, std::size_t count, std::size_t length, Norm& target) {
    const bool apart = has(fmt::format("{}.0", name));
    if (!apart) {
      const VectorPart gains[] = {{count * length, &target.gain}};
      binder_.stacked_vectors(weight(name), count, Presence::kRequired, gains);
    }
    for (std::size_t i = 0; apart && i < count; ++i) {
      std::vector<float> own;
      vector(fmt::format("{}.{}", name, i), length, own);
      if (own.empty()) return;
      target.gain.insert(target.gain.end(), own.begin(), own.end());
    }
    target.bias.assign(target.gain.size(), 0.0f);
  }

  void vector(std::string_view name, std::size_t length, std::vector<float>& target) {
    binder_.vector(weight(name), length, Presence::kRequired, target);
  }

  void linear(std::string_view name, std::size_t out_features, std::size_t in_features,
              LinearWeights& target) {
    binder_.matrix(weight(name), {out_features, in_features}, target.weight);
    binder_.vector(bias(name), out_features, bias_presence(), target.bias);
  }

  void row(std::string_view name, std::size_t length, std::unique_ptr<WeightMatrix>& target) {
    binder_.row(weight(name), length, target);
  }

  // Several projections of the hidden state in one tensor.
  void fused(std::string_view name, std::span<const MatrixPart> matrices,
             std::span<const VectorPart> biases) {
    binder_.fused_matrices(weight(name), config_.hidden_size, matrices);
    binder_.fused_vectors(bias(name), bias_presence(), biases);
  }

  void stacked(std::string_view name, const MatrixSpec& spec,
               std::span<std::unique_ptr<WeightMatrix>> targets) {
    binder_.stacked_matrices(weight(name), spec, targets);
  }

  // Two of these below each other for every matrix of the stack.
  void stacked_pairs(std::string_view name, const MatrixSpec& spec,
                     std::span<std::unique_ptr<WeightMatrix>> targets) {
    binder_.stacked_matrices(weight(name), spec, targets, /*group_size=*/2);
  }

  // Biases of the stack's matrices, in `num_rows` rows.
  void stacked_biases(std::string_view name, std::size_t num_rows,
                      std::span<const VectorPart> parts) {
    binder_.stacked_vectors(bias(name), num_rows, bias_presence(), parts);
  }

  // Some matrices for each of several heads below each other.
  void split_bands(std::string_view name, const SplitBands& bands, const BandTargets& targets) {
    binder_.split_bands(weight(name), bands, targets);
  }

  void optional_bias(std::string_view name, std::size_t length, std::vector<float>& target) {
    binder_.vector(bias(name), length, Presence::kOptional, target);
  }

  void ignore(std::string_view name) { binder_.ignore(weight(name)); }

 private:
  std::string full(std::string_view name, std::string_view kind) const {
    return fmt::format("{}{}.{}", prefix_, name, kind);
  }
  Presence bias_presence() const {
    return config_.required_biases ? Presence::kRequired : Presence::kOptional;
  }

  const ModelConfig& config_;
  WeightBinder& binder_;
  std::string prefix_;
};

// Binds layer after layer by `bind_layer(index, NamedBinder, layer)`, up to the first that
// something is wrong with: a small file may claim thousands.
template <typename Layer, typename BindLayer>
void bind_layers(const ModelConfig& config, WeightBinder& binder, const BindLayer& bind_layer,
                 std::vector<Layer>& layers) {
  layers.resize(config.num_layers);
  for (std::size_t i = 0; i < config.num_layers; ++i) {
    const std::string prefix = fmt::format("blk.{}.", i);
    bind_layer(i, NamedBinder(config, binder, prefix), layers[i]);
    if (binder.has_problems()) return binder.leave_out("blk.", prefix);
  }
}

// Where the projections of the hidden state that attention starts with go.
struct AttentionInputs {
  LinearWeights* q = nullptr;
  LinearWeights* k = nullptr;
  LinearWeights* v = nullptr;
};

// Three tensors or a fused one.
void bind_attention_inputs(const ModelConfig& config, NamedBinder& binder,
                           const AttentionInputs& targets);

// `suffix` tells the feed-forwards of a layer apart. Gate and up may be one tensor:
// `ffn_up` with the gate's rows first, `ffn_up_gate` with them last.
void bind_feed_forward(const ModelConfig& config, NamedBinder& binder, std::string_view suffix,
                       std::size_t size, FeedForward& target);

}  // namespace hearth
