// The memory a decoder's steps work in, sized once for the largest step.
#pragma once

#include <cstddef>
#include <cstdint>

#include "models/buffer_rows.h"
#include "models/model.h"
#include "models/model_config.h"

namespace hearth {

// Buffers of one step; what a configuration does not need stays empty. T = max_tokens,
// S = T * experts used per token, L = max_logit_rows.
struct DecoderBuffers {
  StepBuffer<float> residual;         // [T, hidden_size]
  StepBuffer<float> normed;           // [T, hidden_size]
  StepBuffer<float> parallel_normed;  // [T, hidden_size], for a parallel feed-forward.
  StepBuffer<float> block_out;        // [T, hidden_size], before it is added to the residual.
  StepBuffer<float> q;                // [T, num_heads * head_dim]
  StepBuffer<float> k;                // [T, num_kv_heads * head_dim]
  StepBuffer<float> v;                // [T, num_kv_heads * head_dim]
  StepBuffer<float> attention;        // [T, attention_width()]
  // Latent attention: queries' latents [T, query_rank], and what is between queries or outputs as
  // they are cached and as the heads have them: [T, num_heads * the longer of both].
  StepBuffer<float> query_latents;
  StepBuffer<float> own_heads;
  StepBuffer<float> gate;        // [T, intermediate_size], or an expert's
  StepBuffer<float> up;          // As `gate`.
  StepBuffer<float> selected;    // [L, hidden_size]
  StepBuffer<float> logits;      // [L, vocab_size]
  StepBuffer<float> rope;        // cos and sin of the angles of ModelConfig::rope
  StepBuffer<float> local_rope;  // and local_rope: [T, rope_dim / 2, 2]

  // Mixtures of experts. A slot is one token's use of one expert; slots lie grouped by expert.
  StepBuffer<float> router_logits;        // [T, num_experts]
  StepBuffer<std::int32_t> chosen;        // [T, num_used] experts
  StepBuffer<float> chosen_weights;       // [T, num_used]
  StepBuffer<std::int32_t> slots;         // [T, num_used] slot of each choice
  StepBuffer<std::int32_t> slot_rows;     // [S] token of each slot
  StepBuffer<std::size_t> expert_begins;  // [num_experts + 1] first slot of each expert
  StepBuffer<float> slot_inputs;          // [S, hidden_size]
  StepBuffer<float> slot_outputs;         // [S, hidden_size]
  StepBuffer<float> shared_gate;          // [T]
  StepBuffer<std::int32_t> row_ids;       // [T], of latent attention [T * num_heads]: 0, 1, 2, ...

  // Throws std::bad_alloc.
  void resize(const ModelConfig& config, const BatchLimits& limits);
  std::size_t bytes() const;
};

}  // namespace hearth
