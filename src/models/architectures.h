// The architecture tables: what one family of decoders, or of encoders, does differently, as one
// row.
#pragma once

#include <span>
#include <string_view>

#include "kernels/device.h"
#include "models/model_config.h"

namespace hearth {

enum class ExpertUse : std::uint8_t { kNever, kPerhaps, kAlways };

// When attention and feed-forward both read the layer's input.
enum class ParallelUse : std::uint8_t {
  kNever,
  kAlways,
  kStated,        // As the key `use_parallel_residual` says; yes where it is silent.
  kUnlessNormed,  // Where the feed-forward has no norm of its own.
};

// Everything that GGUF metadata does not say about a family because its name implies it. Fields
// named like those of ModelConfig mean the same.
struct Architecture {
  std::string_view name;    // general.architecture, and the prefix of its metadata keys.
  std::string_view models;  // Well-known ones, for the documentation.
  NormKind norm = NormKind::kRms;
  NormPlacement norm_placement = NormPlacement::kPre;
  bool norm_biases = true;
  bool norm_gains = true;
  bool embedding_norm = false;
  ParallelUse parallel = ParallelUse::kNever;
  bool bidirectional = false;  // An encoder.
  bool latent_attention = false;
  QkNorm qk_norm = QkNorm::kNone;
  bool qk_norm_rotated = false;
  bool qk_norm_perhaps = false;  // Only where files have these norms.
  bool attention_sinks = false;
  bool required_biases = false;
  PositionEncoding positions = PositionEncoding::kRope;
  bool distance_buckets = false;  // Of encoders; see ModelConfig::num_distance_buckets.
  RopeLayout rope_layout = RopeLayout::kHalves;
  std::size_t unrotated_period = 0;  // Every so manyth layer has no rotation; 0: all have.
  bool unrotated_globals = false;    // Nor have those without a window, if others have one.
  bool unscaled_windows = false;     // Layers with a window rotate without the scaling.
  bool whole_attn_factor = false;    // YaRN's `attn_factor` is the whole temperature.
  bool yarn_truncate = true;
  Activation activation = Activation::kSilu;
  bool gated = true;
  ExpertUse experts = ExpertUse::kNever;
  bool shared_expert = false;  // With a gate of its own.
  // Files state leading dense layers, shared experts without a gate, groups and the gate's kind.
  bool stated_experts = false;
  bool renormalize_experts = false;
  ExpertGate expert_gate = ExpertGate::kSoftmax;
  bool scaled_embedding = false;  // By the square root of the width.
  // Files state scales of the embedding and of what blocks add, and a divisor of the logits.
  bool stated_scales = false;
  bool stated_logit_factor = false;  // Files state a factor of the logits.
  // What files that do not say mean.
  double embedding_scale = 1.0;
  double residual_depth = 0.0;  // Over the root of the number of layers: a scale; 0: none.
  double logit_width = 0.0;     // Of the hidden state whose logits have no divisor; 0: any.
  std::size_t sliding_window = 0;
  // Of every so many layers the last one sees everything; 0: none of those with windows.
  std::size_t global_period = 0;
  bool global_first = false;     // The first one instead of the last.
  double local_freq_base = 0.0;  // Of layers with a window; 0: as in the others.
  float attention_softcap = 0.0f;
  float logit_softcap = 0.0f;
  // The one size of the family, told by its layers, whose attention scale counts the width per head
  // instead of the head's own size; 0: none.
  std::size_t wide_scale_layers = 0;
};

std::span<const Architecture> architectures();
// nullptr when there is no row of that name.
const Architecture* find_architecture(std::string_view name);

// The same of encoders.
std::span<const Architecture> encoder_architectures();
const Architecture* find_encoder_architecture(std::string_view name);

// The configuration as far as the name implies it.
ModelConfig implied_config(const Architecture& row);

}  // namespace hearth
