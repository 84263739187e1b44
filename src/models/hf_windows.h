// Which layers of a Hugging Face directory's model see only a window of the past. The classes
// differ in when there is a window at all and in whether `layer_types` is read.
// Source of the rules: the classes' configuration code in transformers.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace hearth {

class HfObject;
class MetadataWriter;
struct HfFamily;

// Layers that have the window where `layer_types` does not say it.
enum class HfWindowedLayers : std::uint8_t {
  kNone,  // The class knows no window.
  kAll,
  kUpper,              // From `max_window_layers` on.
  kLowerEvenly,        // Every second one from the first on, below `max_window_layers`.
  kUnrotated,          // Those without rotary positions.
  kEverySecond,        // The first, the third, ...
  kAllButLastOfGroup,  // Of `sliding_window_pattern`.
  kAllButFirstOfGroup  // Of `global_attn_every_n_layers`.
};

struct HfWindows {
  HfWindowedLayers layers = HfWindowedLayers::kNone;
  bool listed = false;          // `layer_types` decides where it is there.
  bool must_be_used = false;    // Only with `use_sliding_window`: true.
  bool must_be_stated = false;  // `sliding_window` cannot be null.
  std::uint32_t period = 6;     // Layers of a group, where config.json is silent.
  std::uint32_t size = 0;       // `sliding_window` where config.json is silent; 0: no window.
};

// Writes the window and the layers that have it. kUnimplemented with key and value where
// `layer_types` contradicts the other keys or the class does not read it.
Status translate_hf_windows(const HfObject& config, const HfFamily& family, MetadataWriter& out);

// kUnimplemented unless every fourth layer, and no other, goes without rotary positions: that is
// what the architecture's name implies.
Status check_hf_unrotated_layers(const HfObject& config);

}  // namespace hearth
