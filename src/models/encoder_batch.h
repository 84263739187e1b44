// The sequences of one call of Encoder::encode(), laid out as one ragged batch. Internal to the
// models module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kv/kv_storage.h"
#include "models/buffer_rows.h"
#include "models/encoder.h"

namespace hearth {

// T = max_batch_tokens, S = max_batch_sequences.
struct EncoderBatch {
  std::size_t num_tokens = 0;
  std::vector<SequenceRows> sequences;   // [S] Each begins a block of its own.
  StepBuffer<std::int32_t> tokens;       // [T]
  StepBuffer<std::int32_t> token_types;  // [T]
  StepBuffer<std::int32_t> positions;    // [T]
  StepBuffer<float> mean_weights;        // [T] What a token counts in its sequence's mean.
  StepBuffer<std::int32_t> read_rows;    // [S] The row that each result is read from, if from one.
  StepBuffer<std::int32_t> row_ids;      // [T] 0, 1, 2, ...
  StepBuffer<std::int32_t> block_ids;    // Of the keys and values: 0, 1, 2, ...

  // Throws std::bad_alloc.
  void reserve(const EncoderLimits& limits);
  std::size_t bytes() const;

  // `read` says which row of a sequence is read; allocates nothing. Checks the invariants that
  // Encoder::encode() states.
  void pack(std::span<const EncoderInput> inputs, const EncoderConfig& config, Pooling read);
};

// Memory for the keys and values of one layer, which all layers use in turn: nothing is kept from
// one batch to the next.
Result<KvStorage> make_encoder_kv(const HeadShape& heads, const EncoderLimits& limits);

// kInvalidArgument for batches that cannot be.
Status check_encoder_limits(const EncoderLimits& limits);

}  // namespace hearth
