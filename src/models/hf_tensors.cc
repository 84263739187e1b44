#include "models/hf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "models/hf_expert_tensors.h"
#include "models/hf_made_tensors.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

constexpr std::string_view kOutputRole = "output.weight";
constexpr std::string_view kOutputBiasRole = "output.bias";
constexpr std::string_view kEmbeddingRole = "token_embd.weight";
constexpr std::string_view kLayerRole = "blk.";

std::string output_name(const HfFamily& family) {
  return fmt::format("{}.weight", family.output_module);
}

std::string output_bias_name(const HfFamily& family) {
  return fmt::format("{}.bias", family.output_module);
}

// "a.b.weight" is the module "a.b" and the kind "weight".
struct ModuleName {
  std::string_view module;
  std::string_view kind;
};

std::optional<ModuleName> split_kind(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  ModuleName parts = {name.substr(0, dot), name.substr(dot + 1)};
  // As the first BERT called the two of its norms.
  if (parts.kind == "gamma") parts.kind = "weight";
  if (parts.kind == "beta") parts.kind = "bias";
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

// `text` with its number in place of the '*' of `other`, if `text` has the form of `pattern`.
std::optional<std::string> rewrite(std::string_view text, std::string_view pattern,
                                   std::string_view other) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) {
    if (text != pattern) return std::nullopt;
    return std::string(other);
  }
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  if (!text.starts_with(before) || !text.ends_with(after) || text.size() < pattern.size()) {
    return std::nullopt;
  }
  const std::string_view digits =
      text.substr(before.size(), text.size() - before.size() - after.size());
  const bool is_number = std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number || (digits.size() > 1 && digits.front() == '0')) return std::nullopt;
  const std::size_t hole = other.find('*');
  return fmt::format("{}{}{}", other.substr(0, hole), digits, other.substr(hole + 1));
}

std::optional<HfRole> find_role(std::span<const HfModule> modules, std::string_view name,
                                std::string_view role_prefix) {
  const auto parts = split_kind(name);
  for (const HfModule& row : modules) {
    if (row.bare && row.name == name)
      return HfRole{fmt::format("{}{}", role_prefix, row.role), row.transform};
    if (row.bare || !parts) continue;
    const auto role = rewrite(parts->module, row.name, row.role);
    if (role) return HfRole{fmt::format("{}{}.{}", role_prefix, *role, parts->kind), row.transform};
  }
  return std::nullopt;
}

std::optional<std::string> find_spelling(std::span<const HfModule> modules, std::string_view role,
                                         std::string_view name_prefix) {
  const auto parts = split_kind(role);
  for (const HfModule& row : modules) {
    const std::string_view prefix = row.outside ? "" : name_prefix;
    if (row.bare && row.role == role) return fmt::format("{}{}", prefix, row.name);
    if (row.bare || !parts) continue;
    const auto name = rewrite(parts->module, row.role, row.name);
    if (name) return fmt::format("{}{}.{}", prefix, *name, parts->kind);
  }
  return std::nullopt;
}

bool is_ignored(const HfFamily& family, std::string_view name) {
  const std::string_view inner = without_prefix(name, family.base_prefix);
  return std::ranges::any_of(family.ignored,
                             [&](std::string_view end) { return name.ends_with(end); }) ||
         std::ranges::any_of(family.unused,
                             [&](std::string_view start) { return inner.starts_with(start); });
}

Shape vector_shape(std::uint64_t length) {
  Shape shape;
  shape.rank = 1;
  shape.dims[0] = length;
  return shape;
}

bool is_aligned(const TensorView& tensor) {
  const std::size_t alignment = dtype_info(tensor.dtype).block_bytes;
  return reinterpret_cast<std::uintptr_t>(tensor.data.data()) % alignment == 0;
}

// The format does not promise that values lie at multiples of their size; kernels want it.
Status align(TensorView& tensor, ModelFileContent& content) {
  if (is_aligned(tensor)) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(tensor.data.size()));
  std::memcpy(copy.data(), tensor.data.data(), copy.size());
  tensor.data = copy;
  return {};
}

Status add_one(TensorView& tensor, ModelFileContent& content) {
  if (tensor.name.ends_with(".bias")) return {};
  const std::size_t length = tensor.shape.num_elements();
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(length * sizeof(float)));
  std::vector<float> values(length);
  dequantize_row(tensor.dtype, tensor.data, values);
  for (float& value : values)
    value += 1.0f;
  std::memcpy(copy.data(), values.data(), copy.size());
  tensor.dtype = DType::kF32;
  tensor.data = copy;
  return {};
}

Status transpose(TensorView& tensor, ModelFileContent& content) {
  if (tensor.shape.rank != 2) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(tensor.data.size()));
  transpose_into({.data = tensor.data.data(),
                  .rows = tensor.shape.dims[0],
                  .cols = tensor.shape.dims[1],
                  .row_step = tensor.shape.dims[1],
                  .size = dtype_info(tensor.dtype).block_bytes},
                 copy.data());
  std::swap(tensor.shape.dims[0], tensor.shape.dims[1]);
  tensor.data = copy;
  return {};
}

// [num_groups, heads per group + 2, head_dim] rows (or values): in each group the queries, then its
// one key and value. They become all queries, then all keys, then all values.
Status gather_heads(std::string_view name, const HfTensorFacts& facts, TensorView& tensor,
                    ModelFileContent& content) {
  const std::size_t groups = facts.num_kv_heads;
  const std::size_t queries = facts.num_heads / groups;
  const std::size_t parts = groups * (queries + 2);
  if (tensor.shape.rank == 0 || tensor.shape.dims[0] % parts != 0) {
    return wrong_shape(name, tensor.shape,
                       fmt::format("Q, K and V of {} heads in {} groups", facts.num_heads, groups));
  }
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(tensor.data.size()));
  const std::size_t bytes = tensor.data.size() / parts;
  const auto move = [&](std::size_t from, std::size_t to, std::size_t count) {
    std::memcpy(copy.data() + to * bytes, tensor.data.data() + from * bytes, count * bytes);
  };
  for (std::size_t group = 0; group < groups; ++group) {
    const std::size_t first = group * (queries + 2);
    move(first, group * queries, queries);
    move(first + queries, groups * queries + group, 1);
    move(first + queries + 1, groups * queries + groups + group, 1);
  }
  tensor.data = copy;
  return {};
}

Status as_row(std::string_view name, TensorView& tensor) {
  if (tensor.shape.rank != 2 || tensor.shape.dims[0] != 1) {
    return wrong_shape(name, tensor.shape, "a matrix of one row");
  }
  tensor.shape = vector_shape(tensor.shape.dims[1]);
  return {};
}

Status skip_rows(std::string_view name, std::size_t count, TensorView& tensor) {
  if (tensor.shape.rank != 2 || tensor.shape.dims[0] <= count) {
    return wrong_shape(name, tensor.shape, fmt::format("a matrix of more than {} rows", count));
  }
  const std::size_t row_bytes = tensor.data.size() / tensor.shape.dims[0];
  tensor.shape.dims[0] -= count;
  tensor.data = tensor.data.subspan(count * row_bytes);
  return {};
}

Status apply(HfTransform transform, std::string_view name, const HfTensorFacts& facts,
             TensorView& tensor, ModelFileContent& content) {
  switch (transform) {
    case HfTransform::kNone:
      return {};
    case HfTransform::kRow:
      return as_row(name, tensor);
    case HfTransform::kAddOne:
      return add_one(tensor, content);
    case HfTransform::kTransposed:
      return transpose(tensor, content);
    case HfTransform::kHeadwise:
      return gather_heads(name, facts, tensor, content);
    case HfTransform::kPositions:
      return skip_rows(name, facts.position_offset, tensor);
    case HfTransform::kExpertColumns:
    case HfTransform::kPairedColumns:
    case HfTransform::kPairedValues:
      return arrange_experts(transform, name, tensor, content);
    case HfTransform::kMxfp4:
    case HfTransform::kPairedMxfp4:
      return {};  // Not without their scales: see add_mxfp4().
  }
  return {};
}

// Whether the output matrix is a second copy of the embedding.
bool repeats_embedding(const SafetensorsTensor& output,
                       const std::vector<SafetensorsTensor>& tensors, const HfFamily& family) {
  const auto embedding = std::ranges::find_if(tensors, [&](const SafetensorsTensor& tensor) {
    const auto role = hf_role_of(family, tensor.name);
    return role && role->name == kEmbeddingRole;
  });
  return embedding != tensors.end() && embedding->type == output.type &&
         embedding->shape == output.shape && std::ranges::equal(embedding->data, output.data);
}

Status add_mxfp4(const SafetensorsTensor& blocks, const HfRole& role,
                 const std::vector<SafetensorsTensor>& tensors, ModelFileContent& content) {
  constexpr std::string_view kBlocks = "blocks";
  const std::string name =
      fmt::format("{}scales", blocks.name.substr(0, blocks.name.size() - kBlocks.size()));
  const auto scales = std::ranges::find(tensors, name, &SafetensorsTensor::name);
  if (scales == tensors.end()) {
    return make_status(StatusCode::kDataLoss, "tensor '{}' is missing beside '{}'", name,
                       blocks.name);
  }
  HEARTH_ASSIGN_OR_RETURN(TensorView tensor, join_mxfp4(role.transform, blocks, *scales, content));
  tensor.name = role.name;
  content.tensors.push_back(std::move(tensor));
  HEARTH_RETURN_IF_ERROR(check_mapped(content.mappings, blocks.data, nullptr));
  return check_mapped(content.mappings, scales->data, nullptr);
}

Status add_tensor(const SafetensorsTensor& source, const std::optional<HfRole>& role,
                  const HfTensorFacts& facts, ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(TensorView tensor, to_tensor_view(source));
  HEARTH_RETURN_IF_ERROR(align(tensor, content));
  if (role) {
    tensor.name = role->name;
    HEARTH_RETURN_IF_ERROR(apply(role->transform, source.name, facts, tensor, content));
  }
  // What was copied is not read from the file again.
  const bool copied = tensor.data.data() != source.data.data();
  if (copied) HEARTH_RETURN_IF_ERROR(check_mapped(content.mappings, source.data, nullptr));
  content.tensors.push_back(std::move(tensor));
  return {};
}

}  // namespace

std::optional<HfRole> hf_role_of(const HfFamily& family, std::string_view name) {
  if (name == output_name(family)) return HfRole{std::string(kOutputRole)};
  if (name == output_bias_name(family)) return HfRole{std::string(kOutputBiasRole)};
  const std::string_view inner = without_prefix(name, family.base_prefix);
  if (!inner.starts_with(family.layer_prefix)) return find_role(family.modules, inner, "");
  const auto layer = split_layer(inner.substr(family.layer_prefix.size()));
  if (!layer) return std::nullopt;
  return find_role(family.layer_modules, layer->rest, fmt::format("{}{}.", kLayerRole, layer->idx));
}

std::optional<std::uint32_t> hf_layer_of(const HfFamily& family, std::string_view name) {
  const std::string_view inner = without_prefix(name, family.base_prefix);
  if (!inner.starts_with(family.layer_prefix)) return std::nullopt;
  const auto layer = split_layer(inner.substr(family.layer_prefix.size()));
  if (!layer) return std::nullopt;
  return layer->idx;
}

std::string hf_spelling(const HfFamily& family, std::string_view role) {
  if (role == kOutputRole) return output_name(family);
  if (role == kOutputBiasRole) return output_bias_name(family);
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

Status add_hf_matrices(std::vector<TensorView> matrices, const HfFamily& family,
                       const HfTensorFacts& facts, ModelFileContent& content) {
  for (TensorView& matrix : matrices) {
    const auto role = hf_role_of(family, matrix.name);
    if (role) {
      if (role->transform == HfTransform::kTransposed) {
        return make_status(StatusCode::kUnimplemented,
                           "tensor '{}' is quantized along the outputs, as {} stores matrices; "
                           "that is not supported",
                           matrix.name, family.class_name);
      }
      const std::string name = std::exchange(matrix.name, role->name);
      HEARTH_RETURN_IF_ERROR(apply(role->transform, name, facts, matrix, content));
    }
    content.tensors.push_back(std::move(matrix));
  }
  return {};
}

Status add_hf_tensors(const std::vector<SafetensorsTensor>& tensors, const HfFamily& family,
                      const HfTensorFacts& facts, ModelFileContent& content) {
  bool has_output =
      std::ranges::find(content.tensors, kOutputRole, &TensorView::name) != content.tensors.end();
  for (const SafetensorsTensor& tensor : tensors) {
    const bool is_output = tensor.name == output_name(family);
    has_output |= is_output;
    if (is_ignored(family, tensor.name)) continue;
    // As transformers does since its version 5: one that differs is used although the key says
    // tied.
    if (is_output && facts.tied && repeats_embedding(tensor, tensors, family)) continue;
    const auto role = hf_role_of(family, tensor.name);
    const bool joined = role && (role->transform == HfTransform::kMxfp4 ||
                                 role->transform == HfTransform::kPairedMxfp4);
    HEARTH_RETURN_IF_ERROR(joined ? add_mxfp4(tensor, *role, tensors, content)
                                  : add_tensor(tensor, role, facts, content));
  }
  if (!facts.tied && !has_output) {
    return make_status(StatusCode::kDataLoss,
                       "tensor '{}' is missing, although 'tie_word_embeddings' is false",
                       output_name(family));
  }
  return {};
}

Status add_hf_tensor(const SafetensorsTensor& tensor, std::string role, ModelFileContent& content) {
  return add_tensor(tensor, HfRole{std::move(role)}, {}, content);
}

Status add_made_tensor(std::string name, std::span<const float> values, ModelFileContent& content) {
  const auto bytes = std::as_bytes(values);
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(bytes.size()));
  std::ranges::copy(bytes, copy.begin());
  content.tensors.push_back({std::move(name), DType::kF32, vector_shape(values.size()), copy});
  return {};
}

}  // namespace hearth
