// The files that sentence-transformers puts beside a model: what is made of its hidden states, how
// long texts may be, and the prompts in front of them. Internal to the models module.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/status.h"
#include "models/hf_config.h"
#include "models/hf_families.h"

namespace hearth {

inline constexpr std::string_view kHfModulesName = "modules.json";

// Writes what they say about an encoder without a head, or a decoder that embeds. A directory
// without them means the mean over all tokens, not normalized, as sentence-transformers takes it.
// kUnimplemented names a module or a setting that would change the vectors and is not supported.
Status translate_hf_sentence_files(const std::filesystem::path& directory, const HfObject& config,
                                   const HfFamily& family, MetadataWriter& out);

// Adds the weights of the modules behind pooling.
Status add_hf_sentence_tensors(const std::filesystem::path& directory, ModelFileContent& content);

}  // namespace hearth
