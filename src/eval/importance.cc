#include "eval/importance.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "formats/gguf_file_writer.h"

namespace hearth {
namespace {

// Columns of one task: a cache line of the sums.
constexpr std::size_t kTaskColumns = 64;

void add_squares(ConstMatrixView input, ThreadPool& threads, InputSums& sums) {
  threads.run((input.cols + kTaskColumns - 1) / kTaskColumns, [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min(input.cols, (task + 1) * kTaskColumns);
    for (std::size_t row = 0; row < input.rows; ++row) {
      const float* values = input.row(row);
      for (std::size_t col = task * kTaskColumns; col < end; ++col)
        sums.squares[col] += static_cast<double>(values[col]) * static_cast<double>(values[col]);
    }
  });
  sums.num_rows += input.rows;
}

Shape matrix_shape(std::size_t rows, std::size_t cols) {
  return {.dims = {rows, cols, 1, 1}, .rank = 2};
}

// One tensor's entry of the file.
struct Entry {
  std::string name;
  std::vector<float> squares;  // [matrices, in_features]
  std::vector<float> counts;   // [matrices]
};

void add_matrix(const InputSums& sums, Entry& entry) {
  for (const double square : sums.squares)
    entry.squares.push_back(static_cast<float>(square));
  entry.counts.push_back(static_cast<float>(sums.num_rows));
}

bool is_used(const InputSums& sums) {
  return sums.num_rows > 0;
}

// The parts of a tensor that is no stack share its columns. Those of a fused one have one input,
// those of latent attention one each, of which the mean counts. Parts that were turned round on
// loading have other columns and do not.
std::optional<InputSums> mean_of(std::span<const InputSums> parts, std::size_t num_cols) {
  InputSums mean = {.squares = std::vector<double>(num_cols), .num_rows = 0};
  std::size_t count = 0;
  for (const InputSums& part : parts) {
    if (!is_used(part) || part.squares.size() != num_cols) continue;
    mean.num_rows = part.num_rows;
    std::ranges::transform(part.squares, mean.squares, mean.squares.begin(), std::plus());
    ++count;
  }
  if (count == 0) return std::nullopt;
  for (double& square : mean.squares)
    square /= static_cast<double>(count);
  return mean;
}

std::vector<Entry> collect(const RecordingDevice& device, const ModelFile& model) {
  std::vector<Entry> entries;
  for (const auto& [name, matrices] : device.sums()) {
    const TensorView* tensor = model.find_tensor(name);
    Entry entry = {.name = name, .squares = {}, .counts = {}};
    if (tensor != nullptr && tensor->shape.rank > 2) {
      for (const InputSums& sums : matrices)
        add_matrix(sums, entry);
      if (std::ranges::none_of(matrices, is_used)) continue;
    } else {
      const std::size_t num_cols =
          tensor != nullptr ? tensor->shape.row_len() : matrices.front().squares.size();
      const auto mean = mean_of(matrices, num_cols);
      if (!mean) continue;
      add_matrix(*mean, entry);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

Result<std::unique_ptr<WeightMatrix>> RecordingDevice::prepare_weight(const TensorView& tensor) {
  HEARTH_ASSIGN_OR_RETURN(auto weight, inner_.prepare_weight(tensor));
  std::vector<InputSums>& matrices = sums_[tensor.name];
  matrices.push_back({.squares = std::vector<double>(weight->in_features()), .num_rows = 0});
  places_[weight.get()] = {&matrices, matrices.size() - 1};
  return weight;
}

void RecordingDevice::linear(ConstMatrixView input, std::span<const LinearOutput> outputs) {
  for (const LinearOutput& output : outputs) {
    const Place place = places_.at(output.weight);
    add_squares(input, host_threads(), (*place.tensor)[place.idx]);
  }
  inner_.linear(input, outputs);
}

Status write_importance(const RecordingDevice& device, const ModelFile& model,
                        const ImportanceSource& source, const std::filesystem::path& path) {
  const std::vector<Entry> entries = collect(device, model);
  GgufMetadata metadata;
  metadata.set("general.type", std::string_view("imatrix"));
  metadata.set("imatrix.datasets", std::vector<std::string_view>{source.dataset});
  metadata.set("imatrix.chunk_count", static_cast<std::int64_t>(source.num_chunks));
  metadata.set("imatrix.chunk_size", static_cast<std::int64_t>(source.chunk_len));
  std::vector<GgufTensorInfo> tensors;
  tensors.reserve(2 * entries.size());
  for (const Entry& entry : entries) {
    const std::size_t matrices = entry.counts.size();
    tensors.push_back({entry.name + ".in_sum2", DType::kF32,
                       matrix_shape(matrices, entry.squares.size() / matrices)});
    tensors.push_back({entry.name + ".counts", DType::kF32, matrix_shape(matrices, 1)});
  }
  HEARTH_ASSIGN_OR_RETURN(auto writer, GgufFileWriter::create(path, metadata, tensors));
  for (const Entry& entry : entries) {
    HEARTH_RETURN_IF_ERROR(writer.write(std::as_bytes(std::span(entry.squares))));
    HEARTH_RETURN_IF_ERROR(writer.write(std::as_bytes(std::span(entry.counts))));
  }
  return writer.finish();
}

}  // namespace hearth
