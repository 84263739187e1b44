#include "models/step_work.h"

#include <algorithm>

#include "tensor/dtype.h"

namespace hearth {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kOutput = "output.weight";
constexpr std::string_view kPositions = "position_embd.weight";

// Positions that rows [first, first + count) of a sequence attend to, added up.
std::uint64_t attended_positions(std::uint64_t first, std::uint64_t count, std::uint64_t window) {
  if (window == 0) return count * first + count * (count + 1) / 2;
  std::uint64_t sum = 0;
  for (std::uint64_t row = first; row < first + count; ++row)
    sum += std::min(row + 1, window);
  return sum;
}

}  // namespace

StepWork& StepWork::operator+=(const StepWork& other) {
  weight_bytes += other.weight_bytes;
  kv_bytes += other.kv_bytes;
  quantized_macs += other.quantized_macs;
  float_macs += other.float_macs;
  return *this;
}

void StepWorkCounter::Matrices::add(const TensorView& tensor, std::uint64_t used,
                                    std::uint64_t total) {
  bytes += tensor.data.size() / total * used;
  (dtype_info(tensor.dtype).block_len > 1 ? quantized_parameters : float_parameters) +=
      tensor.shape.num_elements() / total * used;
}

StepWorkCounter::StepWorkCounter(const ModelFile& file, const ModelConfig& config, DType kv_dtype)
    : kv_row_bytes_(config.heads.num_kv_heads *
                    (kv_head_bytes(kv_dtype, config.heads.head_dim, /*block_size=*/1) +
                     kv_head_bytes(kv_dtype, config.heads.value_len(), /*block_size=*/1))),
      attention_macs_(config.heads.num_heads * (config.heads.head_dim + config.heads.value_len())) {
  const TensorView* output = file.find_tensor(kOutput);
  output_.add(output != nullptr ? *output : *file.find_tensor(kEmbedding));
  for (const TensorView& tensor : file.tensors()) {
    // Of tables a step reads single rows; vectors are neither read nor multiplied much.
    if (tensor.shape.rank < 2 || tensor.name == kEmbedding || tensor.name == kPositions) continue;
    if (tensor.name == kOutput) continue;
    // All experts in one tensor, or "blk.0.ffn_up.3.weight".
    const bool stacked = tensor.shape.rank == 3 && tensor.name.contains("_exps.");
    const bool of_experts =
        stacked || (config.experts.num_experts > 0 && std::ranges::count(tensor.name, '.') == 4);
    if (of_experts) {
      layers_.add(tensor, config.experts.num_used, config.experts.num_experts);
    } else {
      layers_.add(tensor);
    }
  }
  for (const LayerConfig& layer : config.layers) {
    auto known = std::ranges::find(windows_, layer.sliding_window, &WindowedLayers::window);
    if (known == windows_.end()) known = windows_.insert(known, {layer.sliding_window, 0});
    ++known->count;
  }
}

StepWork StepWorkCounter::count(const StepRows& rows) const {
  const std::uint64_t num_rows = rows.num_sequences * rows.rows_per_sequence;
  const std::uint64_t end = rows.first_position + rows.rows_per_sequence;
  const std::uint64_t logits = rows.num_logit_rows;
  StepWork work;
  work.weight_bytes = layers_.bytes + (logits > 0 ? output_.bytes : 0);
  work.quantized_macs =
      layers_.quantized_parameters * num_rows + output_.quantized_parameters * logits;
  work.float_macs = layers_.float_parameters * num_rows + output_.float_parameters * logits;
  for (const auto& [window, num_layers] : windows_) {
    // The first row of a window looks furthest back.
    const std::uint64_t kept =
        window == 0 ? end : std::min<std::uint64_t>(end, window - 1 + rows.rows_per_sequence);
    work.kv_bytes += num_layers * rows.num_sequences * kept * kv_row_bytes_;
    work.float_macs += num_layers * attention_macs_ * rows.num_sequences *
                       attended_positions(rows.first_position, rows.rows_per_sequence, window);
  }
  return work;
}

}  // namespace hearth
