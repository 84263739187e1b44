#include "models/hf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

namespace hearth {
namespace {

constexpr std::string_view kOutputName = "lm_head.weight";
constexpr std::string_view kOutputRole = "output.weight";
constexpr std::string_view kLayerRole = "blk.";

// "a.b.weight" is the module "a.b" and the kind "weight".
struct ModuleName {
  std::string_view module;
  std::string_view kind;
};

std::optional<ModuleName> split_kind(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const ModuleName parts = {name.substr(0, dot), name.substr(dot + 1)};
  if (parts.kind != "weight" && parts.kind != "bias") return std::nullopt;
  return parts;
}

// "12.rest": the number and what follows its dot. No leading zeros, so that each layer has one
// name.
struct LayerName {
  std::uint32_t idx = 0;
  std::string_view rest;
};

std::optional<LayerName> split_layer(std::string_view name) {
  LayerName layer;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), layer.idx);
  const auto length = static_cast<std::size_t>(end - name.data());
  if (failure != std::errc() || length >= name.size() || name[length] != '.') return std::nullopt;
  if (length > 1 && name.front() == '0') return std::nullopt;
  layer.rest = name.substr(length + 1);
  return layer;
}

std::string_view without_prefix(std::string_view text, std::string_view prefix) {
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

std::optional<HfRole> find_role(std::span<const HfModule> modules, std::string_view name,
                                std::string_view role_prefix) {
  const auto parts = split_kind(name);
  if (!parts) return std::nullopt;
  const auto row = std::ranges::find(modules, parts->module, &HfModule::name);
  if (row == modules.end()) return std::nullopt;
  return HfRole{fmt::format("{}{}.{}", role_prefix, row->role, parts->kind), row->transform};
}

std::optional<std::string> find_spelling(std::span<const HfModule> modules, std::string_view role,
                                         std::string_view name_prefix) {
  const auto parts = split_kind(role);
  if (!parts) return std::nullopt;
  const auto row = std::ranges::find(modules, parts->module, &HfModule::role);
  if (row == modules.end()) return std::nullopt;
  return fmt::format("{}{}.{}", name_prefix, row->name, parts->kind);
}

// Buffers that some versions of transformers saved with the weights; every runtime computes them.
bool is_saved_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

Result<std::span<std::byte>> allocate(std::size_t size, ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(AnonymousMapping memory, AnonymousMapping::create(size));
  const std::span<std::byte> bytes(memory.data(), size);
  content.made.push_back(std::move(memory));
  return bytes;
}

bool is_aligned(const TensorView& tensor) {
  const std::size_t alignment = dtype_info(tensor.dtype).block_bytes;
  return reinterpret_cast<std::uintptr_t>(tensor.data.data()) % alignment == 0;
}

// The format does not promise that values lie at multiples of their size; kernels want it.
Status align(TensorView& tensor, ModelFileContent& content) {
  if (is_aligned(tensor)) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto copy, allocate(tensor.data.size(), content));
  std::memcpy(copy.data(), tensor.data.data(), copy.size());
  tensor.data = copy;
  return {};
}

Status add_tensor(const SafetensorsTensor& source, std::optional<HfRole> role,
                  ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(TensorView tensor, to_tensor_view(source));
  if (role) tensor.name = std::move(role->name);
  HEARTH_RETURN_IF_ERROR(align(tensor, content));
  content.tensors.push_back(std::move(tensor));
  return {};
}

}  // namespace

std::optional<HfRole> hf_role_of(const HfFamily& family, std::string_view name) {
  if (name == kOutputName) return HfRole{std::string(kOutputRole)};
  const std::string_view inner = without_prefix(name, family.base_prefix);
  if (!inner.starts_with(family.layer_prefix)) return find_role(family.modules, inner, "");
  const auto layer = split_layer(inner.substr(family.layer_prefix.size()));
  if (!layer) return std::nullopt;
  return find_role(family.layer_modules, layer->rest, fmt::format("{}{}.", kLayerRole, layer->idx));
}

std::string hf_spelling(const HfFamily& family, std::string_view role) {
  if (role == kOutputRole) return std::string(kOutputName);
  std::optional<std::string> name;
  if (!role.starts_with(kLayerRole)) {
    name = find_spelling(family.modules, role, family.base_prefix);
  } else if (const auto layer = split_layer(role.substr(kLayerRole.size()))) {
    const std::string prefix =
        fmt::format("{}{}{}.", family.base_prefix, family.layer_prefix, layer->idx);
    name = find_spelling(family.layer_modules, layer->rest, prefix);
  }
  return name.value_or(std::string(role));
}

Status add_hf_tensors(const std::vector<SafetensorsTensor>& tensors, const HfFamily& family,
                      bool tied, ModelFileContent& content) {
  bool has_output = false;
  for (const SafetensorsTensor& tensor : tensors) {
    const bool is_output = tensor.name == kOutputName;
    has_output |= is_output;
    if (is_saved_buffer(tensor.name) || (is_output && tied)) continue;
    HEARTH_RETURN_IF_ERROR(add_tensor(tensor, hf_role_of(family, tensor.name), content));
  }
  if (!tied && !has_output) {
    return make_status(StatusCode::kDataLoss,
                       "tensor '{}' is missing, although 'tie_word_embeddings' is false",
                       kOutputName);
  }
  return {};
}

Status add_made_tensor(std::string name, std::span<const float> values, ModelFileContent& content) {
  const auto bytes = std::as_bytes(values);
  HEARTH_ASSIGN_OR_RETURN(const auto copy, allocate(bytes.size(), content));
  std::ranges::copy(bytes, copy.begin());
  Shape shape;
  shape.rank = 1;
  shape.dims[0] = values.size();
  content.tensors.push_back({std::move(name), DType::kF32, shape, copy});
  return {};
}

}  // namespace hearth
