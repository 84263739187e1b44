#include "tensor/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/quantize.h"

namespace hearth {
namespace {

std::vector<std::byte> stored(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> data(row_bytes(dtype, values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t size = dtype_info(dtype).block_bytes;
    quantize_row(dtype, std::span(values).subspan(i, 1), std::span(data).subspan(i * size, size));
  }
  return data;
}

class FiniteTest : public ::testing::TestWithParam<DType> {};

TEST_P(FiniteTest, FindsOneBadValueAtEveryPlace) {
  constexpr float kLargest = 65504.0f;
  for (std::size_t length : {1u, 7u, 33u, 70u}) {
    const std::vector<float> values(length, -kLargest);
    EXPECT_TRUE(all_finite(GetParam(), stored(GetParam(), values)));
    for (std::size_t i = 0; i < length; ++i) {
      for (const float bad : {std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(), std::nanf("")}) {
        auto changed = values;
        changed[i] = bad;
        EXPECT_FALSE(all_finite(GetParam(), stored(GetParam(), changed))) << length << " " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, FiniteTest,
                         ::testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         [](const auto& case_info) {
                           return std::string(dtype_info(case_info.param).name);
                         });

}  // namespace
}  // namespace hearth
