#include "tensor/finite.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include "tensor/quantize.h"
#include "tests/support/random_blocks.h"

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
        EXPECT_EQ(first_non_finite(GetParam(), stored(GetParam(), changed)), i);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, FiniteTest,
                         ::testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         [](const auto& case_info) {
                           return std::string(dtype_info(case_info.param).name);
                         });

class FiniteBlocksTest : public ::testing::TestWithParam<DTypeInfo> {};

// Every scale and minimum of every block, once at a time.
TEST_P(FiniteBlocksTest, FindsOneBadScaleInEveryBlock) {
  const DTypeInfo& info = GetParam();
  const std::size_t num_blocks = 9;
  const auto blocks = test::random_blocks(info.dtype, num_blocks * info.block_len, 1);
  EXPECT_TRUE(all_finite(info.dtype, blocks));
  EXPECT_EQ(first_non_finite(info.dtype, blocks), std::nullopt);
  for (std::size_t i = 0; i < num_blocks; ++i) {
    for (std::size_t scale = 0; scale < test::num_scales(info.dtype); ++scale) {
      for (const bool infinite : {false, true}) {
        auto changed = blocks;
        const auto block = std::span(changed).subspan(i * info.block_bytes, info.block_bytes);
        test::spoil_scale(info.dtype, block, scale, infinite);
        EXPECT_FALSE(all_finite(info.dtype, changed)) << i;
        EXPECT_EQ(first_non_finite(info.dtype, changed), i);
      }
    }
  }
}

std::vector<DTypeInfo> block_formats() {
  std::vector<DTypeInfo> formats;
  std::ranges::copy_if(all_dtypes(), std::back_inserter(formats),
                       [](const DTypeInfo& info) { return info.block_len > 1; });
  return formats;
}

INSTANTIATE_TEST_SUITE_P(Formats, FiniteBlocksTest, ::testing::ValuesIn(block_formats()),
                         [](const auto& case_info) { return std::string(case_info.param.name); });

}  // namespace
}  // namespace hearth
