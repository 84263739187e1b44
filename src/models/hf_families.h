// The table of Hugging Face model classes: how each spells its configuration and its tensors, and
// what of it must be changed on loading to become what the decoder of its architecture expects.
// Source of the spellings: the classes' configuration and module names in transformers; of the
// roles: the GGUF specification's standardized tensor names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "models/hf_windows.h"

namespace hearth {

class HfObject;
class MetadataWriter;

// What happens to a tensor on its way from the file to its role. All but the first two and
// kPositions make a copy.
enum class HfTransform : std::uint8_t {
  kNone,        // Used where it lies in the mapped file.
  kRow,         // A matrix of one row becomes a vector.
  kAddOne,      // Gains stored as their difference to 1; become F32.
  kTransposed,  // A matrix [in_features, out_features]; vectors stay.
  kHeadwise,    // Rows of Q, K and V of each group of heads become all of Q, then K, then V.
  kPositions,   // Used where it lies, without the rows in front of the first token's position.
  // All experts of a layer (see hf_expert_tensors.h).
  kExpertColumns,  // [experts, in_features, out_features] become [experts, out_features,
                   // in_features].
  kPairedColumns,  // The same of gate and up, whose columns take turns: all of gate, then all of
                   // up.
  kPairedValues,   // Their biases [experts, 2 * out_features].
  kMxfp4,          // Blocks [experts, out_features, groups, 16], with scales beside them.
  kPairedMxfp4,    // The same of gate and up, whose rows take turns.
};

// "self_attn.q_proj" in a layer is the role "attn_q"; ".weight" and ".bias" are kept. One '*'
// stands for a number that name and role share.
struct HfModule {
  std::string_view name;
  std::string_view role;
  HfTransform transform = HfTransform::kNone;
  bool outside = false;  // Not below base_prefix.
  bool bare = false;     // A parameter by itself: name and role are whole.
};

enum class HfKeyKind : std::uint8_t { kSize, kCount, kNumber, kFlag };  // A count may be 0.

// A configuration key and the metadata key, below the architecture's prefix, that says the same.
struct HfKey {
  std::string_view name;
  std::string_view metadata_key;
  HfKeyKind kind = HfKeyKind::kSize;
  bool required = true;
};

// A class's own name of a key that the others call `name`.
struct HfAlias {
  std::string_view alias;
  std::string_view name;
};

// Whether the modules of a layer whose role starts like this have a bias: as `key` says, or always
// as `by_default` where that is empty.
struct HfBias {
  std::string_view role_start;
  std::string_view key;
  bool by_default = false;
};

// How a class reads the keys of its rotation.
struct HfRope {
  double theta = 10000.0;         // `rope_theta` where config.json is silent.
  bool partial = false;           // `partial_rotary_factor` is read.
  std::string_view dim_key = {};  // Says how many values of a head are rotated, and is required.
  double part = 1.0;              // That, where config.json is silent.
  bool interleaved = false;       // Rotated pairs lie side by side,
  // unless the flag of this name is false; empty: there is no such flag.
  std::string_view interleaved_key = {};
  bool required = false;        // config.json must have it: the class falls back on a scaling.
  bool stretched_base = false;  // `alpha` of dynamic scaling is a factor of the base.
  bool per_kind = false;        // Layers with and without a window rotate by different parameters.
  bool fixed_ntk = false;       // The type "ntk": a longer base and longer waves for every context.
  bool long_only = false;       // No scaling but longrope.
  bool own_magnitudes = false;  // Longrope's are `short_mscale` and `long_mscale`.
  // `original_max_position_embeddings` where config.json is silent; 0: the rope scaling says it.
  std::uint32_t original_context = 0;
};

struct HfFamily {
  std::string_view class_name;    // In config.json's `architectures`.
  std::string_view architecture;  // Row of the architecture table (architectures.h).
  std::string_view activation_key = "hidden_act";
  // What it may say; empty: the class knows no such key.
  std::span<const std::string_view> activations;
  bool tied_by_default = false;       // `tie_word_embeddings` when config.json is silent.
  bool rotates = true;                // Rotary positions.
  std::string_view base_prefix;       // Of all but the output matrix, where present: "model.".
  std::string_view layer_prefix;      // Below that, in front of the layer's number: "layers.".
  std::span<const HfModule> modules;  // Outside of the layers, below base_prefix.
  std::span<const HfModule> layer_modules;  // Below the layer's number.
  std::span<const HfKey> keys;
  std::span<const HfAlias> aliases;
  // The `quant_method` of weights that the modules' transforms know; empty: none.
  std::string_view quantization = {};
  // Keys of what is not supported: absent, null or false.
  std::span<const std::string_view> refused = {};
  std::string_view output_module = "lm_head";
  // Ends of the names of buffers that directories carry and nobody needs.
  std::span<const std::string_view> ignored;
  // The first row that fits counts; where none does there is no bias.
  std::span<const HfBias> biases;
  HfRope rope;
  HfWindows windows;
  // Starts, below base_prefix, of the names of modules that are trained for something else.
  std::span<const std::string_view> unused = {};
  // The first token's position is one more than `pad_token_id`, or this one.
  bool offset_positions = false;
  std::uint32_t first_position = 0;
  // How many layers behind the model's own guess further tokens, if config.json has such a key;
  // they are left out, as the class does.
  std::string_view extra_layers_key = {};
  // What the tables cannot say; may be nullptr.
  Status (*translate_more)(const HfObject& config, const HfFamily& family, MetadataWriter& out);

  // Of a decoder without its output matrix: "LlamaModel" for "LlamaForCausalLM".
  std::string bare_class() const;
  bool is_encoder() const;
  // An encoder with a head.
  constexpr bool is_classifier() const { return class_name.ends_with("ForSequenceClassification"); }
  // "llama.block_count" for "block_count".
  std::string metadata_key(std::string_view key) const;
};

// By its class or bare class. nullptr when there is no row of that name, or one whose architecture
// this build does not have.
const HfFamily* find_hf_family(std::string_view class_name);
// Names of the usable rows, comma-separated, for messages.
std::string supported_hf_classes();

}  // namespace hearth
