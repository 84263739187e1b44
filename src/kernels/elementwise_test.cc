#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/kernel_table.h"
#include "kernels/kernel_test_util.h"
#include "tensor/float16.h"

namespace hearth {
namespace {

// The widest register has 16 lanes: lengths 0 .. 2 * 16 + 1 meet every tail.
constexpr std::size_t kMaxLen = 33;
constexpr std::size_t kMaxOffset = 16;

const KernelTable& table_of(const std::string& set) {
  return *choose_kernels(set)->table;
}

// Runs `kernel(table, input, len, out)` at every length and misalignment with every set and
// compares with the plain loops; bytes beyond the output must stay.
template <typename T, typename Kernel>
void expect_twins(Kernel kernel) {
  const Floats input = random_floats(2 * kMaxLen + kMaxOffset, 1, 3.0f);
  for (const std::string& set : supported_sets()) {
    for (std::size_t len = 0; len <= kMaxLen; ++len) {
      for (std::size_t offset = 0; offset < kMaxOffset; ++offset) {
        std::vector<T> expected(kMaxLen + kMaxOffset + 1, T{77});
        std::vector<T> actual = expected;
        kernel(reference_kernels(), input.data() + offset, len, expected.data() + offset);
        kernel(table_of(set), input.data() + offset, len, actual.data() + offset);
        ASSERT_EQ(std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(T)), 0)
            << set << " len " << len << " offset " << offset;
      }
    }
  }
}

TEST(ElementwiseTest, RmsNormHasTheBitsOfThePlainLoop) {
  const Floats gain = random_floats(kMaxLen, 2);
  expect_twins<float>(
      [&](const KernelTable& table, const float* input, std::size_t len, float* out) {
        if (len > 0) table.rms_norm(input, gain.data(), 1e-5f, len, out);
      });
}

TEST(ElementwiseTest, LayerNormHasTheBitsOfThePlainLoop) {
  const Floats gain = random_floats(kMaxLen, 2);
  const Floats bias = random_floats(kMaxLen, 3);
  expect_twins<float>(
      [&](const KernelTable& table, const float* input, std::size_t len, float* out) {
        if (len > 0) table.layer_norm(input, {gain.data(), bias.data(), 1e-5f}, len, out);
      });
}

TEST(ElementwiseTest, LayerNormCentersAndScales) {
  for (const std::size_t len : {1U, 7U, 16U, 33U}) {
    Floats input = random_floats(len, 5, 3.0f);
    for (float& x : input)
      x += 100.0f;  // A mean that a one-pass variance would drown in.
    const Floats gain = random_floats(len, 6);
    const Floats bias = random_floats(len, 7);
    double mean = 0;
    double variance = 0;
    for (const float x : input)
      mean += x / static_cast<double>(len);
    for (const float x : input)
      variance += (x - mean) * (x - mean) / static_cast<double>(len);
    for (const std::string& set : supported_sets()) {
      Floats out(len);
      table_of(set).layer_norm(input.data(), {gain.data(), bias.data(), 1e-5f}, len, out.data());
      for (std::size_t i = 0; i < len; ++i) {
        EXPECT_NEAR(out[i], (input[i] - mean) / std::sqrt(variance + 1e-5) * gain[i] + bias[i],
                    len == 1 ? 1e-2 : 1e-4)
            << set << " len " << len;
      }
    }
  }
}

TEST(ElementwiseTest, ScalesAndCapsHaveTheBitsOfThePlainLoop) {
  expect_twins<float>([](const KernelTable& table, const float* input, std::size_t len,
                         float* out) { table.scale(input, 1.7f, len, out); });
  expect_twins<float>([](const KernelTable& table, const float* input, std::size_t len,
                         float* out) { table.add_scaled(input, -0.3f, len, out); });
  expect_twins<float>([](const KernelTable& table, const float* input, std::size_t len,
                         float* out) { table.softcap(input, 2.5f, len, out); });
}

TEST(ElementwiseTest, ACapBendsLargeValuesAndLeavesSmallOnes) {
  const Floats input = {0.0f, 0.01f, -3.0f, 30.0f, 1e30f, -1e30f};
  for (const std::string& set : supported_sets()) {
    Floats out(input.size());
    table_of(set).softcap(input.data(), 30.0f, input.size(), out.data());
    for (std::size_t i = 0; i < input.size(); ++i)
      EXPECT_NEAR(out[i], 30.0 * std::tanh(double{input[i]} / 30.0), 1e-5) << set;
  }
}

constexpr ActivationKind kActivations[] = {
    ActivationKind::kSilu, ActivationKind::kGelu,        ActivationKind::kGeluTanh,
    ActivationKind::kRelu, ActivationKind::kReluSquared, ActivationKind::kClampedSwish};

TEST(ElementwiseTest, ActivationsHaveTheBitsOfThePlainLoop) {
  for (ActivationKind kind : kActivations) {
    expect_twins<float>([kind](const KernelTable& table, const float* input, std::size_t len,
                               float* out) { table.activation(kind, input, len, out); });
  }
}

TEST(ElementwiseTest, AnActivationIsAGatedOneThatLetsEverythingPass) {
  const Floats input = random_floats(kMaxLen, 8, 3.0f);
  const Floats ones(kMaxLen, 1.0f);
  Floats plain(kMaxLen);
  Floats gated(kMaxLen);
  for (ActivationKind kind : kActivations) {
    if (kind == ActivationKind::kClampedSwish) continue;  // Changes what passes, too.
    reference_kernels().activation(kind, input.data(), kMaxLen, plain.data());
    reference_kernels().gated_activation(kind, input.data(), ones.data(), kMaxLen, gated.data());
    EXPECT_EQ(plain, gated);
  }
}

TEST(ElementwiseTest, GatedActivationsHaveTheBitsOfThePlainLoop) {
  for (ActivationKind kind : kActivations) {
    expect_twins<float>(
        [kind](const KernelTable& table, const float* input, std::size_t len, float* out) {
          table.gated_activation(kind, input, input + kMaxLen, len, out);
        });
  }
}

TEST(ElementwiseTest, HalvesHaveTheBitsOfThePlainLoop) {
  expect_twins<std::uint16_t>([](const KernelTable& table, const float* input, std::size_t len,
                                 std::uint16_t* out) { table.to_f16(input, len, out); });
}

TEST(ElementwiseTest, HalvesRoundToNearestEvenAndOverflowToInfinity) {
  const Floats input = {0.0f,     -0.0f,    1.0f,      1.00048828125f, 1.00146484375f, 65504.0f,
                        65519.9f, 65520.0f, -1e30f,    5.9604645e-8f,  2.9802322e-8f,  6.1e-5f,
                        1e-10f,   INFINITY, -INFINITY, 3.14159f};
  for (const std::string& set : supported_sets()) {
    std::vector<std::uint16_t> out(input.size());
    table_of(set).to_f16(input.data(), input.size(), out.data());
    for (std::size_t i = 0; i < input.size(); ++i)
      EXPECT_EQ(out[i], f32_to_f16(input[i])) << set;
  }
}

TEST(ElementwiseTest, ActivationsAreAccurateAndSaneAtTheEdges) {
  Floats gate;
  for (float x = -12.0f; x <= 12.0f; x += 0.0137f)
    gate.push_back(x);
  for (float x : {-200.0f, -88.5f, 88.5f, 200.0f, -1e30f, 1e30f})
    gate.push_back(x);
  const Floats ones(gate.size(), 1.0f);
  for (const std::string& set : supported_sets()) {
    Floats silu(gate.size());
    Floats gelu(gate.size());
    Floats gelu_tanh(gate.size());
    const KernelTable& table = table_of(set);
    table.gated_activation(ActivationKind::kSilu, gate.data(), ones.data(), gate.size(),
                           silu.data());
    table.gated_activation(ActivationKind::kGelu, gate.data(), ones.data(), gate.size(),
                           gelu.data());
    table.gated_activation(ActivationKind::kGeluTanh, gate.data(), ones.data(), gate.size(),
                           gelu_tanh.data());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double x = gate[i];
      const double budget = 1e-6 * std::max(1.0, std::fabs(x));
      EXPECT_NEAR(silu[i], x / (1.0 + std::exp(-x)), budget) << set << " " << x;
      EXPECT_NEAR(gelu[i], 0.5 * x * std::erfc(-x * std::sqrt(0.5)), budget) << set << " " << x;
      if (std::fabs(x) > 1000) continue;  // x^3 overflows in float; the limits are tested above.
      const double inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
      EXPECT_NEAR(gelu_tanh[i], 0.5 * x * (1.0 + std::tanh(inner)), budget) << set << " " << x;
    }
  }
}

TEST(ElementwiseTest, ReluSquaredIsExact) {
  const Floats input = {-3.0f, -0.0f, 0.0f, 0.5f, 3.0f, 1e10f, -1e30f};
  const Floats squares = {0.0f, 0.0f, 0.0f, 0.25f, 9.0f, 1e20f, 0.0f};
  for (const std::string& set : supported_sets()) {
    Floats out(input.size());
    table_of(set).activation(ActivationKind::kReluSquared, input.data(), input.size(), out.data());
    EXPECT_EQ(out, squares) << set;
  }
}

TEST(ElementwiseTest, TheClampedSwishLimitsBothOfItsInputs) {
  Floats gate = {-1e30f, 7.0f, 7.5f, 1e30f};
  for (float x = -12.0f; x <= 12.0f; x += 0.0137f)
    gate.push_back(x);
  Floats up = random_floats(gate.size(), 21, 12.0f);
  up[1] = 1e30f;
  up[2] = -1e30f;
  for (const std::string& set : supported_sets()) {
    Floats out(gate.size());
    table_of(set).gated_activation(ActivationKind::kClampedSwish, gate.data(), up.data(),
                                   gate.size(), out.data());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double g = std::min(double{gate[i]}, 7.0);
      const double u = std::clamp(double{up[i]}, -7.0, 7.0);
      EXPECT_NEAR(out[i], g / (1.0 + std::exp(-1.702 * g)) * (u + 1.0), 2e-5) << set << " " << g;
    }
  }
}

TEST(ElementwiseTest, ActivationsPassNanOn) {
  const Floats gate(16, std::numeric_limits<float>::quiet_NaN());
  for (const std::string& set : supported_sets()) {
    for (ActivationKind kind : kActivations) {
      Floats out(16);
      table_of(set).gated_activation(kind, gate.data(), gate.data(), 16, out.data());
      for (float value : out)
        EXPECT_TRUE(std::isnan(value)) << set;
    }
  }
}

TEST(ElementwiseTest, QuantizedActivationsHaveTheBitsOfThePlainLoop) {
  constexpr std::size_t kGroups = 6;
  Floats input = random_floats(kGroups * kGroupLen, 3, 10.0f);
  for (std::size_t k = 0; k < kGroupLen; ++k) {
    input[k] = 0.0f;                 // All zero.
    input[kGroupLen + k] *= 1e-38f;  // Subnormal: too small for a reciprocal.
  }
  input[2 * kGroupLen + 5] = std::numeric_limits<float>::quiet_NaN();
  input[3 * kGroupLen + 31] = -std::numeric_limits<float>::infinity();
  for (std::size_t k = 0; k < kGroupLen; ++k) {
    input[4 * kGroupLen + k] = static_cast<float>(k) - 15.5f;  // Ties.
  }
  std::vector<ActivationGroup> expected(kGroups * 2);
  std::memset(expected.data(), 0, expected.size() * sizeof(ActivationGroup));
  std::vector<ActivationGroup> actual = expected;
  reference_kernels().quantize_row(input.data(), kGroups, expected.data(), 2);
  for (const std::string& set : supported_sets()) {
    table_of(set).quantize_row(input.data(), kGroups, actual.data(), 2);
    EXPECT_EQ(
        std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(ActivationGroup)), 0)
        << set;
  }
  EXPECT_TRUE(std::isnan(expected[4].scale));
  EXPECT_TRUE(std::isnan(expected[6].scale));
}

TEST(RopeTest, RotatesPairsOfBothLayouts) {
  constexpr std::size_t kHeadDim = 8;
  constexpr std::size_t kRopeDim = 6;  // The last two components stay.
  const std::vector<std::int32_t> positions = {3, 1};
  Floats cos_sin(positions.size() * kRopeDim);
  for (std::size_t p = 0; p < positions.size(); ++p) {
    for (std::size_t i = 0; i < kRopeDim / 2; ++i) {
      const float angle = static_cast<float>(positions[p]) / static_cast<float>(i + 1);
      cos_sin[p * kRopeDim + 2 * i] = std::cos(angle);
      cos_sin[p * kRopeDim + 2 * i + 1] = std::sin(angle);
    }
  }
  const auto device = make_device("auto");
  for (RopeLayout layout : {RopeLayout::kInterleaved, RopeLayout::kHalves}) {
    const Floats input = random_floats(2 * 2 * kHeadDim, 4);
    Floats heads = input;
    device->rope(view(heads, 2), kHeadDim, {layout, kRopeDim, cos_sin.data()});
    for (std::size_t head = 0; head < 4; ++head) {
      const float* in = input.data() + head * kHeadDim;
      const float* out = heads.data() + head * kHeadDim;
      for (std::size_t i = 0; i < kRopeDim / 2; ++i) {
        const std::size_t a = layout == RopeLayout::kInterleaved ? 2 * i : i;
        const std::size_t b = layout == RopeLayout::kInterleaved ? 2 * i + 1 : i + kRopeDim / 2;
        const double angle = static_cast<double>(positions[head / 2]) / static_cast<double>(i + 1);
        EXPECT_NEAR(out[a], in[a] * std::cos(angle) - in[b] * std::sin(angle), 1e-6);
        EXPECT_NEAR(out[b], in[a] * std::sin(angle) + in[b] * std::cos(angle), 1e-6);
      }
      EXPECT_EQ(out[6], in[6]);
      EXPECT_EQ(out[7], in[7]);
    }
  }
}

TEST(KernelSetsTest, TheReferenceIsLastAndAlwaysSupported) {
  ASSERT_FALSE(kernel_sets().empty());
  EXPECT_EQ(kernel_sets().back().name, "reference");
  EXPECT_TRUE(kernel_sets().back().supported);
  EXPECT_TRUE(choose_kernels("auto").has_value());
  EXPECT_EQ(choose_kernels("auto")->name, best_kernel_set());
}

TEST(KernelSetsTest, AnUnknownNameIsRefusedWithTheNamesThatWork) {
  const auto device = make_cpu_device({.num_threads = 1, .kernels = "avx9"});
  ASSERT_FALSE(device.has_value());
  EXPECT_EQ(device.error().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(device.error().message().find("avx9"), std::string::npos);
  EXPECT_NE(device.error().message().find("reference"), std::string::npos);
}

}  // namespace
}  // namespace hearth
