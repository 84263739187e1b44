// What becomes of a text's one hidden state: the layers of a classification head, or those that
// make a vector of it. Internal to the models module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "models/buffer_rows.h"
#include "models/layer_weights.h"
#include "models/weights.h"

namespace hearth {

// Behind a dense layer.
enum class DenseActivation : std::uint8_t { kNone, kTanh, kRelu, kGelu };

enum class HeadStepKind : std::uint8_t {
  kDense,       // A matrix, perhaps with a bias, and an activation.
  kNorm,        // A norm of the transformer's kind.
  kUnitLength,  // A division by the length.
  kDifference,  // The first of two numbers without the second: how much likelier it is.
};

struct HeadStep {
  HeadStepKind kind = HeadStepKind::kDense;
  std::string name;       // Of its tensors, without ".weight": "cls".
  std::size_t width = 0;  // Of what comes out.
  DenseActivation activation = DenseActivation::kNone;
};

// No steps: the hidden state as it is. One thread at a time.
class EncoderHead {
 public:
  EncoderHead() = default;
  // Declares the weights; the binder remembers what is wrong.
  EncoderHead(std::span<const HeadStep> steps, const ModelConfig& transformer,
              WeightBinder& binder);

  // Room for so many rows; throws std::bad_alloc.
  void reserve(std::size_t max_rows);
  std::size_t bytes() const;
  // The widest input of a matrix; 0: there is none.
  std::size_t max_features() const;

  // Rows of `out` [rows, width of the last step] from as many hidden states. Allocates nothing.
  void run(Device& device, ConstMatrixView states, MatrixView out);

 private:
  struct Layer {
    HeadStep step;
    LinearWeights dense;
    Norm norm;               // Of kUnitLength a gain that makes an RMS norm of it.
    float epsilon = 0.0f;    // Of the norm.
    StepBuffer<float> rows;  // [max_rows, width] of what comes out; the last one's stays empty.
  };

  std::vector<Layer> layers_;
  std::vector<std::int32_t> row_ids_;  // [max_rows] 0, 1, 2, ...
};

}  // namespace hearth
