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
};

// Llama-3 scaling needs no kind of its own: its files carry one divisor per frequency.
struct RopeConfig {
  RopeLayout layout = RopeLayout::kInterleaved;
  std::size_t rope_dim = 0;  // Rotated leading part of each head.
  double freq_base = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;                   // How many times the context was extended.
  std::size_t original_context_len = 0;  // What the model was trained on before that.
  // YaRN: weight of extrapolation, multiplier of the attention temperature, and the numbers of
  // rotations within the original context between which interpolation fades in.
  double yarn_ext_factor = 1.0;
  double yarn_attn_factor = 1.0;
  double yarn_beta_fast = 32.0;
  double yarn_beta_slow = 1.0;
};

struct ModelConfig {
  std::string architecture;  // "llama"
  std::string name;          // general.name; may be empty.
  std::size_t num_layers = 0;
  std::size_t hidden_size = 0;
  std::size_t intermediate_size = 0;
  std::size_t vocab_size = 0;   // Rows of the token embedding.
  std::size_t context_len = 0;  // Positions the model was made for.
  HeadShape heads;
  float norm_epsilon = 1e-5f;
  float attention_scale = 1.0f;
  std::size_t sliding_window = 0;  // 0: attention over the whole past.
  Activation activation = Activation::kSilu;
  RopeConfig rope;

  std::size_t q_width() const { return heads.num_heads * heads.head_dim; }
  std::size_t kv_width() const { return heads.num_kv_heads * heads.head_dim; }
};

// Reads and cross-checks the configuration. kUnimplemented names an architecture or feature that
// this build does not know and lists what it does; kDataLoss names a missing, mistyped or
// contradictory key.
Result<ModelConfig> read_model_config(const ModelFile& file);

// Names with a row in the architecture table, comma-separated, for messages.
std::string supported_architectures();

}  // namespace hearth
