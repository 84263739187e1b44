// The tensor names of Hugging Face directories and the roles they stand for.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "formats/safetensors.h"
#include "models/hf_families.h"

namespace hearth {

struct HfRole {
  std::string name;  // "blk.0.attn_q.weight"
  HfTransform transform = HfTransform::kNone;
};

// nullopt for a name that the family's tables do not know.
std::optional<HfRole> hf_role_of(const HfFamily& family, std::string_view name);
// The other way round; a name that is no role stays as it is.
std::string hf_spelling(const HfFamily& family, std::string_view role);

// The number of the layer that a tensor belongs to.
std::optional<std::uint32_t> hf_layer_of(const HfFamily& family, std::string_view name);

struct HfTensorFacts {
  bool tied = false;          // The output matrix is the embedding, unless another one is stored.
  std::size_t num_heads = 1;  // For HfTransform::kHeadwise.
  std::size_t num_kv_heads = 1;     // For the same; divides num_heads.
  std::size_t position_offset = 0;  // For HfTransform::kPositions.
};

// Adds the tensors to the content under the names of their roles, changed where the family's tables
// ask for it. Those without a role keep their names, so that whoever binds them can complain.
// kDataLoss when an output matrix that is not tied is missing or a tensor's shape does not suit its
// change.
Status add_hf_tensors(const std::vector<SafetensorsTensor>& tensors, const HfFamily& family,
                      const HfTensorFacts& facts, ModelFileContent& content);

// Adds one tensor under another name, as it is.
Status add_hf_tensor(const SafetensorsTensor& tensor, std::string role, ModelFileContent& content);
// The same for matrices that were made of several tensors each (hf_quantization.h), to be added
// first. kUnimplemented where the class stores them transposed.
Status add_hf_matrices(std::vector<TensorView> matrices, const HfFamily& family,
                       const HfTensorFacts& facts, ModelFileContent& content);

// Adds a tensor of one dimension that no file holds.
Status add_made_tensor(std::string name, std::span<const float> values, ModelFileContent& content);

}  // namespace hearth
