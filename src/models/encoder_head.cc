#include "models/encoder_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace hearth {
namespace {

// Keeps the length of a vector of zeros, which none should be, away from a division by zero.
constexpr float kTinyEpsilon = 1e-30f;

void activate(Device& device, DenseActivation activation, MatrixView x) {
  switch (activation) {
    case DenseActivation::kNone:
      return;
    case DenseActivation::kTanh:
      return device.softcap(x, 1.0f);  // cap * tanh(x / cap)
    case DenseActivation::kRelu:
      return device.activate(Activation::kRelu, x);
    case DenseActivation::kGelu:
      return device.activate(Activation::kGelu, x);
  }
}

}  // namespace

EncoderHead::EncoderHead(std::span<const HeadStep> steps, const ModelConfig& transformer,
                         WeightBinder& binder) {
  std::size_t width = transformer.hidden_size;
  for (const HeadStep& step : steps) {
    Layer layer{.step = step, .dense = {}, .norm = {}, .rows = {}};
    switch (step.kind) {
      case HeadStepKind::kDense:
        binder.matrix(fmt::format("{}.weight", step.name), {step.width, width}, layer.dense.weight);
        // They come and go with the class.
        binder.vector(fmt::format("{}.bias", step.name), step.width, Presence::kOptional,
                      layer.dense.bias);
        break;
      case HeadStepKind::kNorm:
        NamedBinder(transformer, binder, "").norm(step.name, layer.norm);
        layer.epsilon = transformer.norm_epsilon;
        break;
      case HeadStepKind::kUnitLength:
        // The mean of the squares lacks the factor `width`.
        layer.norm.gain.assign(width, 1.0f / std::sqrt(static_cast<float>(width)));
        layer.epsilon = kTinyEpsilon;
        break;
      case HeadStepKind::kDifference:
        break;
    }
    width = step.width;
    layers_.push_back(std::move(layer));
  }
}

void EncoderHead::reserve(std::size_t max_rows) {
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i)
    layers_[i].rows.resize(max_rows * layers_[i].step.width);
  row_ids_.resize(max_rows);
  std::iota(row_ids_.begin(), row_ids_.end(), 0);
}

std::size_t EncoderHead::bytes() const {
  std::size_t count = row_ids_.size();
  for (const Layer& layer : layers_)
    count += layer.rows.size();
  return count * sizeof(float);
}

std::size_t EncoderHead::max_features() const {
  std::size_t features = 0;
  for (const Layer& layer : layers_) {
    if (layer.dense.weight) features = std::max(features, layer.dense.weight->in_features());
  }
  return features;
}

void EncoderHead::run(Device& device, ConstMatrixView states, MatrixView out) {
  if (layers_.empty()) {
    device.gather_rows(states, std::span(row_ids_).first(states.rows), out);
    return;
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const bool last = i + 1 == layers_.size();
    const MatrixView target = last ? out : rows_of(layer.rows, states.rows, layer.step.width);
    if (layer.step.kind == HeadStepKind::kDense) {
      const LinearOutput dense[] = {layer.dense.into(target)};
      device.linear(states, dense);
      activate(device, layer.step.activation, target);
    } else if (layer.step.kind == HeadStepKind::kDifference) {
      for (std::size_t row = 0; row < states.rows; ++row)
        *target.row(row) = states.row(row)[0] - states.row(row)[1];
    } else {
      device.norm(states, layer.norm.view(layer.epsilon), target);
    }
    states = target;
  }
}

}  // namespace hearth
