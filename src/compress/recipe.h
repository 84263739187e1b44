// Which number format each tensor of a model gets under a target such as "q4_k_m".
//
// The mixtures are those that users know from llama.cpp (src/llama-quant.cpp there): the output
// matrix in Q6_K, and under the _m targets the value projection and half of the down projections a
// step finer than the rest.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

enum class Mixture : std::uint8_t {
  kPlain,    // One format for all, but for the output matrix.
  kMedium,   // The _m targets.
  kSmallest  // q2_k.
};

struct Recipe {
  std::string_view name;   // "q4_k_m"
  std::string_view label;  // "Q4_K_M": the tag of a model in the registry.
  DType dtype = DType::kF16;
  Mixture mixture = Mixture::kPlain;
  // general.file_type of GGUF files; NF4 has none.
  std::optional<std::uint32_t> file_type;
};

// In the order of help texts.
std::vector<std::string_view> recipe_names();
// kInvalidArgument with the names there are.
Result<Recipe> find_recipe(std::string_view name);

struct PlannedTensor {
  const TensorView* source = nullptr;
  DType dtype = DType::kF32;
  DType wanted = DType::kF32;  // Differs where the rows are no whole blocks of it.
};

// For all tensors of the file, in file order; borrows them. Matrices that decide little in size and
// much in effect (norms, routers, positions) stay as they are, vectors become F32. kInvalidArgument
// when the file is quantized already and `requantize` is not set: what is lost stays lost, so the
// result is worse than one made from the original.
Result<std::vector<PlannedTensor>> plan_tensors(const ModelFile& file, const Recipe& recipe,
                                                bool requantize);

}  // namespace hearth
