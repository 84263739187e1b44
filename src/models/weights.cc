#include "models/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "tensor/quantize.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxProblemsShown = 8;

Shape make_shape(std::size_t rows, std::size_t cols) {
  Shape shape;
  shape.rank = 2;
  shape.dims[0] = rows;
  shape.dims[1] = cols;
  return shape;
}

Shape make_shape(std::size_t length) {
  Shape shape;
  shape.rank = 1;
  shape.dims[0] = length;
  return shape;
}

}  // namespace

const TensorView* WeightBinder::find(std::string_view name, const Shape& expected,
                                     Presence presence) {
  known_.emplace(name);
  const TensorView* tensor = file_.find_tensor(name);
  if (tensor == nullptr) {
    if (presence == Presence::kRequired) {
      problems_.push_back(
          fmt::format("'{}' {} is missing", file_.spelling(name), expected.to_string()));
    }
    return nullptr;
  }
  if (!(tensor->shape == expected)) {
    problems_.push_back(fmt::format("'{}' has shape {}, expected {}", file_.spelling(name),
                                    tensor->shape.to_string(), expected.to_string()));
    return nullptr;
  }
  weight_bytes_ += tensor->data.size();
  num_parameters_ += expected.num_elements();
  return tensor;
}

void WeightBinder::matrix(std::string_view name, const MatrixSpec& spec,
                          std::unique_ptr<WeightMatrix>& target) {
  const TensorView* tensor =
      find(name, make_shape(spec.out_features, spec.in_features), spec.presence);
  if (tensor == nullptr) return;
  auto weight = spec.use == MatrixUse::kTable ? device_.prepare_table(*tensor)
                                              : device_.prepare_weight(*tensor);
  if (!weight) {
    unimplemented_ |= weight.error().code() == StatusCode::kUnimplemented;
    problems_.push_back(weight.error().message());
    return;
  }
  target = *std::move(weight);
  if (target->extra_bytes() == 0) return;
  weight_bytes_ += target->extra_bytes() - tensor->data.size();
  file_.release(*tensor);
}

void WeightBinder::vector(std::string_view name, std::size_t length, Presence presence,
                          std::vector<float>& target) {
  const TensorView* tensor = find(name, make_shape(length), presence);
  if (tensor == nullptr) return;
  target.resize(length);
  dequantize_row(tensor->dtype, tensor->data, target);
}

Status WeightBinder::finish() const {
  std::vector<std::string> problems = problems_;
  bool undeclared = false;
  for (const TensorView& tensor : file_.tensors()) {
    if (known_.contains(tensor.name)) continue;
    undeclared = true;
    problems.push_back(fmt::format("'{}' {} is not part of this architecture as supported here",
                                   file_.spelling(tensor.name), tensor.shape.to_string()));
  }
  if (problems.empty()) return {};

  const std::size_t shown = std::min(problems.size(), kMaxProblemsShown);
  std::string text = fmt::format("{}", fmt::join(std::span(problems).first(shown), "; "));
  if (shown < problems.size()) text += fmt::format("; and {} more", problems.size() - shown);
  const bool other_model = problems_.empty() && undeclared;
  return make_status(
      unimplemented_ || other_model ? StatusCode::kUnimplemented : StatusCode::kDataLoss,
      "{} tensor problem{}: {}", problems.size(), problems.size() == 1 ? "" : "s", text);
}

}  // namespace hearth
