#include "cli/model_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/tiny_llama.h"

namespace hearth {
namespace {

using ::testing::HasSubstr;

// The tiny model on one thread, with what it borrows.
struct Loaded {
  std::vector<std::byte> bytes = test::tiny_llama_bytes();
  ModelFile file = *ModelFile::parse(bytes);
  std::unique_ptr<Device> device = *make_cpu_device({.num_threads = 1});
  std::unique_ptr<Model> model = *Model::load(file, *device);
  StepWorkCounter work{file, model->config(), DType::kF16};
};

ModelBenchOptions small_options() {
  return {.prompts = {20, 0, 8},
          .contexts = {3, 40},
          .batches = {0, 2},
          .decode_len = 5,
          .repeat = 2,
          .max_batched_tokens = 8};
}

TEST(ModelBench, ListsPromptsThenSingleStreamsThenBatches) {
  std::vector<std::vector<std::size_t>> found;
  for (const BenchCase& test : bench_cases(small_options())) {
    found.push_back(
        {test.kind == BenchKind::kDecode ? 1U : 0U, test.num_sequences, test.context, test.len});
  }
  const std::vector<std::vector<std::size_t>> expected = {
      {0, 1, 0, 20}, {0, 1, 0, 8}, {1, 1, 3, 5}, {1, 1, 40, 5}, {1, 2, 3, 5}};
  EXPECT_EQ(found, expected);
}

TEST(ModelBench, CountsTheWorkOfAllStepsAndTimesEveryRepetition) {
  Loaded loaded;
  auto bench = ModelBench::create(*loaded.model, loaded.work, small_options());
  ASSERT_TRUE(bench.has_value()) << bench.error().message();
  const std::vector<BenchResult> results = bench->run();
  ASSERT_EQ(results.size(), 5);
  for (const BenchResult& result : results) {
    ASSERT_EQ(result.seconds.size(), 2);
    EXPECT_GT(result.tokens_per_s(), 0.0);
  }
  // 20 tokens in steps of 8, 8 and 4, of which the last wants logits.
  StepWork prompt = loaded.work.count({.rows_per_sequence = 8, .num_logit_rows = 0});
  prompt += loaded.work.count({.first_position = 8, .rows_per_sequence = 8, .num_logit_rows = 0});
  prompt += loaded.work.count({.first_position = 16, .rows_per_sequence = 4});
  EXPECT_EQ(results[0].work.bytes(), prompt.bytes());
  EXPECT_EQ(results[0].work.macs(), prompt.macs());
  StepWork pair;
  for (std::size_t i = 0; i < 5; ++i) {
    pair += loaded.work.count({.num_sequences = 2, .first_position = 3 + i, .num_logit_rows = 2});
  }
  EXPECT_EQ(results[4].work.bytes(), pair.bytes());
  EXPECT_EQ(results[4].work.macs(), pair.macs());
}

TEST(ModelBench, RefusesWhatTheModelHasNoPositionsFor) {
  Loaded loaded;
  ModelBenchOptions options = small_options();
  options.contexts = {510};
  const auto bench = ModelBench::create(*loaded.model, loaded.work, options);
  ASSERT_FALSE(bench.has_value());
  EXPECT_EQ(bench.error().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(bench.error().message(), HasSubstr("510"));
  EXPECT_THAT(bench.error().message(), HasSubstr("512"));
}

TEST(BenchResult, ComparesTheMedianWithThePeaks) {
  BenchResult result;
  result.test = {.kind = BenchKind::kDecode, .num_sequences = 4, .len = 10};
  result.work = {.weight_bytes = 300, .kv_bytes = 100, .quantized_macs = 1000, .float_macs = 500};
  result.seconds = {9.0, 1.0, 2.0};
  EXPECT_EQ(result.tokens_per_s(), 20.0);
  EXPECT_EQ(result.bytes_per_s(), 200.0);
  EXPECT_EQ(result.macs_per_s(), 750.0);

  MachinePeaks peaks;
  peaks.read_bytes_per_s = 400.0;
  EXPECT_EQ(result.bandwidth_percent(peaks), 50.0);
  EXPECT_EQ(result.compute_percent(peaks), std::nullopt);
  peaks.arithmetic = {{.kernels = "a", .fp32 = 1000, .int8 = 2000, .int8_in_16 = 1500}};
  // 0.5 s for the quantized products and 0.5 s for the others, of two seconds.
  EXPECT_EQ(result.compute_percent(peaks), 50.0);
}

}  // namespace
}  // namespace hearth
