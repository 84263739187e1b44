#include "models/hf_quantization.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/thread_pool.h"
#include "models/hf_made_tensors.h"
#include "models/hf_matrix.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

// Rows that one task makes: a cache line of a part that is stored column by column.
constexpr std::size_t kBandRows = 16;

struct Method {
  std::string_view name;  // Of config.json.
  Result<HfMatrix> (*matrix)(const HfObject& config, const HfParts& parts);
  // Ends of names: each of the first is there once for a matrix, and says that there is one.
  std::span<const std::string_view> marks;
  // The other tensors of the matrix.
  std::span<const std::string_view> others;
};

constexpr std::array<std::string_view, 2> kBitsandbytesMarks = {".weight.absmax", ".SCB"};
constexpr std::array<std::string_view, 7> kBitsandbytesOthers = {
    ".weight",
    ".weight.quant_map",
    ".weight.nested_absmax",
    ".weight.nested_quant_map",
    ".weight.quant_state.bitsandbytes__nf4",
    ".weight.quant_state.bitsandbytes__fp4",
    ".weight_format"};
constexpr std::array<std::string_view, 1> kPackedMarks = {".qweight"};
constexpr std::array<std::string_view, 3> kPackedOthers = {".qzeros", ".scales", ".g_idx"};
constexpr std::array<std::string_view, 1> kCompressedMarks = {".weight_scale"};
constexpr std::array<std::string_view, 11> kCompressedOthers = {".weight",
                                                                ".weight_packed",
                                                                ".weight_shape",
                                                                ".weight_zero_point",
                                                                ".weight_g_idx",
                                                                ".weight_global_scale",
                                                                ".input_scale",
                                                                ".input_zero_point",
                                                                ".input_global_scale",
                                                                ".output_scale",
                                                                ".output_zero_point"};
constexpr std::array<std::string_view, 2> kFp8Marks = {".weight_scale_inv", ".weight_scale"};
constexpr std::array<std::string_view, 3> kFp8Others = {".weight", ".input_scale",
                                                        ".activation_scale"};
// Of a whole layer, for caches in 8 bits.
constexpr std::array<std::string_view, 5> kCacheScales = {".k_scale", ".v_scale", ".kv_scale",
                                                          ".q_scale", ".prob_scale"};

constexpr std::array kMethods = {
    Method{"bitsandbytes", bitsandbytes_matrix, kBitsandbytesMarks, kBitsandbytesOthers},
    Method{"gptq", gptq_matrix, kPackedMarks, kPackedOthers},
    Method{"awq", awq_matrix, kPackedMarks, kPackedOthers},
    Method{"compressed-tensors", compressed_matrix, kCompressedMarks, kCompressedOthers},
    Method{"fp8", fp8_matrix, kFp8Marks, kFp8Others},
};

std::unexpected<Status> unknown_method(const HfObject& config, std::string_view name) {
  std::array<std::string_view, kMethods.size()> names;
  std::ranges::transform(kMethods, names.begin(), &Method::name);
  return error(StatusCode::kUnimplemented,
               "{}: weights quantized by '{}' are not supported; supported are {}, plain F32, F16 "
               "and BF16 weights, and quantized ones as GGUF",
               config.file(), name, fmt::join(names, ", "));
}

std::optional<std::string_view> marked_module(const Method& method, std::string_view name) {
  for (const std::string_view mark : method.marks)
    if (name.ends_with(mark)) return name.substr(0, name.size() - mark.size());
  return std::nullopt;
}

std::vector<std::string> part_names(const Method& method, std::string_view module) {
  std::vector<std::string> names;
  for (const auto suffixes : {method.marks, method.others})
    for (const std::string_view suffix : suffixes)
      names.push_back(std::string(module) += suffix);
  return names;
}

bool is_cache_scale(std::string_view name) {
  return std::ranges::any_of(kCacheScales,
                             [name](std::string_view end) { return name.ends_with(end); });
}

class Unpacking {
 public:
  Unpacking(const Method& method, const HfObject& quantization,
            const std::vector<SafetensorsTensor>& tensors, ModelFileContent& content)
      : method_(method), quantization_(quantization), content_(content) {
    for (const SafetensorsTensor& tensor : tensors)
      index_.emplace(tensor.name, &tensor);
  }

  // The matrices, in the order of the tensors that mark them.
  Result<std::vector<TensorView>> run(const std::vector<SafetensorsTensor>& tensors) {
    std::vector<TensorView> matrices;
    for (const SafetensorsTensor& tensor : tensors) {
      const auto module = marked_module(method_, tensor.name);
      if (!module) continue;
      HEARTH_ASSIGN_OR_RETURN(TensorView matrix, unpack(*module));
      matrices.push_back(std::move(matrix));
      for (std::string& name : part_names(method_, *module))
        parts_.insert(std::move(name));
    }
    return matrices;
  }

  // Names that tensors of these matrices have, or could have.
  const std::unordered_set<std::string>& parts() const { return parts_; }

 private:
  Result<TensorView> unpack(std::string_view module) {
    const HfParts parts(index_, module);
    HEARTH_ASSIGN_OR_RETURN(const HfMatrix matrix, method_.matrix(quantization_, parts));
    if (matrix.shape.num_elements() == 0) {
      return error(StatusCode::kDataLoss, "the parts of '{}' have no values", module);
    }
    TensorView tensor = {
        .name = parts.name(".weight"), .dtype = matrix.dtype, .shape = matrix.shape, .data = {}};
    // Whether they are still what was stored.
    const auto stored = stored_parts(module);
    for (const SafetensorsTensor* part : stored) {
      HEARTH_RETURN_IF_ERROR(
          check_mapped(content_.mappings, part->data, &threads_).with_context(part->name));
    }
    const std::size_t num_rows = matrix.shape.dims[0];
    const std::size_t stride = row_bytes(matrix.dtype, matrix.shape.row_len());
    HEARTH_ASSIGN_OR_RETURN(const auto memory, content_.allocate(num_rows * stride));
    threads_.run((num_rows + kBandRows - 1) / kBandRows, [&](std::size_t band, std::size_t) {
      const std::size_t first = band * kBandRows;
      const std::size_t count = std::min(kBandRows, num_rows - first);
      matrix.write({first, count}, memory.subspan(first * stride, count * stride));
    });
    for (const SafetensorsTensor* part : stored)
      release_mapped(content_.mappings, part->data);
    tensor.data = memory;
    return tensor;
  }

  std::vector<const SafetensorsTensor*> stored_parts(std::string_view module) const {
    std::vector<const SafetensorsTensor*> stored;
    for (const std::string& name : part_names(method_, module)) {
      const auto part = index_.find(name);
      if (part != index_.end()) stored.push_back(part->second);
    }
    return stored;
  }

  const Method& method_;
  const HfObject& quantization_;
  ModelFileContent& content_;
  HfTensorIndex index_;
  std::unordered_set<std::string> parts_;
  ThreadPool threads_{ThreadPool::available_cpus()};
};

}  // namespace

const SafetensorsTensor* HfParts::find(std::string_view suffix) const {
  const auto found = index_.find(name(suffix));
  return found == index_.end() ? nullptr : found->second;
}

Result<const SafetensorsTensor*> HfParts::get(std::string_view suffix,
                                              std::string_view type) const {
  const SafetensorsTensor* tensor = find(suffix);
  if (tensor == nullptr) {
    return error(StatusCode::kDataLoss, "tensor '{}' is missing", name(suffix));
  }
  if (tensor->type != type) {
    return error(StatusCode::kDataLoss, "tensor '{}' is {}, expected {}", tensor->name,
                 tensor->type, type);
  }
  return tensor;
}

Result<std::vector<float>> HfParts::numbers(std::string_view suffix) const {
  const SafetensorsTensor* tensor = find(suffix);
  if (tensor == nullptr) {
    return error(StatusCode::kDataLoss, "tensor '{}' is missing", name(suffix));
  }
  HEARTH_ASSIGN_OR_RETURN(const TensorView view, to_tensor_view(*tensor));
  std::vector<float> values(view.shape.num_elements());
  dequantize_row(view.dtype, view.data, values);
  return values;
}

std::unexpected<Status> wrong_part_shape(const SafetensorsTensor& tensor, std::string_view wanted) {
  return std::unexpected(wrong_shape(tensor.name, tensor.shape, wanted));
}

Shape matrix_shape(std::size_t rows, std::size_t cols) {
  return {.dims = {rows, cols, 1, 1}, .rank = 2};
}

std::uint32_t load_word(const SafetensorsTensor& tensor, std::size_t idx) {
  std::uint32_t word;
  std::memcpy(&word, tensor.data.data() + idx * sizeof(word), sizeof(word));
  return word;
}

Result<std::vector<TensorView>> unpack_hf_quantized(const HfObject& config, const HfFamily& family,
                                                    std::vector<SafetensorsTensor>& tensors,
                                                    ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(const auto quantization, config.object("quantization_config"));
  if (!quantization) return std::vector<TensorView>();
  HEARTH_ASSIGN_OR_RETURN(const auto text, quantization->text("quant_method"));
  const std::string_view name = text.value_or("an unnamed method");
  if (text && name == family.quantization) return std::vector<TensorView>();
  const auto* const method = std::ranges::find(kMethods, name, &Method::name);
  if (method == kMethods.end()) return unknown_method(config, name);
  Unpacking unpacking(*method, *quantization, tensors, content);
  HEARTH_ASSIGN_OR_RETURN(auto matrices, unpacking.run(tensors));
  if (matrices.empty()) {
    return error(StatusCode::kDataLoss,
                 "{} speaks of weights quantized by '{}', but no tensor's name ends in '{}'",
                 config.file(), name, fmt::join(method->marks, "' or '"));
  }
  std::erase_if(tensors, [&](const SafetensorsTensor& tensor) {
    return unpacking.parts().contains(tensor.name) || is_cache_scale(tensor.name);
  });
  return matrices;
}

}  // namespace hearth
