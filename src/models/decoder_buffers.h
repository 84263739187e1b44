// The memory a decoder's steps work in, sized once for the largest step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/model.h"
#include "models/model_config.h"

namespace hearth {

// Buffers of one step; what a configuration does not need stays empty. T = max_tokens,
// S = T * experts used per token, L = max_logit_rows.
struct DecoderBuffers {
  std::vector<float> residual;         // [T, hidden_size]
  std::vector<float> normed;           // [T, hidden_size]
  std::vector<float> parallel_normed;  // [T, hidden_size], for a parallel feed-forward.
  std::vector<float> block_out;        // [T, hidden_size], before it is added to the residual.
  std::vector<float> q;                // [T, num_heads * head_dim]
  std::vector<float> k;                // [T, num_kv_heads * head_dim]
  std::vector<float> v;                // [T, num_kv_heads * head_dim]
  std::vector<float> attention;        // [T, num_heads * head_dim]
  std::vector<float> gate;             // [T, intermediate_size], or an expert's
  std::vector<float> up;               // As `gate`.
  std::vector<float> selected;         // [L, hidden_size]
  std::vector<float> logits;           // [L, vocab_size]
  std::vector<float> rope;             // cos and sin of ModelConfig::rope and
  std::vector<float> local_rope;       // local_rope: [max_positions, rope_dim / 2, 2]

  // Mixtures of experts. A slot is one token's use of one expert; slots lie grouped by expert.
  std::vector<float> router_logits;        // [T, num_experts]
  std::vector<std::int32_t> chosen;        // [T, num_used] experts
  std::vector<float> chosen_weights;       // [T, num_used]
  std::vector<std::int32_t> slots;         // [T, num_used] slot of each choice
  std::vector<std::int32_t> slot_rows;     // [S] token of each slot
  std::vector<std::size_t> expert_begins;  // [num_experts + 1] first slot of each expert
  std::vector<float> slot_inputs;          // [S, hidden_size]
  std::vector<float> slot_outputs;         // [S, hidden_size]
  std::vector<float> shared_gate;          // [T]
  std::vector<std::int32_t> row_ids;       // [T] 0, 1, 2, ...

  // Throws std::bad_alloc.
  void resize(const ModelConfig& config, const BatchLimits& limits);
  std::size_t bytes() const;
};

}  // namespace hearth
