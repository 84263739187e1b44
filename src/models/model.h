// A loaded decoder: weights bound to a device, and one forward pass over a ragged batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "formats/model_file.h"
#include "kernels/device.h"
#include "kv/kv_storage.h"
#include "models/model_config.h"

namespace hearth {

// The tokens of one step, of all sequences, packed. Borrows everything.
struct ForwardBatch {
  std::span<const std::int32_t> tokens;      // [num_tokens]
  std::span<const std::int32_t> positions;   // [num_tokens], position within the own sequence
  std::span<const SequenceRows> sequences;   // Cover all rows, in row order.
  std::span<const std::int32_t> logit_rows;  // Rows whose next-token logits are wanted, ascending.
};

// Owned and called by one thread. forward() allocates nothing for batches within reserve().
class Model {
 public:
  // Binds every weight the architecture declares. All missing tensors and shape mismatches are
  // reported at once (kDataLoss). Borrows `file` and `device`, which must outlive the model.
  static Result<std::unique_ptr<Model>> load(const ModelFile& file, Device& device);
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  // Largest step: rows, rows with logits, and positions per sequence.
  virtual Status reserve(std::size_t max_tokens, std::size_t max_logit_rows,
                         std::size_t max_positions) = 0;

  // Stores keys and values of all rows and computes logits [logit_rows.size(), vocab_size] in the
  // order of logit_rows. The result stays valid until the next call. Row results do not depend on
  // the other rows of the batch.
  virtual ConstMatrixView forward(const ForwardBatch& batch, KvStorage& kv) = 0;

  virtual std::size_t num_parameters() const = 0;
  virtual std::size_t weight_bytes() const = 0;  // Repacked copies, and mapped data read in place.
  virtual std::size_t activation_bytes() const = 0;  // After reserve().
};

// What is wanted of a decoder: the next token's logits, or the hidden states they are made of.
enum class DecoderResult : std::uint8_t { kLogits, kHiddenStates };

// What reserve() takes for a model of this configuration: activation_bytes() without loading it.
struct BatchLimits {
  std::size_t max_tokens = 0;
  std::size_t max_logit_rows = 0;
  std::size_t max_positions = 0;
  DecoderResult result = DecoderResult::kLogits;
};
std::size_t activation_bytes_for(const ModelConfig& config, const BatchLimits& limits);

}  // namespace hearth
