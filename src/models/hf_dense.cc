#include "models/hf_dense.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "formats/safetensors_directory.h"
#include "models/hf_config.h"
#include "models/hf_files.h"
#include "models/hf_tensors.h"

namespace hearth {
namespace {

constexpr std::string_view kWeight = "linear.weight";
constexpr std::string_view kBias = "linear.bias";

// The last part of the class's name, which is the same in torch.nn and in its modules.
struct ActivationClass {
  std::string_view name;
  std::string_view value;
};

constexpr std::array kActivations = {
    ActivationClass{"Identity", "none"}, ActivationClass{"Tanh", "tanh"},
    ActivationClass{"ReLU", "relu"}, ActivationClass{"GELU", "gelu"}};

Result<std::string_view> activation_of(const HfObject& config) {
  constexpr std::string_view kKey = "activation_function";
  if (config.is_null(kKey)) return "none";
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.text(kKey));
  const std::string_view whole = stated.value_or("torch.nn.Tanh");
  const std::string_view last = whole.substr(whole.rfind('.') + 1);
  const auto row = std::ranges::find(kActivations, last, &ActivationClass::name);
  if (whole.starts_with("torch.nn.") && row != kActivations.end()) return row->value;
  return error(StatusCode::kUnimplemented,
               "{}: '{}' is '{}'; supported: Identity, Tanh, ReLU and GELU of torch.nn",
               config.file(), kKey, whole);
}

// Reads and writes the vector, and adds nothing to it.
Status check_place(const HfObject& config) {
  constexpr std::string_view kVector = "sentence_embedding";
  for (const std::string_view key : {"module_input_name", "module_output_name"}) {
    HEARTH_ASSIGN_OR_RETURN(const auto name, config.text(key));
    if (name.value_or(kVector) == kVector) continue;
    return make_status(StatusCode::kUnimplemented, "{}: '{}' is '{}'; only '{}' is supported",
                       config.file(), key, *name, kVector);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto residual, config.flag("use_residual"));
  if (!residual.value_or(false)) return {};
  return make_status(StatusCode::kUnimplemented,
                     "{}: 'use_residual' is true, which is not supported", config.file());
}

Status check_tensor(const HfModuleFolder& folder, const HfDense& dense,
                    const SafetensorsTensor& tensor) {
  Shape expected;
  expected.rank = tensor.name == kWeight ? 2 : 1;
  expected.dims[0] = dense.out_features;
  if (expected.rank == 2) expected.dims[1] = dense.in_features;
  if (tensor.shape == expected) return {};
  return make_status(StatusCode::kDataLoss, "{}: tensor '{}' has shape {}, expected {}",
                     folder.name, tensor.name, tensor.shape.to_string(), expected.to_string());
}

}  // namespace

Result<HfDense> read_hf_dense(const HfModuleFolder& folder) {
  const std::string name = fmt::format("{}/config.json", folder.name);
  HEARTH_ASSIGN_OR_RETURN(const json::Object object,
                          read_hf_object(folder.directory, name, kMaxHfConfigBytes));
  const HfObject config(object, name);
  HEARTH_RETURN_IF_ERROR(check_place(config));
  HfDense dense;
  HEARTH_ASSIGN_OR_RETURN(dense.in_features, config.required_size("in_features"));
  HEARTH_ASSIGN_OR_RETURN(dense.out_features, config.required_size("out_features"));
  HEARTH_ASSIGN_OR_RETURN(const auto bias, config.flag("bias"));
  dense.bias = bias.value_or(true);
  HEARTH_ASSIGN_OR_RETURN(dense.activation, activation_of(config));
  return dense;
}

Status add_hf_dense_tensors(const HfModuleFolder& folder, std::string_view role,
                            ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(const HfDense dense, read_hf_dense(folder));
  Result<SafetensorsDirectory> weights = open_safetensors_directory(folder.directory / folder.name);
  if (!weights.has_value()) {
    return weights.error().with_context(fmt::format("module '{}'", folder.name));
  }
  content.file_bytes += weights->file_bytes;
  std::ranges::move(weights->mappings, std::back_inserter(content.mappings));
  std::size_t num_found = 0;
  for (const SafetensorsTensor& tensor : weights->tensors) {
    if (tensor.name != kWeight && (tensor.name != kBias || !dense.bias)) {
      return make_status(StatusCode::kDataLoss, "{}: tensor '{}' is none that its config.json has",
                         folder.name, tensor.name);
    }
    HEARTH_RETURN_IF_ERROR(check_tensor(folder, dense, tensor));
    const std::string_view kind = tensor.name == kWeight ? "weight" : "bias";
    HEARTH_RETURN_IF_ERROR(add_hf_tensor(tensor, fmt::format("{}.{}", role, kind), content));
    ++num_found;
  }
  if (num_found == (dense.bias ? 2 : 1)) return {};
  return make_status(StatusCode::kDataLoss, "{}: tensor '{}' or '{}' is missing", folder.name,
                     kWeight, kBias);
}

}  // namespace hearth
