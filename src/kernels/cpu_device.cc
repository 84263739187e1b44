#include "kernels/cpu_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <iterator>
#include <span>
#include <utility>

#include "kernels/pack_weights.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

ActivationKind kind_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return ActivationKind::kSilu;
    case Activation::kGelu:
      return ActivationKind::kGelu;
    case Activation::kGeluTanh:
      return ActivationKind::kGeluTanh;
    case Activation::kRelu:
      return ActivationKind::kRelu;
    case Activation::kReluSquared:
      return ActivationKind::kReluSquared;
    case Activation::kClampedSwish:
      return ActivationKind::kClampedSwish;
  }
  return ActivationKind::kSilu;
}

Result<std::unique_ptr<CpuWeight>> make_weight(const TensorView& tensor) {
  if (tensor.shape.rank != 2 || tensor.shape.num_elements() == 0) {
    return error(StatusCode::kInvalidArgument, "tensor '{}' of shape {} is not a matrix",
                 tensor.name, tensor.shape.to_string());
  }
  const DType dtype = tensor.dtype;
  if (dtype == DType::kI32) {
    return error(StatusCode::kUnimplemented, "tensor '{}': no kernel multiplies by {}", tensor.name,
                 dtype_info(dtype).name);
  }
  if (tensor.shape.row_len() % dtype_info(dtype).block_len != 0) {
    return error(StatusCode::kInvalidArgument,
                 "tensor '{}': rows of {} values are not whole {} blocks of {}", tensor.name,
                 tensor.shape.row_len(), dtype_info(dtype).name, dtype_info(dtype).block_len);
  }
  return std::make_unique<CpuWeight>(tensor, tensor.shape.num_rows(), tensor.shape.row_len());
}

const CpuWeight& as_cpu_weight(const WeightMatrix& weight) {
  return static_cast<const CpuWeight&>(weight);
}

}  // namespace

CpuWeight::CpuWeight(const TensorView& tensor, std::size_t out_features, std::size_t in_features)
    : WeightMatrix(tensor.dtype, out_features, in_features),
      data_(tensor.data),
      row_bytes_(hearth::row_bytes(tensor.dtype, in_features)),
      format_(packed_format_of(tensor.dtype)) {}

FloatFormat CpuWeight::float_format() const {
  switch (dtype()) {
    case DType::kF16:
      return FloatFormat::kF16;
    case DType::kBF16:
      return FloatFormat::kBF16;
    default:
      HEARTH_CHECK(dtype() == DType::kF32);
      return FloatFormat::kF32;
  }
}

Status CpuWeight::pack(std::string_view name, ThreadPool& pool, WeightMemory& memory,
                       PackedCache* cache) {
  const std::size_t num_groups = in_features() / kGroupLen;
  panel_bytes_ = panel_layout(packed_traits(*format_), num_groups).total_bytes;
  const std::size_t size = num_panels() * panel_bytes_;
  const PackedKey key = {name, dtype(), out_features(), in_features()};
  if (cache != nullptr) {
    if (auto kept = cache->find(key, size, pool)) {
      panels_ = *std::move(kept);
      reads_source_ = false;
      return {};
    }
  }
  HEARTH_ASSIGN_OR_RETURN(const WeightPiece memory_piece, memory.allocate(size));
  std::atomic<bool> finite = true;
  pool.run(num_panels(), [&](std::size_t idx, std::size_t) {
    const std::size_t first = idx * kPanelColumns;
    const PanelSource source = {.rows = row(first),
                                .row_bytes = row_bytes_,
                                .num_columns = std::min(kPanelColumns, out_features() - first),
                                .in_features = in_features()};
    std::uint8_t* const panel = memory_piece.data + idx * panel_bytes_;
    pack_panel(dtype(), source, panel);
    if (!has_finite_scales(*format_, in_features(), panel)) {
      finite.store(false, std::memory_order_relaxed);
    }
  });
  if (!finite.load(std::memory_order_relaxed)) {
    return make_status(StatusCode::kDataLoss, "a scale of tensor '{}' is a NaN or an infinity",
                       name);
  }
  panels_ = memory_piece.filled();
  if (cache != nullptr) cache->add(key, panels_);
  return {};
}

CpuDevice::CpuDevice(ChosenKernels kernels, std::size_t num_threads,
                     const CpuDeviceOptions& options)
    : pool_(num_threads),
      kernels_(*kernels.table),
      description_(fmt::format("cpu ({}, {} thread{}{})", kernels.name, num_threads,
                               num_threads == 1 ? "" : "s",
                               options.float_products == FloatProducts::kBf16 ? ", bf16" : "")),
      packed_cache_(options.packed_cache),
      float_products_(options.float_products),
      attention_memory_(num_threads) {}

Result<std::unique_ptr<WeightMatrix>> CpuDevice::prepare_weight(const TensorView& tensor) {
  HEARTH_ASSIGN_OR_RETURN(auto weight, make_weight(tensor));
  if (weight->packed_format()) {
    HEARTH_RETURN_IF_ERROR(weight->pack(tensor.name, pool_, weight_memory_, packed_cache_));
  } else if (float_products_ == FloatProducts::kBf16) {
    HEARTH_RETURN_IF_ERROR(weight->round(pool_, weight_memory_));
  }
  return weight;
}

Result<std::unique_ptr<WeightMatrix>> CpuDevice::prepare_table(const TensorView& tensor) {
  return make_weight(tensor);
}

void CpuDevice::embed(const WeightMatrix& table, std::span<const std::int32_t> ids,
                      MatrixView out) {
  const CpuWeight& weight = as_cpu_weight(table);
  HEARTH_CHECK(out.rows == ids.size() && out.cols == weight.in_features());
  for_each_row(ids.size(), out.cols, [&](std::size_t row) {
    HEARTH_CHECK(ids[row] >= 0 && static_cast<std::size_t>(ids[row]) < weight.out_features());
    const std::byte* data = weight.row(static_cast<std::size_t>(ids[row]));
    dequantize_row(weight.dtype(), {data, weight.row_bytes()}, {out.row(row), out.cols});
  });
}

void CpuDevice::norm(ConstMatrixView input, const NormWeights& weights, MatrixView out) {
  HEARTH_CHECK(input.rows == out.rows && input.cols == out.cols);
  for_each_row(input.rows, input.cols / 4, [&](std::size_t row) {
    if (weights.bias == nullptr) {
      kernels_.rms_norm(input.row(row), weights.gain, weights.epsilon, input.cols, out.row(row));
    } else {
      kernels_.layer_norm(input.row(row), {weights.gain, weights.bias, weights.epsilon}, input.cols,
                          out.row(row));
    }
  });
}

void CpuDevice::clamp(MatrixView x, float limit) {
  for_each_row(x.rows, x.cols / 8, [&](std::size_t row) {
    for (float& value : std::span(x.row(row), x.cols))
      value = std::clamp(value, -limit, limit);  // NaN stays.
  });
}

void CpuDevice::scale(MatrixView x, float factor) {
  for_each_row(x.rows, x.cols / 8,
               [&](std::size_t row) { kernels_.scale(x.row(row), factor, x.cols, x.row(row)); });
}

void CpuDevice::add_scaled(ConstMatrixView input, float factor, MatrixView out) {
  HEARTH_CHECK(input.rows == out.rows && input.cols == out.cols);
  for_each_row(input.rows, input.cols / 8, [&](std::size_t row) {
    kernels_.add_scaled(input.row(row), factor, input.cols, out.row(row));
  });
}

void CpuDevice::softcap(MatrixView x, float cap) {
  for_each_row(x.rows, x.cols,
               [&](std::size_t row) { kernels_.softcap(x.row(row), cap, x.cols, x.row(row)); });
}

void CpuDevice::activate(Activation activation, MatrixView x) {
  for_each_row(x.rows, x.cols, [&](std::size_t row) {
    kernels_.activation(kind_of(activation), x.row(row), x.cols, x.row(row));
  });
}

void CpuDevice::gated_activation(Activation activation, ConstMatrixView gate, ConstMatrixView up,
                                 MatrixView out) {
  HEARTH_CHECK(gate.rows == out.rows && up.rows == out.rows);
  HEARTH_CHECK(gate.cols == out.cols && up.cols == out.cols);
  for_each_row(gate.rows, gate.cols, [&](std::size_t row) {
    kernels_.gated_activation(kind_of(activation), gate.row(row), up.row(row), gate.cols,
                              out.row(row));
  });
}

void CpuDevice::rope(MatrixView heads, std::size_t head_dim, const RopeTable& table) {
  HEARTH_CHECK(heads.cols % head_dim == 0);
  HEARTH_CHECK(table.first_dim + table.rope_dim <= head_dim && table.rope_dim % 2 == 0);
  const std::size_t num_pairs = table.rope_dim / 2;
  const bool interleaved = table.layout == RopeLayout::kInterleaved;
  const std::size_t step = interleaved ? 2 : 1;
  const std::size_t partner = interleaved ? 1 : num_pairs;
  for_each_row(heads.rows, heads.cols, [&](std::size_t row) {
    const float* cos_sin = table.cos_sin + row * table.rope_dim;
    float* end = heads.row(row) + heads.cols;
    for (float* head = heads.row(row); head != end; head += head_dim) {
      for (std::size_t i = 0; i < num_pairs; ++i) {
        float& a = head[table.first_dim + i * step];
        float& b = head[table.first_dim + i * step + partner];
        const float cos = cos_sin[2 * i];
        const float sin = cos_sin[2 * i + 1];
        const float rotated = a * cos - b * sin;
        b = a * sin + b * cos;
        a = rotated;
      }
    }
  });
}

namespace {

constexpr std::size_t kCopyLen = 64;

// One head's keys (or values) of one position on their way into a block.
struct KvSlot {
  std::byte* head = nullptr;  // The head's share of the block.
  std::size_t slot = 0;
  std::size_t block_size = 0;
  // Elements from the position's first component, and from one component to the next.
  std::size_t first = 0;
  std::size_t stride = 0;
};

template <typename T>
T* elements(std::byte* p) {
  return reinterpret_cast<T*>(p);
}

void store_f16(const KernelTable& kernels, const float* x, std::size_t head_dim, const KvSlot& to) {
  std::uint16_t halves[kCopyLen];
  for (std::size_t start = 0; start < head_dim; start += kCopyLen) {
    const std::size_t len = std::min(kCopyLen, head_dim - start);
    kernels.to_f16(x + start, len, halves);
    std::uint16_t* out = elements<std::uint16_t>(to.head) + to.first + start * to.stride;
    for (std::size_t i = 0; i < len; ++i)
      out[i * to.stride] = halves[i];
  }
}

void store_q8(const KernelTable& kernels, const float* x, std::size_t head_dim, const KvSlot& to) {
  auto* const scales = elements<std::uint16_t>(to.head + head_dim * to.block_size) + to.slot;
  for (std::size_t start = 0; start < head_dim; start += kKvGroupLen) {
    const std::size_t len = std::min(kKvGroupLen, head_dim - start);
    float padded[kKvGroupLen] = {};
    std::copy_n(x + start, len, padded);
    ActivationGroup group;
    kernels.quantize_row(padded, 1, &group, 1);
    kernels.to_f16(&group.scale, 1, scales + start / kKvGroupLen * to.block_size);
    auto* const out = elements<std::int8_t>(to.head) + to.first + start * to.stride;
    for (std::size_t i = 0; i < len; ++i)
      out[i * to.stride] = group.q[i];
  }
}

}  // namespace

void CpuDevice::store_kv(ConstMatrixView k, ConstMatrixView v,
                         std::span<const SequenceRows> sequences, const HeadShape& heads,
                         const KvLayerView& cache) {
  static_assert(kKvGroupLen == kGroupLen && kKvGroupLen == kKvScaleGroup);
  const auto store = cache.dtype == DType::kF16 ? store_f16 : store_q8;
  const std::size_t head_dim = heads.head_dim;
  const std::size_t value_dim = heads.value_len();
  const auto store_row = [&](const SequenceRows& sequence, std::size_t i) {
    const std::size_t position = sequence.first_position + i;
    const auto block = static_cast<std::size_t>(sequence.block_table[position / cache.block_size]);
    const std::size_t slot = position % cache.block_size;
    const float* key = k.row(sequence.first_row + i);
    const float* value = v.row(sequence.first_row + i);
    for (std::size_t head = 0; head < heads.num_kv_heads; ++head) {
      store(kernels_, key + head * head_dim, head_dim,
            {cache.k + cache.key_offset(block, head), slot, cache.block_size, slot,
             cache.block_size});
      store(
          kernels_, value + head * value_dim, value_dim,
          {cache.v + cache.value_offset(block, head), slot, cache.block_size, slot * value_dim, 1});
    }
  };
  // One fork for all sequences: short ones are not worth one each. Their rows lie one behind the
  // other, so that a row's sequence is the last that begins no later.
  std::size_t num_rows = 0;
  for (const SequenceRows& sequence : sequences)
    num_rows = std::max(num_rows, sequence.first_row + sequence.num_rows);
  for_each_row(num_rows, heads.num_kv_heads * head_dim, [&](std::size_t row) {
    const auto after =
        std::ranges::upper_bound(sequences, row, std::less<>(), &SequenceRows::first_row);
    if (after == sequences.begin()) return;
    const SequenceRows& sequence = *std::prev(after);
    if (row - sequence.first_row < sequence.num_rows) store_row(sequence, row - sequence.first_row);
  });
}

Result<std::unique_ptr<Device>> make_cpu_device(const CpuDeviceOptions& options) {
  HEARTH_ASSIGN_OR_RETURN(const ChosenKernels kernels, choose_kernels(options.kernels));
  const std::size_t num_threads =
      options.num_threads != 0 ? options.num_threads : ThreadPool::available_cpus();
  return std::make_unique<CpuDevice>(kernels, num_threads, options);
}

}  // namespace hearth
