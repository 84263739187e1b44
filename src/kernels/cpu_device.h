// The CPU implementation of Device. Internal to the kernels module.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "kernels/aligned_buffer.h"
#include "kernels/cpu_attention.h"
#include "kernels/device.h"
#include "kernels/dispatch.h"
#include "kernels/kernel_table.h"
#include "kernels/weight_memory.h"

namespace hearth {

// Elements of a row that is read in pairs.
constexpr std::size_t padded_to_pairs(std::size_t len) {
  return (len + 1) / 2 * 2;
}

// Packed panels, panels of bfloat16, or the file's own float rows.
class CpuWeight final : public WeightMatrix {
 public:
  CpuWeight(const TensorView& tensor, std::size_t out_features, std::size_t in_features);

  std::size_t extra_bytes() const override { return panels_.size; }
  bool reads_source() const override { return reads_source_; }
  std::size_t num_panels() const { return (out_features() + kPanelColumns - 1) / kPanelColumns; }
  const std::byte* row(std::size_t idx) const { return data_.data() + idx * row_bytes_; }
  std::size_t row_bytes() const { return row_bytes_; }
  std::optional<PackedFormat> packed_format() const { return format_; }
  const std::uint8_t* panel(std::size_t idx) const { return panels_.data + idx * panel_bytes_; }
  std::size_t panel_bytes() const { return panel_bytes_; }
  // Panels of a float format, rounded to bfloat16.
  bool is_rounded() const { return !format_ && panels_.size > 0; }
  bool is_ready_for_products() const { return !format_ || panels_.size > 0; }
  // Must be a float format.
  FloatFormat float_format() const;

  // Gets the panels from `cache` (nullptr: there is none), or packs them. kResourceExhausted when
  // there is no memory for them.
  Status pack(std::string_view name, ThreadPool& pool, WeightMemory& memory, PackedCache* cache);
  // Makes bfloat16 panels of a float format. Likewise.
  Status round(ThreadPool& pool, WeightMemory& memory);

 private:
  std::span<const std::byte> data_;
  std::size_t row_bytes_;
  std::optional<PackedFormat> format_;
  std::size_t panel_bytes_ = 0;
  PackedPiece panels_;
  bool reads_source_ = true;
};

class CpuDevice final : public Device {
 public:
  CpuDevice(ChosenKernels kernels, std::size_t num_threads, const CpuDeviceOptions& options);

  std::string_view description() const override { return description_; }
  ThreadPool& host_threads() override { return pool_; }
  Result<std::unique_ptr<WeightMatrix>> prepare_weight(const TensorView& tensor) override;
  Result<std::unique_ptr<WeightMatrix>> prepare_table(const TensorView& tensor) override;
  void reserve(const DeviceLimits& limits) override;
  void embed(const WeightMatrix& table, std::span<const std::int32_t> ids, MatrixView out) override;
  void linear(ConstMatrixView input, std::span<const LinearOutput> outputs) override;
  void norm(ConstMatrixView input, const NormWeights& weights, MatrixView out) override;
  void scale(MatrixView x, float factor) override;
  void clamp(MatrixView x, float limit) override;
  void add_scaled(ConstMatrixView input, float factor, MatrixView out) override;
  void softcap(MatrixView x, float cap) override;
  void rope(MatrixView heads, std::size_t head_dim, const RopeTable& table) override;
  void store_kv(ConstMatrixView k, ConstMatrixView v, std::span<const SequenceRows> sequences,
                const HeadShape& heads, const KvLayerView& cache) override;
  void attention(ConstMatrixView q, std::span<const SequenceRows> sequences,
                 const AttentionParams& params, const KvLayerView& cache, MatrixView out) override;
  void activate(Activation activation, MatrixView x) override;
  void gated_activation(Activation activation, ConstMatrixView gate, ConstMatrixView up,
                        MatrixView out) override;
  void choose_experts(MatrixView logits, const ExpertRouting& routing,
                      const ExpertChoice& choice) override;
  void sigmoid(MatrixView x) override;
  void gather_rows(ConstMatrixView input, std::span<const std::int32_t> rows,
                   MatrixView out) override;
  void add_weighted_rows(ConstMatrixView input, const WeightedRows& terms, MatrixView out) override;

 private:
  // A fork costs one or two microseconds; less work than this is not worth a task.
  static constexpr std::size_t kMinTaskNanoseconds = 4000;

  // Calls body(row) for every row, on all threads when the rows are worth a fork. `row_cost` is
  // about the nanoseconds that one row takes.
  template <typename Body>
  void for_each_row(std::size_t num_rows, std::size_t row_cost, Body&& body) {
    const std::size_t per_task =
        std::max<std::size_t>(1, kMinTaskNanoseconds / std::max<std::size_t>(1, row_cost));
    const std::size_t num_tasks = (num_rows + per_task - 1) / per_task;
    pool_.run(num_tasks, [&](std::size_t task, std::size_t) {
      const std::size_t end = std::min(num_rows, (task + 1) * per_task);
      for (std::size_t row = task * per_task; row < end; ++row)
        body(row);
    });
  }

  // Fills activations_: tiles of up to kMaxTileRows rows, each [groups, rows of the tile].
  void quantize(ConstMatrixView input);
  // Fills rounded_: rows of padded_to_pairs(input.cols) values.
  void round(ConstMatrixView input);

  ThreadPool pool_;
  const KernelTable& kernels_;
  std::string description_;
  WeightMemory weight_memory_;
  PackedCache* packed_cache_;
  FloatProducts float_products_;
  AlignedBuffer<ActivationGroup> activations_;
  AlignedBuffer<std::uint16_t> rounded_;
  AttentionMemory attention_memory_;
};

}  // namespace hearth
