// What attention adds to its scores by distance, as a table that a device reads: biases of T5's
// kind (arXiv 1910.10683), one per head and bucket of distances, and ALiBi that looks both ways.
// Internal to the models module.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/device.h"

namespace hearth {

// The bucket of a key that stands `distance` behind the query: half of the `num_buckets` (a
// multiple of 4) are for keys behind it; of each half the first half holds a distance each, the
// others grow by a factor, up to the last, for everything from a distance of 128 on.
std::size_t distance_bucket(std::ptrdiff_t distance, std::size_t num_buckets);

// Immutable once made.
class DistanceBiasTable {
 public:
  DistanceBiasTable() = default;  // Nothing is added.
  // `learned` is [buckets, num_heads]. For sequences of up to max_tokens.
  DistanceBiasTable(Device& device, const WeightMatrix& learned, std::size_t max_tokens);
  // -slope x distance, whether before or behind.
  DistanceBiasTable(std::span<const float> slopes, std::size_t max_tokens);

  DistanceBiases view() const { return {values_.empty() ? nullptr : values_.data(), reach_}; }
  std::size_t bytes() const { return values_.size() * sizeof(float); }

 private:
  std::vector<float> values_;  // As DistanceBiases wants them.
  std::size_t reach_ = 0;
};

}  // namespace hearth
