#include "models/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tensor/quantize.h"

namespace hearth {

std::string ConfigReader::full(std::string_view key) const {
  return fmt::format("{}.{}", prefix_, key);
}

Result<std::optional<std::uint32_t>> ConfigReader::optional_size(std::string_view key,
                                                                 std::uint32_t max) const {
  const std::string name = full(key);
  HEARTH_ASSIGN_OR_RETURN(auto value, file_.find_uint32(name));
  if (value && (*value == 0 || *value > max)) {
    return error(StatusCode::kDataLoss, "{} is {}; it must be 1 to {}", name, *value, max);
  }
  return value;
}

Result<std::size_t> ConfigReader::size(std::string_view key, std::uint32_t max) const {
  HEARTH_ASSIGN_OR_RETURN(auto value, optional_size(key, max));
  if (!value) return error(StatusCode::kDataLoss, "metadata key '{}' is missing", full(key));
  return std::size_t{*value};
}

Result<std::size_t> ConfigReader::size_or(std::string_view key, std::uint32_t max,
                                          std::size_t fallback) const {
  const std::string name = full(key);
  HEARTH_ASSIGN_OR_RETURN(auto value, file_.find_uint32(name));
  if (value && *value > max) {
    return error(StatusCode::kDataLoss, "{} is {}; it must be 0 to {}", name, *value, max);
  }
  return value ? std::size_t{*value} : fallback;
}

Result<double> ConfigReader::number(std::string_view key, double fallback) const {
  const std::string name = full(key);
  HEARTH_ASSIGN_OR_RETURN(auto value, file_.find_double(name));
  if (value && !std::isfinite(*value)) {
    return error(StatusCode::kDataLoss, "{} is not a finite number", name);
  }
  return value.value_or(fallback);
}

Result<double> ConfigReader::positive_number(std::string_view key, double fallback) const {
  HEARTH_ASSIGN_OR_RETURN(double value, number(key, fallback));
  if (value <= 0.0)
    return error(StatusCode::kDataLoss, "{} is {}; it must be above 0", full(key), value);
  return value;
}

Result<bool> ConfigReader::flag(std::string_view key, bool fallback) const {
  HEARTH_ASSIGN_OR_RETURN(auto value, file_.find_bool(full(key)));
  return value.value_or(fallback);
}

Result<std::optional<std::string_view>> ConfigReader::text(std::string_view key) const {
  return file_.find_text(full(key));
}

Result<std::vector<float>> ConfigReader::positive_vector(std::string_view name,
                                                         std::size_t length) const {
  const TensorView* tensor = file_.find_tensor(name);
  if (tensor == nullptr) return std::vector<float>();
  if (tensor->shape.rank != 1 || tensor->shape.dims[0] != length) {
    return error(StatusCode::kDataLoss, "tensor '{}' has shape {}, expected [{}]", name,
                 tensor->shape.to_string(), length);
  }
  HEARTH_RETURN_IF_ERROR(file_.check(tensor->data, nullptr));
  std::vector<float> values(length);
  dequantize_row(tensor->dtype, tensor->data, values);
  if (std::ranges::any_of(values, [](float value) { return !(value > 0.0f); })) {
    return error(StatusCode::kDataLoss, "tensor '{}' holds a value that is not above 0", name);
  }
  return values;
}

}  // namespace hearth
