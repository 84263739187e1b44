#include "models/distance_biases.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace hearth {

std::size_t distance_bucket(std::ptrdiff_t distance, std::size_t num_buckets) {
  constexpr float kFarthest = 128.0f;
  const std::size_t half = num_buckets / 2;
  const std::size_t exact = half / 2;
  const auto length = static_cast<std::size_t>(distance < 0 ? -distance : distance);
  const std::size_t first = distance > 0 ? half : 0;
  if (length < exact) return first + length;
  // In the precision and order of transformers, whose roundings decide at the borders.
  const auto start = static_cast<float>(exact);
  const float share = std::log(static_cast<float>(length) / start) /
                      static_cast<float>(std::log(double{kFarthest} / double{start}));
  const auto growth = static_cast<std::size_t>(share * static_cast<float>(half - exact));
  return first + std::min(exact + growth, half - 1);
}

DistanceBiasTable::DistanceBiasTable(Device& device, const WeightMatrix& learned,
                                     std::size_t max_tokens)
    : reach_(max_tokens - 1) {
  const std::size_t num_heads = learned.in_features();
  std::vector<std::int32_t> buckets;
  for (std::size_t i = 0; i <= 2 * reach_; ++i) {
    const auto distance = static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(reach_);
    buckets.push_back(static_cast<std::int32_t>(distance_bucket(distance, learned.out_features())));
  }
  std::vector<float> rows(buckets.size() * num_heads);
  device.embed(learned, buckets, {rows.data(), buckets.size(), num_heads, num_heads});
  values_.resize(num_heads * view().stride());
  for (std::size_t head = 0; head < num_heads; ++head) {
    for (std::size_t i = 0; i <= 2 * reach_; ++i)
      values_[head * view().stride() + i] = rows[i * num_heads + head];
  }
}

DistanceBiasTable::DistanceBiasTable(std::span<const float> slopes, std::size_t max_tokens)
    : reach_(max_tokens - 1) {
  values_.resize(slopes.size() * view().stride());
  for (std::size_t head = 0; head < slopes.size(); ++head) {
    float* middle = values_.data() + head * view().stride() + reach_;
    for (std::size_t length = 1; length <= reach_; ++length) {
      const float bias = -slopes[head] * static_cast<float>(length);
      *(middle + length) = bias;
      *(middle - length) = bias;
    }
  }
}

}  // namespace hearth
