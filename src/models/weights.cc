#include "models/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <initializer_list>
#include <span>
#include <utility>

#include "tensor/finite.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxProblemsShown = 8;

Shape make_shape(std::initializer_list<std::size_t> dims) {
  Shape shape;
  for (const std::size_t dim : dims)
    shape.dims[shape.rank++] = dim;
  return shape;
}

std::size_t total_length(std::span<const VectorPart> parts) {
  std::size_t total = 0;
  for (const VectorPart& part : parts)
    total += part.length;
  return total;
}

// To each part its own values; nothing where there are none.
void deal_out(std::span<const float> values, std::span<const VectorPart> parts) {
  if (values.empty()) return;
  std::size_t first = 0;
  for (const VectorPart& part : parts) {
    const auto own = values.subspan(first, part.length);
    part.target->assign(own.begin(), own.end());
    first += part.length;
  }
}

}  // namespace

void WeightBinder::add_problem(std::string text) {
  ++num_problems_;
  if (problems_.size() < kMaxProblemsShown) problems_.push_back(std::move(text));
}

const TensorView* WeightBinder::find(std::string_view name, const Shape& expected,
                                     Presence presence) {
  known_.emplace(name);
  const TensorView* tensor = file_.find_tensor(name);
  if (tensor == nullptr) {
    if (presence == Presence::kRequired) {
      add_problem(fmt::format("'{}' {} is missing", file_.spelling(name), expected.to_string()));
    }
    return nullptr;
  }
  if (!(tensor->shape == expected)) {
    add_problem(fmt::format("'{}' has shape {}, expected {}", file_.spelling(name),
                            tensor->shape.to_string(), expected.to_string()));
    return nullptr;
  }
  // The scales of matrices in blocks are looked at when they are bound: packing reads them anyhow.
  const bool plain = dtype_info(tensor->dtype).block_len == 1;
  if ((plain || tensor->shape.rank < 2) && !is_finite(*tensor)) {
    check(*tensor, tensor->data);  // Damage says better why.
    add_problem(non_finite_problem(*tensor));
    return nullptr;
  }
  weight_bytes_ += tensor->data.size();
  num_parameters_ += expected.num_elements();
  return tensor;
}

bool WeightBinder::is_finite(const TensorView& tensor) const {
  const std::size_t block_bytes = dtype_info(tensor.dtype).block_bytes;
  const std::size_t part_bytes = (std::size_t{1} << 20) / block_bytes * block_bytes;
  const std::size_t num_parts = (tensor.data.size() + part_bytes - 1) / part_bytes;
  std::atomic<bool> finite = true;
  device_.host_threads().run(num_parts, [&](std::size_t part, std::size_t) {
    const auto rest = tensor.data.subspan(part * part_bytes);
    if (!all_finite(tensor.dtype, rest.first(std::min(rest.size(), part_bytes)))) {
      finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite.load(std::memory_order_relaxed);
}

std::string WeightBinder::non_finite_problem(const TensorView& tensor) const {
  const DTypeInfo& info = dtype_info(tensor.dtype);
  return fmt::format("'{}' holds a NaN or an infinity in {} {} ({})", file_.spelling(tensor.name),
                     info.block_len == 1 ? "value" : "block",
                     first_non_finite(tensor.dtype, tensor.data).value_or(0), info.name);
}

std::size_t WeightBinder::num_rows(std::string_view name) const {
  const TensorView* tensor = file_.find_tensor(name);
  return tensor == nullptr || tensor->shape.rank != 2 ? 0 : tensor->shape.dims[0];
}

void WeightBinder::bind(const TensorView& tensor, Rows rows, MatrixUse use,
                        std::unique_ptr<WeightMatrix>& target) {
  const std::size_t row_bytes = tensor.data.size() / tensor.shape.num_rows();
  const TensorView part = {
      .name = tensor.name,
      .dtype = tensor.dtype,
      .shape = make_shape({rows.count, tensor.shape.row_len()}),
      .data = tensor.data.subspan(rows.first * row_bytes, rows.count * row_bytes)};
  if (use == MatrixUse::kTable && !is_finite(part)) {
    check(tensor, part.data);
    add_problem(non_finite_problem(tensor));
    return;
  }
  auto weight =
      use == MatrixUse::kTable ? device_.prepare_table(part) : device_.prepare_weight(part);
  if (!weight) {
    check(tensor, part.data);
    unimplemented_ |= weight.error().code() == StatusCode::kUnimplemented;
    const bool non_finite = weight.error().code() == StatusCode::kDataLoss;
    add_problem(non_finite ? non_finite_problem(tensor) : weight.error().message());
    return;
  }
  target = *std::move(weight);
  if (use != MatrixUse::kLinear || target->reads_source()) check(tensor, part.data);
  if (target->extra_bytes() == 0) return;
  weight_bytes_ += target->extra_bytes() - part.data.size();
  if (use == MatrixUse::kLinear) return file_.discard(part);
  // Its rows are read now and then: in a mapped file that costs no memory of ours.
  if (file_.is_made(part)) weight_bytes_ += part.data.size();
  file_.release(part);
}

void WeightBinder::check(const TensorView& tensor, std::span<const std::byte> data) {
  if (!damage_.ok()) return;
  damage_ = file_.check(data, &device_.host_threads())
                .with_context(fmt::format("tensor '{}'", file_.spelling(tensor.name)));
}

void WeightBinder::matrix(std::string_view name, const MatrixSpec& spec,
                          std::unique_ptr<WeightMatrix>& target) {
  const TensorView* tensor =
      find(name, make_shape({spec.out_features, spec.in_features}), spec.presence);
  if (tensor != nullptr) bind(*tensor, {0, spec.out_features}, spec.use, target);
}

void WeightBinder::row(std::string_view name, std::size_t length,
                       std::unique_ptr<WeightMatrix>& target) {
  const TensorView* stored = file_.find_tensor(name);
  const bool is_matrix = stored != nullptr && stored->shape.rank == 2;
  const Shape expected = is_matrix ? make_shape({1, length}) : make_shape({length});
  const TensorView* tensor = find(name, expected, Presence::kRequired);
  if (tensor != nullptr) bind(*tensor, {0, 1}, MatrixUse::kLinear, target);
}

void WeightBinder::fused_matrices(std::string_view name, std::size_t in_features,
                                  std::span<const MatrixPart> parts) {
  std::size_t total = 0;
  for (const MatrixPart& part : parts)
    total += part.out_features;
  const TensorView* tensor = find(name, make_shape({total, in_features}), Presence::kRequired);
  if (tensor == nullptr) return;
  Rows rows;
  for (const MatrixPart& part : parts) {
    rows.count = part.out_features;
    bind(*tensor, rows, MatrixUse::kLinear, *part.target);
    rows.first += rows.count;
  }
}

void WeightBinder::stacked_matrices(std::string_view name, const MatrixSpec& spec,
                                    std::span<std::unique_ptr<WeightMatrix>> targets,
                                    std::size_t group_size) {
  const TensorView* tensor = find(
      name,
      make_shape({targets.size() / group_size, group_size * spec.out_features, spec.in_features}),
      Presence::kRequired);
  if (tensor == nullptr) return;
  for (std::size_t i = 0; i < targets.size(); ++i)
    bind(*tensor, {i * spec.out_features, spec.out_features}, spec.use, targets[i]);
}

namespace {

// out [columns, rows] from rows of a tensor, whose values are copied as they are, or dequantized to
// float32.
void transpose_rows(const TensorView& rows, std::span<std::byte> out) {
  const std::size_t num_rows = rows.shape.dims[0];
  const std::size_t num_cols = rows.shape.dims[1];
  const bool plain = dtype_info(rows.dtype).block_len == 1;
  const std::size_t size = plain ? dtype_info(rows.dtype).block_bytes : sizeof(float);
  const std::size_t row_bytes = rows.data.size() / num_rows;
  std::vector<float> values(plain ? 0 : num_cols);
  for (std::size_t row = 0; row < num_rows; ++row) {
    std::span<const std::byte> source = rows.data.subspan(row * row_bytes, row_bytes);
    if (!plain) {
      dequantize_row(rows.dtype, source, values);
      source = std::as_bytes(std::span(values));
    }
    for (std::size_t col = 0; col < num_cols; ++col)
      std::memcpy(out.data() + (col * num_rows + row) * size, source.data() + col * size, size);
  }
}

}  // namespace

void WeightBinder::transpose_bands(const TensorView& tensor, const SplitBands& bands,
                                   const BandTargets& targets) {
  const bool plain = dtype_info(tensor.dtype).block_len == 1;
  const DType dtype = plain ? tensor.dtype : DType::kF32;
  const std::size_t band_rows = bands.transposed_rows + bands.plain_rows;
  const std::size_t band_bytes = tensor.data.size() / targets.plain.size();
  const std::size_t kept_bytes = band_bytes / band_rows * bands.transposed_rows;
  const std::size_t made_bytes =
      bands.transposed_rows * bands.in_features * dtype_info(dtype).block_bytes;
  auto memory = AnonymousMapping::create(targets.plain.size() * made_bytes);
  if (!memory.has_value()) return add_problem(memory.error().message());
  *targets.made = *std::move(memory);
  const auto made_of = [&](std::size_t band) {
    return std::span(targets.made->data() + band * made_bytes, made_bytes);
  };
  device_.host_threads().run(targets.plain.size(), [&](std::size_t band, std::size_t) {
    transpose_rows({.name = tensor.name,
                    .dtype = tensor.dtype,
                    .shape = make_shape({bands.transposed_rows, bands.in_features}),
                    .data = tensor.data.subspan(band * band_bytes, kept_bytes)},
                   made_of(band));
  });
  for (std::size_t band = 0; band < targets.plain.size(); ++band) {
    const TensorView part = {.name = tensor.name,
                             .dtype = dtype,
                             .shape = make_shape({bands.in_features, bands.transposed_rows}),
                             .data = made_of(band)};
    if (!is_finite(part)) return add_problem(non_finite_problem(tensor));
    auto weight = device_.prepare_weight(part);
    if (!weight) return add_problem(weight.error().message());
    targets.transposed[band] = *std::move(weight);
    weight_bytes_ += made_bytes + targets.transposed[band]->extra_bytes() - kept_bytes;
  }
}

void WeightBinder::split_bands(std::string_view name, const SplitBands& bands,
                               const BandTargets& targets) {
  const std::size_t band_rows = bands.transposed_rows + bands.plain_rows;
  const std::size_t num_bands = targets.plain.size();
  const TensorView* tensor =
      find(name, make_shape({num_bands * band_rows, bands.in_features}), Presence::kRequired);
  if (tensor == nullptr) return;
  check(*tensor, tensor->data);
  for (std::size_t band = 0; band < num_bands; ++band) {
    bind(*tensor, {band * band_rows + bands.transposed_rows, bands.plain_rows}, MatrixUse::kLinear,
         targets.plain[band]);
  }
  transpose_bands(*tensor, bands, targets);
}

std::vector<float> WeightBinder::values(std::string_view name, const Shape& shape,
                                        Presence presence) {
  const TensorView* tensor = find(name, shape, presence);
  if (tensor == nullptr) return {};
  check(*tensor, tensor->data);
  std::vector<float> result(shape.num_elements());
  dequantize_row(tensor->dtype, tensor->data, result);
  return result;
}

void WeightBinder::vector(std::string_view name, std::size_t length, Presence presence,
                          std::vector<float>& target) {
  target = values(name, make_shape({length}), presence);
}

void WeightBinder::fused_vectors(std::string_view name, Presence presence,
                                 std::span<const VectorPart> parts) {
  deal_out(values(name, make_shape({total_length(parts)}), presence), parts);
}

void WeightBinder::stacked_vectors(std::string_view name, std::size_t num_rows, Presence presence,
                                   std::span<const VectorPart> parts) {
  const std::size_t total = total_length(parts);
  deal_out(values(name, make_shape({num_rows, total / num_rows}), presence), parts);
}

bool WeightBinder::is_undeclared(const TensorView& tensor) const {
  if (!left_out_.empty() && tensor.name.starts_with(left_out_) &&
      !tensor.name.starts_with(left_out_but_)) {
    return false;
  }
  return !known_.contains(tensor.name);
}

Status WeightBinder::finish() const {
  HEARTH_RETURN_IF_ERROR(damage_);
  std::vector<std::string> shown = problems_;
  std::size_t count = num_problems_;
  for (const TensorView& tensor : file_.tensors()) {
    if (!is_undeclared(tensor)) continue;
    ++count;
    if (shown.size() == kMaxProblemsShown) continue;
    shown.push_back(fmt::format("'{}' {} is not part of this architecture as supported here",
                                file_.spelling(tensor.name), tensor.shape.to_string()));
  }
  if (count == 0) return {};

  std::string text = fmt::format("{}", fmt::join(shown, "; "));
  if (shown.size() < count) text += fmt::format("; and {} more", count - shown.size());
  const bool other_model = num_problems_ == 0;
  return make_status(
      unimplemented_ || other_model ? StatusCode::kUnimplemented : StatusCode::kDataLoss,
      "{} tensor problem{}{}: {}", count, count == 1 ? "" : "s",
      left_out_.empty() ? "" : fmt::format(" up to layer '{}'", left_out_but_), text);
}

}  // namespace hearth
