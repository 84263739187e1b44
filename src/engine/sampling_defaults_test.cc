#include "engine/sampling_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::GgufWriter;
using ::testing::HasSubstr;

TEST(SamplingDefaults, ComeFromTheModelsMetadata) {
  GgufWriter writer;
  writer.add("general.sampling.temp", 0.5f);
  writer.add("general.sampling.top_k", std::int32_t{20});
  writer.add("general.sampling.penalty_repeat", 1.25f);
  const auto bytes = writer.bytes();
  const auto params = read_sampling_defaults(ModelFile::parse(bytes).value());
  ASSERT_TRUE(params.has_value()) << params.error().to_string();
  EXPECT_EQ(params->temperature, 0.5f);
  EXPECT_EQ(params->top_k, 20u);
  EXPECT_EQ(params->repetition_penalty, 1.25f);
  EXPECT_EQ(params->top_p, SamplingParams().top_p);
  EXPECT_EQ(describe_sampling(*params), "temperature 0.5, repetition_penalty 1.25, top_k 20");
}

TEST(SamplingDefaults, AModelThatSaysNothingChangesNothing) {
  const auto bytes = GgufWriter().bytes();
  const auto params = read_sampling_defaults(ModelFile::parse(bytes).value());
  EXPECT_EQ(describe_sampling(*params), "");
}

TEST(SamplingDefaults, ValuesOutsideTheLimitsAreRefused) {
  const auto problem = [](const char* key, float value) {
    GgufWriter writer;
    writer.add(key, value);
    const auto bytes = writer.bytes();
    return read_sampling_defaults(ModelFile::parse(bytes).value()).error().to_string();
  };
  EXPECT_THAT(problem("general.sampling.temp", -1.0f), HasSubstr("data_loss: sampling defaults"));
  EXPECT_THAT(problem("general.sampling.top_p", 2.0f), HasSubstr("top_p"));
  EXPECT_THAT(problem("general.sampling.top_k", 1e9f), HasSubstr("general.sampling.top_k"));
}

}  // namespace
}  // namespace hearth
