// Dense modules of sentence-transformers: layers behind pooling, each in a folder of its own.
// Internal to the models module.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

// A folder that holds a module, below the model's directory.
struct HfModuleFolder {
  const std::filesystem::path& directory;
  std::string_view name;  // "2_Dense"
};

struct HfDense {
  std::uint32_t in_features = 0;
  std::uint32_t out_features = 0;
  bool bias = true;
  std::string_view activation;  // As metadata names it: "tanh".
};

// What the folder's config.json says. kUnimplemented names a setting that is not supported.
Result<HfDense> read_hf_dense(const HfModuleFolder& folder);

// Adds its weights as `role`.weight and .bias. kDataLoss where they are not what the configuration
// says.
Status add_hf_dense_tensors(const HfModuleFolder& folder, std::string_view role,
                            ModelFileContent& content);

}  // namespace hearth
