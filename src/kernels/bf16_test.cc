// Products rounded to bfloat16: all kernel sets against the reference, and that against float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/kernel_test_util.h"
#include "tensor/float16.h"
#include "tests/support/allocation_counter.h"

namespace hearth {
namespace {

std::unique_ptr<Device> rounding_device(const std::string& kernels, std::size_t num_threads = 1) {
  auto device = make_cpu_device(
      {.num_threads = num_threads, .kernels = kernels, .float_products = FloatProducts::kBf16});
  EXPECT_TRUE(device.has_value());
  return *std::move(device);
}

struct Matrix {
  std::size_t out_features;
  std::size_t in_features;
  Floats values;  // [out_features, in_features]

  Matrix(std::size_t out, std::size_t in, std::uint32_t seed)
      : out_features(out), in_features(in), values(random_floats(out * in, seed)) {}

  TensorView tensor() const {
    return {.name = "w",
            .dtype = DType::kF32,
            .shape = {.dims = {out_features, in_features, 1, 1}, .rank = 2},
            .data = std::as_bytes(std::span(values))};
  }
};

Floats multiply(Device& device, const Matrix& matrix, const Floats& input, std::size_t rows) {
  const auto weight = device.prepare_weight(matrix.tensor()).value();
  Floats out(rows * matrix.out_features);
  const LinearOutput output = {.weight = weight.get(), .out = view(out, rows)};
  device.linear(const_view(input, rows), {&output, 1});
  return out;
}

TEST(Bf16ProductTest, AreThoseOfTheRoundedOperands) {
  constexpr std::size_t kIn = 301;
  constexpr std::size_t kOut = 37;
  constexpr std::size_t kRows = 5;
  const Matrix matrix(kOut, kIn, 1);
  const Floats input = random_floats(kRows * kIn, 2);
  const auto rounded = [](float x) { return double{bf16_to_f32(f32_to_bf16(x))}; };
  for (const std::string& set : supported_sets()) {
    const Floats out = multiply(*rounding_device(set), matrix, input, kRows);
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t o = 0; o < kOut; ++o) {
        double exact = 0;
        double magnitude = 0;
        for (std::size_t k = 0; k < kIn; ++k) {
          const double product = rounded(input[r * kIn + k]) * rounded(matrix.values[o * kIn + k]);
          exact += product;
          magnitude += std::fabs(product);
        }
        EXPECT_NEAR(out[r * kOut + o], exact, 1e-5 * magnitude) << set;
      }
    }
  }
}

TEST(Bf16ProductTest, AllKernelSetsGiveTheSameBits) {
  for (const std::size_t rows : {1U, 2U, 5U, 16U, 17U, 31U, 32U, 33U, 70U}) {
    for (const std::size_t out_features : {1U, 16U, 33U}) {
      const std::size_t in_features = 63 + rows;  // Odd and even.
      const Matrix matrix(out_features, in_features, 3);
      const Floats input = random_floats(rows * in_features, 4);
      const Floats expected = multiply(*rounding_device("reference"), matrix, input, rows);
      for (const std::string& set : supported_sets()) {
        EXPECT_TRUE(same_bits(multiply(*rounding_device(set), matrix, input, rows), expected))
            << set << " rows " << rows << " out " << out_features;
      }
    }
  }
}

TEST(Bf16ProductTest, CompanyAndThreadsChangeNoBit) {
  constexpr std::size_t kIn = 96;
  const Matrix matrix(300, kIn, 5);
  const Floats input = random_floats(70 * kIn, 6);
  for (const std::string& set : supported_sets()) {
    const Floats all = multiply(*rounding_device(set, 3), matrix, input, 70);
    for (const std::size_t row : {0U, 15U, 16U, 40U, 69U}) {
      const auto begin = input.begin() + static_cast<std::ptrdiff_t>(row * kIn);
      const Floats alone = multiply(*rounding_device(set), matrix, {begin, begin + kIn}, 1);
      const auto in_company = all.begin() + static_cast<std::ptrdiff_t>(row * 300);
      EXPECT_TRUE(same_bits(alone, {in_company, in_company + 300})) << set << " row " << row;
    }
  }
}

// Every rounding there is, and what has no value to round.
TEST(Bf16ProductTest, AllKernelSetsRoundAlike) {
  Floats special = {0.0f, -0.0f, 1e-40f, -1e-40f, 1.17549435e-38f, 3.4e38f, -3.4e38f, 0x1.01p0f};
  for (std::uint32_t i = 0; i < 0x20000; i += 0x7f) {
    float value;
    const std::uint32_t bits = 0x3f800000U + i;
    std::memcpy(&value, &bits, sizeof(value));
    special.push_back(value);
  }
  special.push_back(std::numeric_limits<float>::infinity());
  special.push_back(std::numeric_limits<float>::quiet_NaN());
  // A row of its own for each, times one.
  const Matrix one = [] {
    Matrix matrix(1, 1, 1);
    matrix.values[0] = 1.0f;
    return matrix;
  }();
  const Floats expected = multiply(*rounding_device("reference"), one, special, special.size());
  for (std::size_t i = 0; i < special.size(); ++i) {
    const float flushed = std::fabs(special[i]) < 1.1754e-38f ? 0.0f : special[i];
    const float rounded = bf16_to_f32(f32_to_bf16(flushed));
    EXPECT_TRUE(expected[i] == rounded || std::isnan(rounded)) << special[i];
  }
  EXPECT_TRUE(std::isnan(expected.back()));
  for (const std::string& set : supported_sets()) {
    const Floats out = multiply(*rounding_device(set), one, special, special.size());
    EXPECT_TRUE(same_bits({out.begin(), out.end() - 1}, {expected.begin(), expected.end() - 1}))
        << set;
    EXPECT_TRUE(std::isnan(out.back())) << set;
  }
}

TEST(Bf16ProductTest, QuantizedWeightsAndTablesStayAsTheyAre) {
  const auto device = rounding_device("auto");
  EXPECT_NE(device->description().find("bf16"), std::string_view::npos);
  const Matrix matrix(20, 64, 7);
  EXPECT_EQ(device->prepare_table(matrix.tensor()).value()->extra_bytes(), 0U);
  EXPECT_EQ(device->prepare_weight(matrix.tensor()).value()->extra_bytes(), 32U * 64 * 2);

  const std::vector<std::byte> blocks(16 * row_bytes(DType::kQ8_0, 64), std::byte{0x11});
  const TensorView quantized = {.name = "q",
                                .dtype = DType::kQ8_0,
                                .shape = {.dims = {16, 64, 1, 1}, .rank = 2},
                                .data = blocks};
  const Floats input = random_floats(64, 8);
  const auto product = [&](Device& on) {
    const auto weight = on.prepare_weight(quantized).value();
    Floats out(16);
    const LinearOutput output = {.weight = weight.get(), .out = view(out, 1)};
    on.linear(const_view(input, 1), {&output, 1});
    return out;
  };
  EXPECT_TRUE(same_bits(product(*device), product(*make_device("auto"))));
}

TEST(Bf16ProductTest, AllocateNothingOnceReserved) {
  constexpr std::size_t kRows = 40;
  const Matrix matrix(48, 64, 9);
  const auto device = rounding_device("auto", 2);
  const auto weight = device->prepare_weight(matrix.tensor()).value();
  device->reserve({.max_tokens = kRows, .max_features = 64, .max_head_dim = 32});
  const Floats input = random_floats(kRows * 64, 10);
  Floats out(kRows * 48);
  const LinearOutput output = {.weight = weight.get(), .out = view(out, kRows)};
  const std::size_t before = test::total_allocations();
  device->linear(const_view(input, kRows), {&output, 1});
  EXPECT_EQ(test::total_allocations(), before);
}

}  // namespace
}  // namespace hearth
