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

namespace hearth {

class HfObject;
class MetadataWriter;

// What happens to a tensor on its way from the file to its role. All but kNone make a copy.
enum class HfTransform : std::uint8_t {
  kNone,  // Used where it lies in the mapped file.
};

// "self_attn.q_proj" in a layer is the role "attn_q"; ".weight" and ".bias" are kept.
struct HfModule {
  std::string_view name;
  std::string_view role;
  HfTransform transform = HfTransform::kNone;
};

enum class HfKeyKind : std::uint8_t { kSize, kNumber };

// A configuration key and the metadata key, below the architecture's prefix, that says the same.
struct HfKey {
  std::string_view name;
  std::string_view metadata_key;
  HfKeyKind kind = HfKeyKind::kSize;
  bool required = true;
};

struct HfFamily {
  std::string_view class_name;        // In config.json's `architectures`.
  std::string_view architecture;      // Row of the architecture table (architectures.h).
  std::string_view activation;        // What `hidden_act` must say.
  bool tied_by_default = false;       // `tie_word_embeddings` when config.json is silent.
  std::string_view base_prefix;       // Of all but the output matrix: "model.".
  std::string_view layer_prefix;      // Below that, in front of the layer's number: "layers.".
  std::span<const HfModule> modules;  // Outside of the layers, below base_prefix.
  std::span<const HfModule> layer_modules;  // Below the layer's number.
  std::span<const HfKey> keys;
  // What the tables cannot say; may be nullptr.
  Status (*translate_more)(const HfObject& config, const HfFamily& family, MetadataWriter& out);

  // "llama.block_count" for "block_count".
  std::string metadata_key(std::string_view key) const;
};

std::span<const HfFamily> hf_families();
// nullptr when there is no row of that name.
const HfFamily* find_hf_family(std::string_view class_name);

}  // namespace hearth
