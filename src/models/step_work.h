// What a step of a model must read and multiply at the very least: the yardstick for how well a
// machine is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "formats/model_file.h"
#include "models/model_config.h"

namespace hearth {

// Sequences of one shape, computed in one step.
struct StepRows {
  std::size_t num_sequences = 1;
  std::size_t first_position = 0;     // Of every sequence: what its cache holds before the step.
  std::size_t rows_per_sequence = 1;  // Tokens computed.
  std::size_t num_logit_rows = 1;     // Of the whole step.
};

// Of one step, or of several added up.
struct StepWork {
  std::uint64_t weight_bytes = 0;    // As in the file, each matrix once; of a mixture's experts as
                                     // many as one row uses.
  std::uint64_t kv_bytes = 0;        // Each sequence's attended positions once.
  std::uint64_t quantized_macs = 0;  // Multiply-adds with weights of a block format.
  std::uint64_t float_macs = 0;      // With weights of a float format, and those of attention.

  std::uint64_t bytes() const { return weight_bytes + kv_bytes; }
  std::uint64_t macs() const { return quantized_macs + float_macs; }
  StepWork& operator+=(const StepWork& other);
};

// Counts by the file's own tensors, so that mixtures of formats come out right. Immutable.
class StepWorkCounter {
 public:
  // `file` is one that Model::load() accepts with `config`; keys and values are cached in
  // `kv_dtype` (see KvLayerView). Borrows nothing after construction.
  StepWorkCounter(const ModelFile& file, const ModelConfig& config, DType kv_dtype);

  StepWork count(const StepRows& rows) const;

 private:
  // Matrices of one use, by kind of their numbers.
  struct Matrices {
    std::uint64_t bytes = 0;
    std::uint64_t quantized_parameters = 0;
    std::uint64_t float_parameters = 0;
    // The part `used / total` of a tensor.
    void add(const TensorView& tensor, std::uint64_t used = 1, std::uint64_t total = 1);
  };
  // Layers that look equally far back; 0: at the whole past.
  struct WindowedLayers {
    std::size_t window = 0;
    std::uint64_t count = 0;
  };

  Matrices layers_;               // Multiplied with every row.
  Matrices output_;               // Multiplied with the rows whose logits are wanted.
  std::uint64_t kv_row_bytes_;    // Keys and values of one position in a layer.
  std::uint64_t attention_macs_;  // Per row and attended position in a layer.
  std::vector<WindowedLayers> windows_;
};

}  // namespace hearth
