#include "models/distance_biases.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "models/model_config.h"

namespace hearth {
namespace {

// The first distance of each bucket, as transformers' MPNetEncoder.relative_position_bucket has
// them.
TEST(DistanceBuckets, BeginWhereTransformersHasThem) {
  const auto first_distances = [](std::size_t num_buckets) {
    std::vector<std::size_t> starts = {0};
    for (std::ptrdiff_t length = 1; length <= 600; ++length) {
      const std::size_t bucket = distance_bucket(-length, num_buckets);
      EXPECT_EQ(distance_bucket(length, num_buckets), bucket + num_buckets / 2) << length;
      if (bucket == starts.size()) starts.push_back(static_cast<std::size_t>(length));
      EXPECT_EQ(bucket + 1, starts.size()) << length;
    }
    return starts;
  };
  EXPECT_EQ(first_distances(32),
            (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91}));
  EXPECT_EQ(first_distances(8), (std::vector<std::size_t>{0, 1, 2, 16}));
}

TEST(DistanceBiasTables, AlibiFallsToBothSides) {
  const std::vector<float> slopes = {0.5f, 0.25f};
  const DistanceBiasTable table(slopes, 4);
  const DistanceBiases biases = table.view();
  ASSERT_EQ(biases.reach, 3u);
  for (std::size_t head = 0; head < 2; ++head) {
    const float* row = biases.values + head * biases.stride();
    for (int distance = -3; distance <= 3; ++distance) {
      const float expected =
          -slopes[head] * static_cast<float>(distance < 0 ? -distance : distance);
      EXPECT_EQ(row[3 + distance], expected) << head << " " << distance;
    }
  }
  EXPECT_EQ(table.bytes(), 2 * biases.stride() * sizeof(float));
  EXPECT_EQ(DistanceBiasTable().view().values, nullptr);
}

}  // namespace
}  // namespace hearth
