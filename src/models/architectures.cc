#include "models/architectures.h"

#include <algorithm>
#include <array>

namespace hearth {
namespace {

// By name. Files of `llama` hold Q and K with rotated pairs adjacent, the others half a head
// apart.
constexpr std::array kArchitectures = {
    Architecture{.name = "llama",
                 .models = "Llama 1 to 3.3, Mistral, SmolLM2, TinyLlama",
                 .rope_layout = RopeLayout::kInterleaved},
    Architecture{.name = "qwen2", .models = "Qwen 2 and 2.5"},
};

}  // namespace

std::span<const Architecture> architectures() {
  return kArchitectures;
}

const Architecture* find_architecture(std::string_view name) {
  const auto* row = std::ranges::find(kArchitectures, name, &Architecture::name);
  return row == kArchitectures.end() ? nullptr : row;
}

ModelConfig implied_config(const Architecture& row) {
  ModelConfig config;
  config.architecture = row.name;
  config.norm = row.norm;
  config.norm_placement = row.norm_placement;
  config.embedding_norm = row.embedding_norm;
  config.parallel_residual = row.parallel_residual;
  config.qk_norm = row.qk_norm;
  config.required_biases = row.required_biases;
  config.positions = row.positions;
  config.rope.layout = row.rope_layout;
  config.activation = row.activation;
  config.gated = row.gated;
  config.experts.renormalize = row.renormalize_experts;
  config.attention_softcap = row.attention_softcap;
  config.logit_softcap = row.logit_softcap;
  return config;
}

}  // namespace hearth
