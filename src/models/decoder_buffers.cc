#include "models/decoder_buffers.h"

#include <algorithm>
#include <numeric>

namespace hearth {
namespace {

// visit(buffer, its number of elements) for every buffer; the one statement of their sizes.
template <typename Buffers, typename Visit>
void for_each_buffer(Buffers& b, const ModelConfig& config, const BatchLimits& limits,
                     Visit visit) {
  const std::size_t tokens = limits.max_tokens;
  const std::size_t hidden = config.hidden_size;
  const ExpertConfig& experts = config.experts;
  const bool mixture = experts.num_experts > 0;
  const bool shared = mixture && experts.shared_intermediate_size > 0 && experts.shared_gated;
  const std::size_t slots = mixture ? tokens * experts.num_used : 0;
  const bool any_dense = !mixture || experts.leading_dense > 0;
  const std::size_t dense =
      std::max(any_dense ? config.intermediate_size : 0, experts.shared_intermediate_size);
  const std::size_t inner = tokens * std::max(dense, experts.intermediate_size);
  const bool indirect =
      config.norm_placement != NormPlacement::kPre || config.residual_scale != 1.0f || shared;
  const auto rope_len = [&](LayerRope kind, const RopeConfig& rope) {
    return config.uses_rope(kind) ? tokens * rope.rope_dim : 0;
  };
  visit(b.residual, tokens * hidden);
  visit(b.normed, tokens * hidden);
  visit(b.parallel_normed, config.parallel_residual ? tokens * hidden : 0);
  visit(b.block_out, indirect ? tokens * hidden : 0);
  visit(b.q, tokens * config.q_width());
  visit(b.k, tokens * config.kv_width());
  const LatentConfig& latent = config.latent;
  const bool has_latent = latent.rank > 0;
  const std::size_t own_len =
      std::max(latent.key_dim + config.rope.rope_dim, config.heads.value_len());
  visit(b.v, has_latent ? 0 : tokens * config.kv_width());
  visit(b.attention, tokens * config.attention_width());
  visit(b.query_latents, tokens * latent.query_rank);
  visit(b.own_heads, has_latent ? tokens * config.heads.num_heads * own_len : 0);
  visit(b.gate, config.gated ? inner : 0);
  visit(b.up, inner);
  visit(b.selected, limits.max_logit_rows * hidden);
  const bool has_logits = limits.result == DecoderResult::kLogits;
  visit(b.logits, has_logits ? limits.max_logit_rows * config.vocab_size : 0);
  visit(b.rope, rope_len(LayerRope::kGlobal, config.rope));
  visit(b.local_rope, rope_len(LayerRope::kLocal, config.local_rope));
  visit(b.router_logits, tokens * experts.num_experts);
  visit(b.chosen, slots);
  visit(b.chosen_weights, slots);
  visit(b.slots, slots);
  visit(b.slot_rows, slots);
  visit(b.expert_begins, mixture ? experts.num_experts + 1 : 0);
  visit(b.slot_inputs, slots * hidden);
  visit(b.slot_outputs, slots * hidden);
  visit(b.shared_gate, shared ? tokens : 0);
  visit(b.row_ids, has_latent ? tokens * config.heads.num_heads : shared ? tokens : 0);
}

}  // namespace

void DecoderBuffers::resize(const ModelConfig& config, const BatchLimits& limits) {
  for_each_buffer(*this, config, limits,
                  [](auto& buffer, std::size_t count) { buffer.resize(count); });
  std::iota(row_ids.begin(), row_ids.end(), 0);
}

std::size_t DecoderBuffers::bytes() const {
  std::size_t total = 0;
  for_each_buffer(*this, {}, {}, [&total](const auto& buffer, std::size_t) {
    total += buffer.size() * sizeof(buffer[0]);
  });
  return total;
}

std::size_t activation_bytes_for(const ModelConfig& config, const BatchLimits& limits) {
  const DecoderBuffers buffers;
  std::size_t total = 0;
  for_each_buffer(buffers, config, limits, [&total](const auto& buffer, std::size_t count) {
    total += count * sizeof(buffer[0]);
  });
  return total;
}

}  // namespace hearth
