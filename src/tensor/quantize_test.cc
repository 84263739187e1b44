#include "tensor/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

// How far a value may move through quantize and dequantize, as a share of the largest magnitude in
// its block: at worst and as a root mean square. For values spread evenly over [-1, 1], where the
// formats with more levels, and those with a minimum, must do better.
struct ErrorBudget {
  DType dtype;
  float worst;
  float rms;
};

constexpr ErrorBudget kErrorBudgets[] = {
    {DType::kF32, 0.0f, 0.0f},       {DType::kF16, 0.0004f, 0.00015f},
    {DType::kBF16, 0.0025f, 0.001f}, {DType::kQ4_0, 0.126f, 0.042f},
    {DType::kQ4_1, 0.068f, 0.038f},  {DType::kQ5_0, 0.064f, 0.02f},
    {DType::kQ5_1, 0.034f, 0.0185f}, {DType::kQ8_0, 0.0045f, 0.0024f},
    {DType::kQ2_K, 0.5f, 0.14f},     {DType::kQ3_K, 0.27f, 0.08f},
    {DType::kQ4_K, 0.13f, 0.034f},   {DType::kQ5_K, 0.05f, 0.017f},
    {DType::kQ6_K, 0.034f, 0.0085f}, {DType::kIQ4_NL, 0.13f, 0.04f},
    {DType::kIQ4_XS, 0.13f, 0.04f},  {DType::kNF4, 0.16f, 0.06f},
};

constexpr std::size_t kNumGoldenValues = 2048;

std::filesystem::path golden_path(const std::string& name) {
  const char* root = std::getenv("HEARTH_SOURCE_DIR");
  return std::filesystem::path(root == nullptr ? "." : root) / "tests/golden/tensor" / name;
}

std::vector<std::byte> read_golden(const std::string& name) {
  const auto file = MappedFile::open(golden_path(name));
  EXPECT_TRUE(file.has_value()) << name;
  if (!file.has_value()) return {};
  return {file->bytes().begin(), file->bytes().end()};
}

std::vector<float> read_golden_values(const std::string& name) {
  const std::vector<std::byte> bytes = read_golden(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Bit patterns, so that -0 differs from 0 and a mismatch is exact.
std::vector<std::uint32_t> patterns(std::span<const float> values) {
  std::vector<std::uint32_t> result(values.size());
  std::memcpy(result.data(), values.data(), values.size_bytes());
  return result;
}

std::vector<float> round_trip(DType dtype, std::span<const float> values) {
  std::vector<std::byte> data(row_bytes(dtype, values.size()));
  quantize_row(dtype, values, data);
  std::vector<float> result(values.size());
  dequantize_row(dtype, data, result);
  return result;
}

std::vector<float> uniform_values(std::size_t count) {
  std::mt19937 engine(5);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(engine()) * 0x1p-31f - 1.0f;
  }
  return values;
}

class QuantizeTest : public ::testing::TestWithParam<DTypeInfo> {};

std::string test_name(const ::testing::TestParamInfo<DTypeInfo>& info) {
  return std::string(info.param.name);
}

std::vector<DTypeInfo> block_formats() {
  std::vector<DTypeInfo> formats;
  std::ranges::copy_if(all_dtypes(), std::back_inserter(formats),
                       [](const DTypeInfo& info) { return info.block_len > 1; });
  return formats;
}

class DequantizeGoldenTest : public ::testing::TestWithParam<DTypeInfo> {};

INSTANTIATE_TEST_SUITE_P(BlockFormats, DequantizeGoldenTest, ::testing::ValuesIn(block_formats()),
                         test_name);

std::vector<DTypeInfo> written_formats() {
  std::vector<DTypeInfo> formats;
  std::ranges::copy_if(all_dtypes(), std::back_inserter(formats),
                       [](const DTypeInfo& info) { return can_quantize(info.dtype); });
  return formats;
}

INSTANTIATE_TEST_SUITE_P(WrittenFormats, QuantizeTest, ::testing::ValuesIn(written_formats()),
                         test_name);

TEST_P(DequantizeGoldenTest, GivesTheBitsOfTheReference) {
  const DTypeInfo& info = GetParam();
  const std::string name(info.name);
  const auto blocks = read_golden(name + ".blocks");
  const auto expected = read_golden_values(name + ".f32");
  ASSERT_EQ(expected.size(), kNumGoldenValues);
  ASSERT_EQ(blocks.size(), row_bytes(info.dtype, kNumGoldenValues));
  std::vector<float> values(kNumGoldenValues);
  dequantize_row(info.dtype, blocks, values);
  EXPECT_EQ(patterns(values), patterns(expected));
}

TEST_P(DequantizeGoldenTest, ReadsRowsAtAnyAddress) {
  const DTypeInfo& info = GetParam();
  auto blocks = read_golden(std::string(info.name) + ".blocks");
  std::vector<float> expected(kNumGoldenValues);
  dequantize_row(info.dtype, blocks, expected);
  blocks.insert(blocks.begin(), std::byte{0});
  std::vector<float> values(kNumGoldenValues);
  dequantize_row(info.dtype, std::span(blocks).subspan(1), values);
  EXPECT_EQ(patterns(values), patterns(expected));
}

TEST_P(QuantizeTest, ReadsRowsAtAnyAddress) {
  const DTypeInfo& info = GetParam();
  const auto values = uniform_values(256);
  std::vector<std::byte> data(row_bytes(info.dtype, values.size()) + 1);
  const auto unaligned = std::span(data).subspan(1);
  quantize_row(info.dtype, values, unaligned);
  std::vector<float> result(values.size());
  dequantize_row(info.dtype, unaligned, result);
  EXPECT_EQ(patterns(result), patterns(round_trip(info.dtype, values)));
}

TEST_P(QuantizeTest, ZerosStayZeros) {
  const std::vector<float> zeros(512, 0.0f);
  for (const float value : round_trip(GetParam().dtype, zeros)) {
    ASSERT_EQ(value, 0.0f);
  }
}

TEST_P(QuantizeTest, AnEmptyRowHasNoBytes) {
  EXPECT_TRUE(round_trip(GetParam().dtype, {}).empty());
}

TEST(QuantizeReferenceTest, PlainAndSimpleFormatsGiveTheBytesOfTheReference) {
  const auto inputs = read_golden_values("inputs.f32");
  ASSERT_EQ(inputs.size(), kNumGoldenValues);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                            DType::kQ5_1, DType::kQ8_0, DType::kNF4}) {
    const std::string name(dtype_info(dtype).name);
    std::vector<std::byte> data(row_bytes(dtype, inputs.size()));
    quantize_row(dtype, inputs, data);
    EXPECT_EQ(data, read_golden(name + ".quantized")) << name;
  }
}

TEST(QuantizeErrorTest, EveryFormatStaysInItsBudget) {
  const auto values = uniform_values(256 * 64);
  for (const ErrorBudget& budget : kErrorBudgets) {
    const DTypeInfo& info = dtype_info(budget.dtype);
    const auto result = round_trip(budget.dtype, values);
    const std::size_t block_len = std::max<std::size_t>(info.block_len, 32);
    double worst = 0.0;
    double sum_of_squares = 0.0;
    for (std::size_t begin = 0; begin < values.size(); begin += block_len) {
      const auto block = std::span(values).subspan(begin, block_len);
      const float extent =
          std::abs(std::ranges::max(block, {}, [](float x) { return std::abs(x); }));
      for (std::size_t i = 0; i < block_len; ++i) {
        const double error = std::abs(double{result[begin + i]} - block[i]) / extent;
        worst = std::max(worst, error);
        sum_of_squares += error * error;
      }
    }
    const double rms = std::sqrt(sum_of_squares / static_cast<double>(values.size()));
    EXPECT_LE(worst, budget.worst) << info.name;
    EXPECT_LE(rms, budget.rms) << info.name;
  }
}

TEST(QuantizeErrorTest, EveryFloatFormatHasABudget) {
  for (const DTypeInfo& info : written_formats()) {
    if (info.dtype == DType::kI32) continue;
    EXPECT_TRUE(std::ranges::find(kErrorBudgets, info.dtype, &ErrorBudget::dtype) !=
                std::end(kErrorBudgets))
        << info.name;
  }
}

// Formats with group scales must adapt to each group: small values beside a large group survive.
TEST(QuantizeErrorTest, GroupsOfABlockHaveScalesOfTheirOwn) {
  for (const DType dtype :
       {DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_XS}) {
    auto values = uniform_values(256);
    for (std::size_t i = 128; i < 256; ++i) {
      values[i] *= 0.125f;
    }
    const auto result = round_trip(dtype, values);
    for (std::size_t i = 128; i < 256; ++i) {
      ASSERT_NEAR(result[i], values[i], 0.08f) << dtype_info(dtype).name;
    }
  }
}

// Like real weights: most are small.
std::vector<float> bell_values(std::size_t count) {
  std::mt19937 engine(7);
  std::vector<float> values(count);
  for (float& value : values) {
    value = -6.0f;
    for (int i = 0; i < 12; ++i)
      value += static_cast<float>(engine()) * 0x1p-32f;
    value *= 0.02f;
  }
  return values;
}

std::vector<float> weight_round_trip(DType dtype, std::span<const float> values,
                                     std::span<const float> importance) {
  std::vector<std::byte> data(row_bytes(dtype, values.size()));
  quantize_weight_row(dtype, values, importance, data);
  std::vector<float> result(values.size());
  dequantize_row(dtype, data, result);
  return result;
}

double weighted_error(std::span<const float> values, std::span<const float> result,
                      std::span<const float> importance) {
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = double{values[i]} - result[i];
    sum += (importance.empty() ? 1.0 : double{importance[i]}) * difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Root mean square errors of llama.cpp's quantizers (as llama-cpp-python 0.3.36 packs it), of NF4
// that of bitsandbytes 0.50.2, on values of a normal distribution, as a share of the values' own,
// measured over 614400 values.
struct PeerError {
  DType dtype;
  double share;
};

constexpr PeerError kPeerErrors[] = {
    {DType::kQ4_0, 0.0858},   {DType::kQ4_1, 0.0781},   {DType::kQ5_0, 0.0426},
    {DType::kQ5_1, 0.0378},   {DType::kQ2_K, 0.2959},   {DType::kQ3_K, 0.1506},
    {DType::kQ4_K, 0.0712},   {DType::kQ5_K, 0.0360},   {DType::kQ6_K, 0.01775},
    {DType::kIQ4_NL, 0.0761}, {DType::kIQ4_XS, 0.0766}, {DType::kNF4, 0.0920},
};

TEST(QuantizeWeightTest, ErrorIsNoLargerThanThatOfThePeer) {
  const auto values = bell_values(256 * 200);
  const double extent = weighted_error(values, std::vector<float>(values.size(), 0.0f), {});
  for (const PeerError& peer : kPeerErrors) {
    const double error = weighted_error(values, weight_round_trip(peer.dtype, values, {}), {});
    EXPECT_LE(error, peer.share * extent) << dtype_info(peer.dtype).name;
  }
}

TEST(QuantizeWeightTest, ImportantValuesGetSmallerErrors) {
  const auto values = bell_values(256 * 20);
  std::vector<float> importance(values.size());
  for (std::size_t i = 0; i < importance.size(); ++i)
    importance[i] = i % 7 == 0 ? 25.0f : 1.0f;
  for (const PeerError& row : kPeerErrors) {
    const auto plain = weight_round_trip(row.dtype, values, {});
    const auto weighted = weight_round_trip(row.dtype, values, importance);
    EXPECT_LT(weighted_error(values, weighted, importance),
              weighted_error(values, plain, importance))
        << dtype_info(row.dtype).name;
  }
}

TEST(QuantizeWeightTest, WithoutAnyImportanceAllValuesCountAlike) {
  const auto values = bell_values(512);
  const std::vector<float> none(values.size(), 0.0f);
  for (const PeerError& row : kPeerErrors) {
    EXPECT_EQ(patterns(weight_round_trip(row.dtype, values, none)),
              patterns(weight_round_trip(row.dtype, values, {})))
        << dtype_info(row.dtype).name;
  }
}

// Inputs that a text leaves unused may count in another, so their weights must not get lost.
TEST(QuantizeWeightTest, GroupsWithoutImportanceKeepTheirValues) {
  const auto values = bell_values(256);
  std::vector<float> importance(values.size(), 1.0f);
  std::fill_n(importance.begin() + 64, 32, 0.0f);
  const auto group = std::span(values).subspan(64, 32);
  for (const PeerError& row : kPeerErrors) {
    const auto result = weight_round_trip(row.dtype, values, importance);
    EXPECT_LT(weighted_error(group, std::span(result).subspan(64, 32), {}),
              0.5 * weighted_error(group, std::vector<float>(group.size()), {}))
        << dtype_info(row.dtype).name;
  }
}

TEST(QuantizeWeightTest, ImportancesOfAnySizeKeepTheValues) {
  const auto values = bell_values(256);
  for (const PeerError& row : kPeerErrors) {
    for (const float importance : {0x1p-140f, 0x1p-60f, 0x1p127f}) {
      const std::vector<float> alike(values.size(), importance);
      const auto result = weight_round_trip(row.dtype, values, alike);
      EXPECT_LT(weighted_error(values, result, {}),
                0.5 * weighted_error(values, std::vector<float>(values.size()), {}))
          << dtype_info(row.dtype).name << " " << importance;
    }
  }
}

// The offset that fits best may lie beyond the float16 that stores it.
TEST(QuantizeWeightTest, TheLargestValuesStayFinite) {
  std::minstd_rand engine(1);
  std::vector<float> values(256 * 40);
  for (float& value : values)
    value = -65504.0f + static_cast<float>(engine() % 60000);
  for (const PeerError& row : kPeerErrors) {
    for (const float result : weight_round_trip(row.dtype, values, {}))
      ASSERT_TRUE(std::isfinite(result)) << dtype_info(row.dtype).name;
  }
}

TEST(QuantizeWeightTest, BlocksOfOneValueAreExactOrNearlySo) {
  for (const PeerError& row : kPeerErrors) {
    for (const float value : {-0.75f, 0.75f, 1e-2f, 60000.0f}) {
      const std::vector<float> values(256, value);
      for (const float result : weight_round_trip(row.dtype, values, {}))
        ASSERT_NEAR(result, value, std::abs(value) * 1e-2f) << dtype_info(row.dtype).name;
    }
  }
}

// What a format can hold without error must come back: a model that was in it loses nothing.
TEST(QuantizeWeightTest, ValuesOnAFormatsOwnGridStay) {
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1}) {
    const auto grid = round_trip(dtype, bell_values(32 * 64));
    const auto again = weight_round_trip(dtype, grid, {});
    EXPECT_LT(weighted_error(grid, again, {}),
              1e-4 * weighted_error(grid, std::vector<float>(grid.size()), {}))
        << dtype_info(dtype).name;
  }
}

TEST(QuantizeIntegerTest, RoundAndSaturate) {
  const std::vector<float> values = {-2.5f, 0.4f, 7.0f, 1e20f, -1e20f};
  std::vector<std::byte> data(row_bytes(DType::kI32, values.size()));
  quantize_row(DType::kI32, values, data);
  std::int32_t stored[5];
  std::memcpy(stored, data.data(), sizeof(stored));
  EXPECT_EQ(stored[0], -3);
  EXPECT_EQ(stored[1], 0);
  EXPECT_EQ(stored[2], 7);
  EXPECT_GT(stored[3], 2'000'000'000);
  EXPECT_EQ(stored[4], std::numeric_limits<std::int32_t>::min());
}

TEST(QuantizeDeathTest, RefusesFormatsThatAreOnlyRead) {
  const std::vector<float> values(256, 1.0f);
  std::vector<std::byte> data(row_bytes(DType::kIQ2_S, values.size()));
  EXPECT_DEATH(quantize_row(DType::kIQ2_S, values, data), "can_quantize");
}

TEST(DequantizeTest, AnMxfp4ExponentOf255IsNoNumber) {
  std::vector<std::byte> data(row_bytes(DType::kMXFP4, 32), std::byte{0x11});
  data[0] = std::byte{255};
  std::vector<float> values(32);
  dequantize_row(DType::kMXFP4, data, values);
  EXPECT_TRUE(std::ranges::all_of(values, [](float x) { return std::isnan(x); }));
}

TEST(QuantBlocksTest, KScalesUnpackToWhatWasPacked) {
  std::uint8_t scales[12] = {};
  for (std::size_t g = 0; g < 8; ++g) {
    pack_k_scale_min(scales, g,
                     {static_cast<std::uint8_t>(63 - 7 * g), static_cast<std::uint8_t>(9 * g)});
  }
  for (std::size_t g = 0; g < 8; ++g) {
    EXPECT_EQ(unpack_k_scale_min(scales, g).scale, 63 - 7 * g);
    EXPECT_EQ(unpack_k_scale_min(scales, g).min, 9 * g);
  }
}

TEST(QuantBlocksTest, Q3KScalesUnpackToWhatWasPacked) {
  std::uint8_t scales[12] = {};
  for (std::size_t g = 0; g < 16; ++g) {
    pack_q3_k_scale(scales, g, static_cast<int>(g) * 4 - 32 + static_cast<int>(g % 4));
  }
  for (std::size_t g = 0; g < 16; ++g) {
    EXPECT_EQ(unpack_q3_k_scale(scales, g), static_cast<int>(g) * 4 - 32 + static_cast<int>(g % 4));
  }
}

}  // namespace
}  // namespace hearth
