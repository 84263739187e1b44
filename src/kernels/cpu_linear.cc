#include <algorithm>

#include "kernels/cpu_device.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxOutputs = 8;
// What one task should at least do: a few microseconds.
constexpr std::size_t kMinTaskMacs = 64 * 1024;
constexpr std::size_t kTasksPerThread = 6;
// The packed weights of a task stay in the second-level cache while its row tiles pass over them.
constexpr std::size_t kMaxTaskWeightBytes = 128 * 1024;
constexpr std::size_t kMaxTaskTiles = 8;

struct alignas(kCacheLineBytes) TileBuffer {
  float values[kMaxTileRows * kPanelColumns];
};

// One linear() call cut into units of 16 output features and tiles of rows.
struct LinearJob {
  const KernelTable* kernels = nullptr;
  ConstMatrixView input;
  const ActivationGroup* activations = nullptr;
  const std::uint16_t* rounded = nullptr;
  std::span<const LinearOutput> outputs;
  std::size_t unit_ends[kMaxOutputs] = {};  // Units of outputs 0 .. i together.
  std::size_t num_units = 0;
  std::size_t num_tiles = 0;
  std::size_t units_per_task = 1;
  std::size_t tiles_per_task = 1;

  std::size_t num_unit_blocks() const { return (num_units + units_per_task - 1) / units_per_task; }
  std::size_t num_tile_blocks() const { return (num_tiles + tiles_per_task - 1) / tiles_per_task; }

  void run_task(std::size_t task) const;
  void run_unit(std::size_t unit, std::size_t tile) const;
};

// Inlined into loops of constant length, which become vector instructions.
inline void write_row(const LinearOutput& output, const float* values, const float* bias,
                      std::size_t num_columns, float* out) {
  for (std::size_t c = 0; c < num_columns; ++c) {
    const float value = output.bias != nullptr ? values[c] + bias[c] : values[c];
    out[c] = output.accumulate ? out[c] + value : value;
  }
}

// Bias, then what `out` held, are added in this order.
void write_tile(const LinearOutput& output, const TileBuffer& buffer, std::size_t first_column,
                std::size_t first_row, std::size_t num_rows) {
  const std::size_t num_columns = std::min(kPanelColumns, output.out.cols - first_column);
  float bias[kPanelColumns] = {};
  if (output.bias != nullptr) std::copy_n(output.bias + first_column, num_columns, bias);
  for (std::size_t r = 0; r < num_rows; ++r) {
    const float* values = buffer.values + r * kPanelColumns;
    float* out = output.out.row(first_row + r) + first_column;
    if (num_columns == kPanelColumns) {
      write_row(output, values, bias, kPanelColumns, out);
    } else {
      write_row(output, values, bias, num_columns, out);
    }
  }
}

void LinearJob::run_unit(std::size_t unit, std::size_t tile) const {
  std::size_t idx = 0;
  while (unit >= unit_ends[idx])
    ++idx;
  const LinearOutput& output = outputs[idx];
  const auto& weight = static_cast<const CpuWeight&>(*output.weight);
  const std::size_t local_unit = unit - (idx == 0 ? 0 : unit_ends[idx - 1]);
  const std::size_t first_column = local_unit * kPanelColumns;
  const std::size_t first_row = tile * kMaxTileRows;
  const std::size_t num_rows = std::min(kMaxTileRows, input.rows - first_row);
  TileBuffer buffer;
  if (weight.packed_format()) {
    const std::size_t num_groups = input.cols / kGroupLen;
    const auto multiply =
        kernels->multiply_panel[static_cast<std::size_t>(*weight.packed_format())];
    multiply(weight.panel(local_unit), num_groups, activations + first_row * num_groups, num_rows,
             buffer.values);
  } else if (weight.is_rounded()) {
    const std::size_t stride = padded_to_pairs(input.cols);
    kernels->multiply_bf16(
        {.panel = reinterpret_cast<const std::uint16_t*>(weight.panel(local_unit)),
         .input = rounded + first_row * stride,
         .input_stride = stride,
         .num_rows = num_rows,
         .num_pairs = stride / 2,
         .out = buffer.values});
  } else {
    const FloatProduct product = {
        .weights = weight.row(first_column),
        .weight_stride_bytes = weight.row_bytes(),
        .num_columns = std::min(kPanelColumns, weight.out_features() - first_column),
        .input = input.row(first_row),
        .input_stride = input.stride,
        .num_rows = num_rows,
        .in_features = input.cols,
        .out = buffer.values};
    kernels->multiply_float[static_cast<std::size_t>(weight.float_format())](product);
  }
  write_tile(output, buffer, first_column, first_row, num_rows);
}

// Unit blocks vary fastest, so that threads share the row tiles they work on.
void LinearJob::run_task(std::size_t task) const {
  const std::size_t first_unit = task % num_unit_blocks() * units_per_task;
  const std::size_t first_tile = task / num_unit_blocks() * tiles_per_task;
  const std::size_t end_unit = std::min(num_units, first_unit + units_per_task);
  const std::size_t end_tile = std::min(num_tiles, first_tile + tiles_per_task);
  for (std::size_t tile = first_tile; tile < end_tile; ++tile) {
    for (std::size_t unit = first_unit; unit < end_unit; ++unit)
      run_unit(unit, tile);
  }
}

// How much one task takes on: enough to be worth a claim, little enough to keep all threads busy.
void choose_task_size(LinearJob& job, std::size_t unit_bytes, std::size_t num_threads) {
  const std::size_t tile_rows = std::min(job.input.rows, kMaxTileRows);
  const std::size_t unit_macs = job.input.cols * kPanelColumns * tile_rows;
  const std::size_t enough = std::max<std::size_t>(1, kMinTaskMacs / unit_macs);
  job.tiles_per_task = std::min(job.num_tiles, kMaxTaskTiles);
  const std::size_t wanted_tasks = num_threads * kTasksPerThread;
  const std::size_t wanted_blocks = std::max<std::size_t>(1, wanted_tasks / job.num_tile_blocks());
  const std::size_t even = std::max<std::size_t>(1, job.num_units / wanted_blocks);
  job.units_per_task = std::max(enough, even);
  if (job.num_tiles > 1) {
    const std::size_t fitting = std::max<std::size_t>(1, kMaxTaskWeightBytes / unit_bytes);
    job.units_per_task = std::max(enough, std::min(even, fitting));
  }
  job.units_per_task = std::min(job.units_per_task, job.num_units);
}

}  // namespace

void CpuDevice::reserve(const DeviceLimits& limits) {
  activations_.grow_to(limits.max_tokens * (limits.max_features / kGroupLen));
  if (float_products_ == FloatProducts::kBf16) {
    rounded_.grow_to(limits.max_tokens * padded_to_pairs(limits.max_features));
  }
  attention_memory_.reserve(limits.max_head_dim);
}

void CpuDevice::quantize(ConstMatrixView input) {
  const std::size_t num_groups = input.cols / kGroupLen;
  activations_.grow_to(input.rows * num_groups);
  for_each_row(input.rows, input.cols / 4, [&](std::size_t row) {
    const std::size_t first = row / kMaxTileRows * kMaxTileRows;
    const std::size_t tile_rows = std::min(kMaxTileRows, input.rows - first);
    kernels_.quantize_row(input.row(row), num_groups,
                          activations_.data() + first * num_groups + (row - first), tile_rows);
  });
}

void CpuDevice::linear(ConstMatrixView input, std::span<const LinearOutput> outputs) {
  HEARTH_CHECK(outputs.size() <= kMaxOutputs);
  if (input.rows == 0 || outputs.empty()) return;
  LinearJob job = {.kernels = &kernels_, .input = input, .outputs = outputs};
  bool any_packed = false;
  bool any_rounded = false;
  std::size_t unit_bytes = 1;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const LinearOutput& output = outputs[i];
    const auto& weight = static_cast<const CpuWeight&>(*output.weight);
    HEARTH_CHECK(weight.in_features() == input.cols && weight.is_ready_for_products());
    HEARTH_CHECK(output.out.rows == input.rows && output.out.cols == weight.out_features());
    any_packed = any_packed || weight.packed_format().has_value();
    any_rounded = any_rounded || weight.is_rounded();
    unit_bytes =
        std::max(unit_bytes, weight.panel_bytes() > 0 ? weight.panel_bytes()
                                                      : weight.row_bytes() * kPanelColumns);
    job.num_units += weight.num_panels();
    job.unit_ends[i] = job.num_units;
  }
  if (any_packed) quantize(input);
  if (any_rounded) round(input);
  job.activations = activations_.data();
  job.rounded = rounded_.data();
  job.num_tiles = (input.rows + kMaxTileRows - 1) / kMaxTileRows;
  choose_task_size(job, unit_bytes, pool_.num_threads());
  pool_.run(job.num_unit_blocks() * job.num_tile_blocks(),
            [&job](std::size_t task, std::size_t) { job.run_task(task); });
}

}  // namespace hearth
