#include "engine/encoder_precision.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

#include "engine/served_model.h"
#include "kernels/kernels.h"
#include "models/hf_directory.h"
#include "tests/support/temp_directory.h"
#include "tests/support/tiny_llama.h"

namespace hearth::test {
namespace {

std::filesystem::path folder_of(std::string_view name) {
  return std::filesystem::path("tests/golden/encoders") / name;
}

PrecisionGap gap_of(std::string_view name, FloatProducts products, std::size_t max_text_len = 512) {
  const ModelFile file = open_hf_directory(folder_of(name)).value();
  const auto probe = PrecisionProbe::make(file, {.num_threads = 2}, max_text_len).value();
  const auto device =
      make_cpu_device({.num_threads = 1, .kernels = "reference", .float_products = products})
          .value();
  const auto encoder = load_encoder(file, *device, probe.limits()).value();
  return probe.compare(*encoder);
}

TEST(EncoderPrecision, TheProbeSeesWhatRoundingChanges) {
  const PrecisionGap none = gap_of("bert-mean", FloatProducts::kF32);
  EXPECT_GE(none.num_texts, 4u);
  EXPECT_NEAR(none.least_cosine, 1.0, 1e-12);
  EXPECT_TRUE(none.is_small());
  const PrecisionGap some = gap_of("bert-mean", FloatProducts::kBf16);
  EXPECT_LT(some.least_cosine, 1.0 - 1e-7);
  EXPECT_GT(some.least_cosine, 0.999);

  EXPECT_EQ(gap_of("bert-classifier", FloatProducts::kF32).largest_change, 0.0);
  const double change = gap_of("bert-classifier", FloatProducts::kBf16).largest_change;
  EXPECT_GT(change, 1e-5);
  EXPECT_LT(change, 0.2);
}

TEST(EncoderPrecision, TrialTextsAreAsLongAsTheLimitsAllow) {
  const ModelFile file = open_hf_directory(folder_of("bert-mean")).value();
  const auto longest = [&file](std::size_t max_text_len) {
    return PrecisionProbe::make(file, {.num_threads = 1}, max_text_len)
        .value()
        .limits()
        .max_batch_tokens;
  };
  EXPECT_EQ(longest(1), 1u);
  EXPECT_EQ(longest(8), 8u);
  EXPECT_EQ(longest(512), 16u);
  const PrecisionGap gap = gap_of("bert-mean", FloatProducts::kBf16, 1);
  EXPECT_LT(gap.least_cosine, 1.0 - 1e-7);
  EXPECT_GT(gap.least_cosine, 0.999);
}

TEST(EncoderPrecision, AGapIsSmallWithinBothLimits) {
  EXPECT_TRUE(PrecisionGap({.least_cosine = 0.99997, .largest_change = 0.01}).is_small());
  EXPECT_FALSE(PrecisionGap({.least_cosine = 0.9999}).is_small());
  EXPECT_FALSE(PrecisionGap({.largest_change = 0.03}).is_small());
  EXPECT_FALSE(PrecisionGap({.least_cosine = -1}).is_small());
}

TEST(EncoderPrecision, OnlyFloatLayersOnFastCpusAreTried) {
  const ModelFile floats = open_hf_directory(folder_of("bert-mean")).value();
  EXPECT_FALSE(may_round_products(floats, "reference"));
  EXPECT_EQ(may_round_products(floats, "auto"), multiplies_bf16_fast("auto"));
  const TempDirectory directory;
  const auto path = directory.path() / "tiny.gguf";
  write_tiny_llama(path, {.dtype = DType::kQ8_0});
  EXPECT_FALSE(may_round_products(ModelFile::open(path).value(), "auto"));
}

std::unique_ptr<ServedModel> serve(std::string_view name, EncoderPrecision precision,
                                   const std::string& kernels, Metrics& metrics) {
  ServedModelOptions options;
  options.path = folder_of(name);
  options.num_threads = 2;
  options.kernels = kernels;
  options.encoder_precision = precision;
  auto model = ServedModel::load(options, metrics);
  EXPECT_TRUE(model.has_value()) << model.error().to_string();
  return *std::move(model);
}

TEST(EncoderPrecision, WhatIsAskedForIsWhatIsServedAndShown) {
  Metrics metrics;
  const auto rounded = serve("bert-mean", EncoderPrecision::kBf16, "reference", metrics);
  EXPECT_EQ(rounded->encoder_precision(), EncoderPrecision::kBf16);
  EXPECT_NE(rounded->device_description().find("bf16)"), std::string::npos);
  const auto exact = serve("bert-mean", EncoderPrecision::kF32, "auto", metrics);
  EXPECT_EQ(exact->encoder_precision(), EncoderPrecision::kF32);
  EXPECT_EQ(exact->device_description().find("bf16)"), std::string::npos);
  EXPECT_EQ(serve("bert-mean", EncoderPrecision::kAuto, "reference", metrics)->encoder_precision(),
            EncoderPrecision::kF32);
}

TEST(EncoderPrecision, AutoServesWithinTheSmallestLimits) {
  Metrics metrics;
  for (const std::size_t most : {1uz, 8uz}) {
    ServedModelOptions options;
    options.path = folder_of("bert-mean");
    options.num_threads = 2;
    options.engine.max_model_len = most;
    options.engine.max_num_batched_tokens = most;
    const auto model = ServedModel::load(options, metrics);
    ASSERT_TRUE(model.has_value()) << model.error().to_string();
    EXPECT_EQ((*model)->embedder()->max_model_len(), most);
  }
}

TEST(EncoderPrecision, Bf16OfQuantizedLayersIsRefused) {
  Metrics metrics;
  ServedModelOptions options;
  options.path = folder_of("bert-mean");
  options.num_threads = 2;
  options.quantize = "q8_0";
  options.encoder_precision = EncoderPrecision::kBf16;
  const auto refused = ServedModel::load(options, metrics);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.error().message().find("use auto"), std::string::npos)
      << refused.error().to_string();
  options.encoder_precision = EncoderPrecision::kAuto;
  const auto served = ServedModel::load(options, metrics);
  ASSERT_TRUE(served.has_value()) << served.error().to_string();
  EXPECT_EQ((*served)->encoder_precision(), EncoderPrecision::kF32);
}

// Each of these models' gaps is on one side or the other, where the CPU is fast at it at all.
TEST(EncoderPrecision, AutoFollowsTheProbe) {
  Metrics metrics;
  for (const char* name : {"bert-mean", "bert-classifier"}) {
    const bool rounds =
        multiplies_bf16_fast("auto") && gap_of(name, FloatProducts::kBf16).is_small();
    EXPECT_EQ(serve(name, EncoderPrecision::kAuto, "auto", metrics)->encoder_precision(),
              rounds ? EncoderPrecision::kBf16 : EncoderPrecision::kF32)
        << name;
  }
}

}  // namespace
}  // namespace hearth::test
