#include "compress/tensor_quantizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/quantize.h"

namespace hearth {
namespace {

constexpr float kMaxFloat16 = 65504.0f;
constexpr std::size_t kTaskValues = std::size_t{1} << 15;

// The worst that a tensor's values are.
enum Finding : int { kFine = 0, kTooLarge = 1, kNotFinite = 2 };

Finding check_values(std::span<const float> values, float limit) {
  float largest = 0.0f;
  bool finite = true;
  for (const float value : values) {
    largest = std::max(largest, std::abs(value));
    finite &= std::isfinite(value);
  }
  if (!finite) return kNotFinite;
  return largest > limit ? kTooLarge : kFine;
}

void raise_to(std::atomic<int>& worst, Finding found) {
  int known = worst.load(std::memory_order_relaxed);
  while (known < found && !worst.compare_exchange_weak(known, found)) {
  }
}

Status status_of(int finding, const TensorView& tensor, DType dtype) {
  if (finding == kNotFinite) {
    return make_status(StatusCode::kDataLoss, "tensor '{}' holds a NaN or an infinity",
                       tensor.name);
  }
  if (finding == kTooLarge) {
    return make_status(StatusCode::kOutOfRange,
                       "tensor '{}' holds a value beyond {}, which {} cannot represent",
                       tensor.name, kMaxFloat16, dtype_info(dtype).name);
  }
  return {};
}

}  // namespace

Status convert_rows(const TensorView& tensor, RowRange rows, const Conversion& conversion,
                    ThreadPool& threads, std::span<std::byte> out) {
  const DType dtype = conversion.dtype;
  const std::size_t row_len = tensor.shape.row_len();
  const std::size_t from_bytes = row_bytes(tensor.dtype, row_len);
  const std::size_t to_bytes = row_bytes(dtype, row_len);
  HEARTH_CHECK(out.size() == rows.count * to_bytes);
  const auto source = tensor.data.subspan(rows.first * from_bytes, rows.count * from_bytes);
  const bool copies = dtype == tensor.dtype;
  const bool unlimited = copies || dtype == DType::kF32 || dtype == DType::kBF16;
  const float limit = unlimited ? std::numeric_limits<float>::infinity() : kMaxFloat16;
  const std::size_t rows_per_matrix = tensor.shape.num_rows() / tensor.shape.dims[0];
  const std::size_t rows_per_task = std::max<std::size_t>(1, kTaskValues / row_len);
  std::vector<std::vector<float>> buffers(threads.num_threads(), std::vector<float>(row_len));
  std::atomic<int> worst = kFine;
  threads.run((rows.count + rows_per_task - 1) / rows_per_task, [&](std::size_t task,
                                                                    std::size_t worker) {
    const std::size_t end = std::min(rows.count, (task + 1) * rows_per_task);
    for (std::size_t row = task * rows_per_task; row < end; ++row) {
      std::vector<float>& values = buffers[worker];
      const auto bytes = source.subspan(row * from_bytes, from_bytes);
      dequantize_row(tensor.dtype, bytes, values);
      const Finding found = check_values(values, limit);
      if (found != kFine) return raise_to(worst, found);
      const auto target = out.subspan(row * to_bytes, to_bytes);
      if (copies) {
        std::ranges::copy(bytes, target.begin());
        continue;
      }
      std::span<const float> importance = conversion.importance;
      if (importance.size() > row_len) {
        importance = importance.subspan((rows.first + row) / rows_per_matrix * row_len, row_len);
      }
      quantize_weight_row(dtype, values, importance, target);
    }
  });
  return status_of(worst.load(), tensor, dtype);
}

}  // namespace hearth
