#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernel_test_util.h"
#include "kernels/weight_bytes.h"
#include "tensor/quantize.h"
#include "tests/support/random_blocks.h"

namespace hearth {
namespace {

struct TestWeight {
  std::vector<std::byte> data;
  TensorView tensor;
  Floats exact;  // [out, in], dequantized.
};

TestWeight make_weight(DType dtype, std::size_t out_features, std::size_t in_features,
                       std::uint32_t seed) {
  TestWeight weight;
  const std::size_t bytes = row_bytes(dtype, in_features);
  weight.data = test::random_blocks(dtype, out_features * in_features, seed);
  weight.tensor = {.name = "test",
                   .dtype = dtype,
                   .shape = {.dims = {out_features, in_features, 1, 1}, .rank = 2},
                   .data = weight.data};
  weight.exact.resize(out_features * in_features);
  for (std::size_t row = 0; row < out_features; ++row) {
    dequantize_row(dtype, std::span(weight.data).subspan(row * bytes, bytes),
                   std::span(weight.exact).subspan(row * in_features, in_features));
  }
  return weight;
}

Floats multiply(Device& device, const TestWeight& weight, const Floats& input, std::size_t rows) {
  auto prepared = device.prepare_weight(weight.tensor);
  EXPECT_TRUE(prepared.has_value());
  Floats out(rows * (*prepared)->out_features());
  const LinearOutput output = {.weight = prepared->get(), .out = view(out, rows)};
  device.linear(const_view(input, rows), {&output, 1});
  return out;
}

std::vector<DType> matrix_dtypes() {
  std::vector<DType> dtypes;
  for (const DTypeInfo& info : all_dtypes()) {
    if (info.dtype != DType::kI32) dtypes.push_back(info.dtype);
  }
  return dtypes;
}

class LinearTest : public ::testing::TestWithParam<DType> {};

// ---- Products
// ------------------------------------------------------------------------------------

// Quantizing activations to 8 bits per 32 values is the only approximation: each input is off by at
// most half a step, and steps are 1/127 of the group's largest input.
TEST_P(LinearTest, StaysWithinTheQuantizationErrorOfTheExactProduct) {
  const bool is_float =
      GetParam() == DType::kF32 || GetParam() == DType::kF16 || GetParam() == DType::kBF16;
  constexpr std::size_t kIn = 512;
  constexpr std::size_t kOut = 50;
  constexpr std::size_t kRows = 3;
  const TestWeight weight = make_weight(GetParam(), kOut, kIn, 1);
  const Floats input = random_floats(kRows * kIn, 2);
  for (const std::string& set : supported_sets()) {
    const auto device = make_device(set);
    const Floats out = multiply(*device, weight, input, kRows);
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t o = 0; o < kOut; ++o) {
        double exact = 0;
        double magnitude = 0;
        double budget = 0;
        for (std::size_t k = 0; k < kIn; k += 32) {
          double largest = 0;
          double weights = 0;
          for (std::size_t i = k; i < k + 32; ++i) {
            const double x = input[r * kIn + i];
            const double w = weight.exact[o * kIn + i];
            exact += x * w;
            magnitude += std::fabs(x * w);
            largest = std::max(largest, std::fabs(x));
            weights += std::fabs(w);
          }
          budget += is_float ? 0.0 : weights * largest / 127.0 * 0.5001;
        }
        EXPECT_LE(std::fabs(out[r * kOut + o] - exact), budget + 2e-6 * magnitude)
            << set << " row " << r << " column " << o;
      }
    }
  }
}

TEST_P(LinearTest, AllKernelSetsGiveTheSameBits) {
  const std::size_t block = dtype_info(GetParam()).block_len;
  for (std::size_t rows : {1U, 2U, 3U, 5U, 8U, 33U}) {
    for (std::size_t out_features : {1U, 15U, 16U, 33U}) {
      // Plain formats have rows of any length.
      const std::size_t in_features = block == 1 ? 64 + rows : 512;
      const TestWeight weight = make_weight(GetParam(), out_features, in_features, 3);
      const Floats input = random_floats(rows * in_features, 4);
      const Floats expected = multiply(*make_device("reference"), weight, input, rows);
      for (const std::string& set : supported_sets()) {
        EXPECT_TRUE(same_bits(multiply(*make_device(set), weight, input, rows), expected))
            << set << " rows " << rows << " out " << out_features;
      }
    }
  }
}

TEST_P(LinearTest, ARowDoesNotDependOnItsCompany) {
  constexpr std::size_t kIn = 256;
  constexpr std::size_t kOut = 40;
  constexpr std::size_t kRows = 70;
  const TestWeight weight = make_weight(GetParam(), kOut, kIn, 5);
  const Floats input = random_floats(kRows * kIn, 6);
  for (const std::string& set : supported_sets()) {
    const auto device = make_device(set);
    const Floats alone = multiply(*device, weight, {input.begin(), input.begin() + kIn}, 1);
    for (std::size_t rows : {2U, 3U, 4U, 5U, 6U, 7U, 8U, 16U, 17U, 32U, 33U, 70U}) {
      // The row is the last of the batch.
      Floats batch(input.end() - static_cast<std::ptrdiff_t>((rows - 1) * kIn), input.end());
      batch.insert(batch.end(), input.begin(), input.begin() + kIn);
      const Floats out = multiply(*device, weight, batch, rows);
      EXPECT_TRUE(same_bits({out.end() - kOut, out.end()}, alone)) << set << " rows " << rows;
    }
  }
}

TEST_P(LinearTest, TheNumberOfThreadsChangesNothing) {
  constexpr std::size_t kIn = 512;
  const TestWeight weight = make_weight(GetParam(), 300, kIn, 7);
  for (std::size_t rows : {1U, 7U, 100U}) {
    const Floats input = random_floats(rows * kIn, 8);
    const Floats expected = multiply(*make_device("auto", 1), weight, input, rows);
    for (std::size_t threads : {2U, 3U}) {
      EXPECT_TRUE(same_bits(multiply(*make_device("auto", threads), weight, input, rows), expected))
          << threads << " threads, rows " << rows;
    }
  }
}

TEST_P(LinearTest, ANonFiniteInputMakesItsRowNonFiniteAndNoOther) {
  constexpr std::size_t kIn = 256;
  const TestWeight weight = make_weight(GetParam(), 20, kIn, 9);
  for (const std::string& set : supported_sets()) {
    for (float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      Floats input = random_floats(2 * kIn, 10);
      input[kIn + 77] = bad;
      const Floats out = multiply(*make_device(set), weight, input, 2);
      for (std::size_t o = 0; o < 20; ++o) {
        EXPECT_TRUE(std::isfinite(out[o])) << set;
        EXPECT_FALSE(std::isfinite(out[20 + o])) << set;
      }
    }
  }
}

TEST_P(LinearTest, EmbedGivesTheExactRows) {
  constexpr std::size_t kIn = 256;
  const TestWeight weight = make_weight(GetParam(), 9, kIn, 11);
  const auto device = make_device("auto");
  const auto table = device->prepare_table(weight.tensor);
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ((*table)->extra_bytes(), 0U);
  const std::vector<std::int32_t> ids = {8, 0, 3, 3};
  Floats out(ids.size() * kIn);
  device->embed(**table, ids, view(out, ids.size()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto first = weight.exact.begin() + ids[i] * static_cast<std::ptrdiff_t>(kIn);
    EXPECT_TRUE(std::equal(first, first + kIn, out.begin() + static_cast<std::ptrdiff_t>(i * kIn)));
  }
}

// ---- One call, several outputs
// -------------------------------------------------------------------

TEST(LinearCallTest, OutputsOfOneCallEqualCallsOfTheirOwn) {
  constexpr std::size_t kIn = 256;
  constexpr std::size_t kRows = 5;
  const TestWeight weights[] = {make_weight(DType::kQ4_1, 48, kIn, 1),
                                make_weight(DType::kF16, 17, kIn, 2),
                                make_weight(DType::kQ6_K, 5, kIn, 3)};
  const Floats input = random_floats(kRows * kIn, 4);
  const auto device = make_device("auto", 2);
  std::vector<std::unique_ptr<WeightMatrix>> prepared;
  std::vector<Floats> outs;
  std::vector<LinearOutput> outputs;
  for (const TestWeight& weight : weights) {
    prepared.push_back(std::move(*device->prepare_weight(weight.tensor)));
    outs.emplace_back(kRows * prepared.back()->out_features());
    outputs.push_back({.weight = prepared.back().get(), .out = view(outs.back(), kRows)});
  }
  device->linear(const_view(input, kRows), outputs);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(same_bits(outs[i], multiply(*device, weights[i], input, kRows))) << i;
  }
}

TEST(LinearCallTest, BiasIsAddedThenWhatTheOutputHeld) {
  constexpr std::size_t kIn = 64;
  constexpr std::size_t kOut = 21;
  constexpr std::size_t kRows = 3;
  const TestWeight weight = make_weight(DType::kQ8_0, kOut, kIn, 1);
  const Floats input = random_floats(kRows * kIn, 2);
  const Floats bias = random_floats(kOut, 3);
  const Floats residual = random_floats(kRows * kOut, 4);
  const auto device = make_device("auto");
  const Floats product = multiply(*device, weight, input, kRows);
  const auto prepared = std::move(*device->prepare_weight(weight.tensor));
  Floats out = residual;
  const LinearOutput output = {
      .weight = prepared.get(), .bias = bias.data(), .out = view(out, kRows), .accumulate = true};
  device->linear(const_view(input, kRows), {&output, 1});
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i], residual[i] + (product[i] + bias[i % kOut])) << i;
  }
}

TEST(LinearCallTest, StridesAreHonouredAndNothingBesideTheOutputIsTouched) {
  constexpr std::size_t kIn = 64;
  constexpr std::size_t kOut = 21;
  constexpr std::size_t kRows = 40;
  for (DType dtype : {DType::kQ4_0, DType::kF32}) {
    const TestWeight weight = make_weight(dtype, kOut, kIn, 1);
    const Floats dense = random_floats(kRows * kIn, 2);
    Floats strided(kRows * (kIn + 3), 1e9f);
    for (std::size_t r = 0; r < kRows; ++r) {
      std::copy_n(dense.begin() + static_cast<std::ptrdiff_t>(r * kIn), kIn,
                  strided.begin() + static_cast<std::ptrdiff_t>(r * (kIn + 3)));
    }
    const auto device = make_device("auto");
    const Floats expected = multiply(*device, weight, dense, kRows);
    const auto prepared = std::move(*device->prepare_weight(weight.tensor));
    Floats out(kRows * (kOut + 2), 7.0f);
    const LinearOutput output = {.weight = prepared.get(),
                                 .out = {out.data(), kRows, kOut, kOut + 2}};
    device->linear({strided.data(), kRows, kIn, kIn + 3}, {&output, 1});
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t c = 0; c < kOut + 2; ++c) {
        EXPECT_EQ(out[r * (kOut + 2) + c], c < kOut ? expected[r * kOut + c] : 7.0f);
      }
    }
  }
}

TEST(PrepareWeightTest, RefusesWhatIsNotAMatrixOrHasNoKernel) {
  const auto device = make_device("auto");
  TestWeight weight = make_weight(DType::kF32, 4, 8, 1);
  weight.tensor.shape.rank = 3;
  const auto cube = device->prepare_weight(weight.tensor);
  ASSERT_FALSE(cube.has_value());
  EXPECT_EQ(cube.error().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(cube.error().message().find("'test'"), std::string::npos);
  weight.tensor.shape.rank = 2;
  weight.tensor.dtype = DType::kI32;
  const auto integers = device->prepare_weight(weight.tensor);
  ASSERT_FALSE(integers.has_value());
  EXPECT_EQ(integers.error().code(), StatusCode::kUnimplemented);
}

TEST_P(LinearTest, PackedBytesAreThoseOfThePreparedWeight) {
  const TestWeight weight = make_weight(GetParam(), 35, 768, 14);
  const auto prepared = std::move(*make_device("auto")->prepare_weight(weight.tensor));
  const std::size_t own = prepared->extra_bytes();
  EXPECT_EQ(packed_bytes({&weight.tensor, 1}), own == 0 ? weight.data.size() : own);
  TensorView stack = weight.tensor;
  stack.shape = {.dims = {5, 7, 768, 1}, .rank = 3};
  const TestWeight one = make_weight(GetParam(), 7, 768, 15);
  EXPECT_EQ(packed_bytes({&stack, 1}), 5 * packed_bytes({&one.tensor, 1}));
}

TEST_P(LinearTest, AScaleThatIsNotFiniteIsRefusedWithTheTensorsName) {
  const DType dtype = GetParam();
  for (std::size_t scale = 0; scale < test::num_scales(dtype); ++scale) {
    for (const bool infinite : {false, true}) {
      TestWeight weight = make_weight(dtype, 19, 512, 13);
      const std::size_t block_bytes = dtype_info(dtype).block_bytes;
      test::spoil_scale(dtype, std::span(weight.data).last(block_bytes), scale, infinite);
      const auto device = make_device("auto", 2);
      const auto prepared = device->prepare_weight(weight.tensor);
      ASSERT_FALSE(prepared.has_value());
      EXPECT_EQ(prepared.error().code(), StatusCode::kDataLoss);
      EXPECT_NE(prepared.error().message().find("'test'"), std::string::npos);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, LinearTest, ::testing::ValuesIn(matrix_dtypes()),
                         [](const auto& param) {
                           return std::string(dtype_info(param.param).name);
                         });

// Matrices share chunks of memory; each must stay whole when others go, in any order.
TEST(WeightMemoryTest, AMatrixOutlivesItsNeighbours) {
  constexpr std::size_t kIn = 256;
  const auto device = make_device("auto");
  const TestWeight kept = make_weight(DType::kQ4_0, 48, kIn, 1);
  const TestWeight other = make_weight(DType::kQ8_0, 70, kIn, 2);
  const Floats input = random_floats(kIn, 3);
  const Floats expected = multiply(*device, kept, input, 1);
  auto before = std::move(*device->prepare_weight(other.tensor));
  const auto weight = std::move(*device->prepare_weight(kept.tensor));
  auto after = std::move(*device->prepare_weight(other.tensor));
  before.reset();
  after.reset();
  const auto again = std::move(*device->prepare_weight(other.tensor));
  Floats out(48);
  const LinearOutput output = {.weight = weight.get(), .out = view(out, 1)};
  device->linear(const_view(input, 1), {&output, 1});
  EXPECT_TRUE(same_bits(out, expected));
  EXPECT_EQ(weight->extra_bytes(), 3 * kIn / 32 * (16 * 18));
}

}  // namespace
}  // namespace hearth
