// A matrix of a Hugging Face directory that is stored in parts, and how its rows are made of them.
// Internal to hf_quantization.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors.h"
#include "models/hf_config.h"

namespace hearth {

// Rows [first, first + count) of a matrix.
struct HfRows {
  std::size_t first = 0;
  std::size_t count = 0;
};

struct HfMatrix {
  DType dtype = DType::kF32;
  Shape shape;
  // Writes rows; `out` holds just these. From any thread, several at a time. Borrows from the
  // parts.
  std::function<void(HfRows rows, std::span<std::byte> out)> write;
};

// Tensors by name.
using HfTensorIndex = std::unordered_map<std::string_view, const SafetensorsTensor*>;

// The tensors that belong to one module: "model.layers.0.mlp.up_proj".
class HfParts {
 public:
  HfParts(const HfTensorIndex& index, std::string_view module) : index_(index), module_(module) {}

  std::string_view module() const { return module_; }
  std::string name(std::string_view suffix) const { return std::string(module_) += suffix; }
  // nullptr when there is none.
  const SafetensorsTensor* find(std::string_view suffix) const;
  // kDataLoss when it is missing or of another type.
  Result<const SafetensorsTensor*> get(std::string_view suffix, std::string_view type) const;
  // All of its values; the tensor is F32, F16 or BF16.
  Result<std::vector<float>> numbers(std::string_view suffix) const;

 private:
  const HfTensorIndex& index_;
  std::string_view module_;
};

std::unexpected<Status> wrong_part_shape(const SafetensorsTensor& tensor, std::string_view wanted);

Shape matrix_shape(std::size_t rows, std::size_t cols);

// One word of a tensor of words, at whatever address.
std::uint32_t load_word(const SafetensorsTensor& tensor, std::size_t idx);

// What each method's parts become. `config` is the object that describes the quantization.
Result<HfMatrix> bitsandbytes_matrix(const HfObject& config, const HfParts& parts);
Result<HfMatrix> gptq_matrix(const HfObject& config, const HfParts& parts);
Result<HfMatrix> awq_matrix(const HfObject& config, const HfParts& parts);
Result<HfMatrix> compressed_matrix(const HfObject& config, const HfParts& parts);
Result<HfMatrix> fp8_matrix(const HfObject& config, const HfParts& parts);

}  // namespace hearth
