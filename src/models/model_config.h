// What a decoder is, as data: every switch the forward pass knows, read from a model file's
// metadata.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "kernels/device.h"

namespace hearth {

enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,  // Positions divided by `factor` (position interpolation, arXiv 2306.15595).
  kYarn,    // NTK by parts with attention temperature (arXiv 2309.00071).
  kLong,    // Divisors per frequency, one set per length of context (LongRoPE, arXiv 2402.13753).
};

// Llama-3 scaling needs no kind of its own: it is one divisor per frequency.
struct RopeConfig {
  RopeLayout layout = RopeLayout::kInterleaved;
  std::size_t rope_dim = 0;  // Rotated part of each head: the first, of latent attention the last.
  double freq_base = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;                   // How many times the context was extended.
  std::size_t original_context_len = 0;  // What the model was trained on before that.
  double attn_factor = 1.0;              // On cos and sin: LongRoPE's factor, YaRN's temperature.
  double long_attn_factor = 1.0;         // LongRoPE's with long_freq_factors.
  // YaRN: weight of extrapolation, and the numbers of rotations within the original context between
  // which interpolation fades in.
  double yarn_ext_factor = 1.0;
  double yarn_beta_fast = 32.0;
  double yarn_beta_slow = 1.0;
  bool yarn_truncate = true;        // The fading begins and ends at whole frequency indices.
  std::vector<float> freq_factors;  // [rope_dim / 2] divisors of the frequencies; empty: none.
  // LongRoPE: the divisors when the served context is longer than the original one. Which set is
  // used is settled when memory is reserved, so that no answer depends on how long it has become.
  std::vector<float> long_freq_factors;
};

enum class NormKind : std::uint8_t {
  kRms,
  kLayer,  // With the mean taken off.
};

// Where a layer's norms stand.
enum class NormPlacement : std::uint8_t {
  kPre,      // Before attention and before the feed-forward.
  kPrePost,  // Also on what each of them adds to the residual stream.
  kOutputs,  // Only on what each of them adds.
  kPost,     // On the residual stream, behind each of them: encoders.
};

// Norms of Q and K.
enum class QkNorm : std::uint8_t {
  kNone,
  kHead,           // An RMS norm of each head by itself.
  kWhole,          // One of all heads together.
  kOwnLayerNorms,  // A LayerNorm of each head by itself, with gains of its own and no biases.
};

enum class PositionEncoding : std::uint8_t {
  kRope,     // As each layer's `rope` says.
  kAlibi,    // A slope per head on the distance, to either side of encoders; no rotation.
  kLearned,  // A vector per position added to the embedding; context_len of them.
};

enum class LayerRope : std::uint8_t {
  kNone,    // No rotation in this layer.
  kGlobal,  // ModelConfig::rope
  kLocal,   // ModelConfig::local_rope
};

// What may differ from layer to layer.
struct LayerConfig {
  std::size_t sliding_window = 0;  // 0: attention over the whole past.
  LayerRope rope = LayerRope::kGlobal;
};

// A mixture of experts in place of the layers' feed-forwards.
struct ExpertConfig {
  std::size_t num_experts = 0;        // 0: none, the feed-forward is dense.
  std::size_t num_used = 0;           // Per token.
  std::size_t intermediate_size = 0;  // Of each expert.
  std::size_t leading_dense = 0;      // The first so many layers have a dense feed-forward.
  // Of an expert that every token uses; 0: there is none.
  std::size_t shared_intermediate_size = 0;
  bool shared_gated = true;  // It counts as much as its own gate says; else it is simply added.
  bool renormalize = false;  // The weights of the used ones add up to 1.
  float weights_scale = 1.0f;
  ExpertGate gate = ExpertGate::kSoftmax;
  float jitter = 0.0f;  // Of the gate; see ExpertRouting, as for groups.
  std::size_t num_groups = 1;
  std::size_t num_groups_used = 1;

  // By its one best expert, or by its two best (arXiv 2405.04434, 2412.19437).
  std::size_t group_best() const { return gate == ExpertGate::kSigmoid ? 2 : 1; }
};

// Latent attention (MLA, arXiv 2405.04434). A position's keys and values of all heads follow from
// one short vector, its latent, and a rotated part that all heads' keys share. These two are what
// is cached, as the one key of a position; its value is the latent. Queries are taken to that form
// by the matrices that would have made the keys, outputs from it by those of the values.
struct LatentConfig {
  std::size_t rank = 0;        // Length of the latent; 0: attention is of the usual kind.
  std::size_t query_rank = 0;  // Of the queries' own latent; 0: they have none.
  std::size_t key_dim = 0;     // Of each head, without the rotated part.
  std::size_t value_dim = 0;   // Of each head.
  float norm_epsilon = 1e-6f;  // Of the latents' norms.
};

struct ModelConfig {
  std::string architecture;    // "llama"
  bool bidirectional = false;  // Attention to later tokens too: encoders.
  std::string name;            // general.name; may be empty.
  std::size_t num_layers = 0;
  std::size_t hidden_size = 0;
  std::size_t intermediate_size = 0;  // Of dense feed-forwards.
  std::size_t vocab_size = 0;         // Rows of the token embedding.
  std::size_t context_len = 0;        // Positions the model was made for.
  std::vector<LayerConfig> layers;    // [num_layers]

  NormKind norm = NormKind::kRms;
  bool norm_biases = true;  // Of LayerNorms: each has one; else each may have one.
  bool norm_gains = true;   // Of norms of the hidden state; else none has one.
  float norm_epsilon = 1e-5f;
  NormPlacement norm_placement = NormPlacement::kPre;
  bool embedding_norm = false;     // A norm right behind the embedding.
  bool parallel_residual = false;  // Attention and feed-forward both read the layer's input.

  HeadShape heads;  // Of latent attention: as cached, one key and value for all heads.
  LatentConfig latent;
  QkNorm qk_norm = QkNorm::kNone;
  bool qk_norm_rotated = false;  // Behind rotation instead of before.
  float attention_scale = 1.0f;
  float attention_softcap = 0.0f;  // Of attention scores; 0: none.
  PositionEncoding positions = PositionEncoding::kRope;
  RopeConfig rope;
  RopeConfig local_rope;        // Of layers with LayerRope::kLocal.
  float alibi_max_bias = 8.0f;  // See alibi_slopes().
  // Added to the scores of all layers: a number per head and bucket of distances (see
  // distance_bucket()); 0: nothing.
  std::size_t num_distance_buckets = 0;
  bool attention_sinks = false;  // Of each layer's heads; see AttentionParams.
  float qkv_limit = 0.0f;        // Q, K and V are kept within +-this, behind norms; 0: not at all.
  bool required_biases = false;  // Every projection of a layer has one; else each may have one.

  Activation activation = Activation::kSilu;
  bool gated = true;  // down(activation(gate x) * up x); else down(activation(up x)).
  ExpertConfig experts;

  float embedding_scale = 1.0f;
  float residual_scale = 1.0f;  // Of what attention and feed-forward add.
  float logit_scale = 1.0f;
  float logit_softcap = 0.0f;  // After the scale; 0: none.

  std::size_t q_width() const { return heads.num_heads * heads.head_dim; }
  std::size_t kv_width() const { return heads.num_kv_heads * heads.head_dim; }
  // Of what attention hands on to its output projection.
  std::size_t attention_width() const {
    return heads.num_heads * (latent.rank > 0 ? latent.value_dim : heads.head_dim);
  }
  bool has_experts(std::size_t layer) const {
    return experts.num_experts > 0 && layer >= experts.leading_dense;
  }
  bool uses_rope(LayerRope kind) const;  // In any layer.
};

struct Architecture;

// Reads and cross-checks a decoder's configuration. kUnimplemented names an architecture or feature
// that this build does not know and lists what it does; kDataLoss names a missing, mistyped or
// contradictory key.
Result<ModelConfig> read_model_config(const ModelFile& file);
// The same for a file whose architecture is this row: also what encoders are made of.
Result<ModelConfig> read_model_config(const ModelFile& file, const Architecture& row);

// Names with a row in the architecture table, comma-separated, for messages.
std::string supported_architectures();

// ALiBi's slope per head (arXiv 2108.12409): a geometric sequence from 2^(-max_bias / n) for the
// largest power of two n of heads, the heads beyond it from the sequence of 2n.
std::vector<float> alibi_slopes(std::size_t num_heads, float max_bias);

}  // namespace hearth
