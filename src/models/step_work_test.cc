#include "models/step_work.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_llama.h"

namespace hearth {
namespace {

// Of the tiny model: 2 layers, 64 wide, 128 in the middle, 4 heads of 16, 2 for keys and values.
constexpr std::uint64_t kLayerParameters = 2 * (64 * 64 * 2 + 32 * 64 * 2 + 128 * 64 * 3);
constexpr std::uint64_t kOutputParameters = test::kTinyVocabSize * 64;
constexpr std::uint64_t kKvBytesPerPosition = 2 * 2 * 32 * 2;
constexpr std::uint64_t kAttentionMacs = 2 * 2 * 64;  // Per row and position, both layers.

StepWorkCounter counter_of(const test::TinyLlamaOptions& options, std::size_t window = 0,
                           DType kv_dtype = DType::kF16) {
  const auto bytes = test::tiny_llama_bytes(options);
  const auto file = ModelFile::parse(bytes);
  auto config = read_model_config(*file);
  for (LayerConfig& layer : config->layers)
    layer.sliding_window = window;
  return {*file, *config, kv_dtype};
}

TEST(StepWork, OneDecodedTokenReadsEveryMatrixAndItsWholePast) {
  const StepWork work = counter_of({}).count({.first_position = 9});
  EXPECT_EQ(work.weight_bytes, 4 * (kLayerParameters + kOutputParameters));
  EXPECT_EQ(work.kv_bytes, 10 * kKvBytesPerPosition);
  EXPECT_EQ(work.quantized_macs, 0);
  EXPECT_EQ(work.float_macs, kLayerParameters + kOutputParameters + 10 * kAttentionMacs);
}

TEST(StepWork, AnUntiedModelCountsItsOutputMatrixAndNotTheEmbedding) {
  test::TinyLlamaOptions untied;
  untied.tied = false;
  const StepWork work = counter_of(untied).count({});
  EXPECT_EQ(work.weight_bytes, 4 * (kLayerParameters + kOutputParameters));
}

TEST(StepWork, SequencesShareTheWeightsButNotTheirPast) {
  const StepRows rows = {.num_sequences = 3, .first_position = 4, .num_logit_rows = 3};
  const StepWork work = counter_of({}).count(rows);
  EXPECT_EQ(work.weight_bytes, 4 * (kLayerParameters + kOutputParameters));
  EXPECT_EQ(work.kv_bytes, 3 * 5 * kKvBytesPerPosition);
  EXPECT_EQ(work.float_macs, 3 * (kLayerParameters + kOutputParameters + 5 * kAttentionMacs));
}

TEST(StepWork, APartOfAPromptNeedsNoOutputMatrixAndAttendsCausally) {
  const StepRows rows = {.first_position = 10, .rows_per_sequence = 3, .num_logit_rows = 0};
  const StepWork work = counter_of({}).count(rows);
  EXPECT_EQ(work.weight_bytes, 4 * kLayerParameters);
  EXPECT_EQ(work.kv_bytes, 13 * kKvBytesPerPosition);
  EXPECT_EQ(work.float_macs, 3 * kLayerParameters + (11 + 12 + 13) * kAttentionMacs);
}

TEST(StepWork, BlockFormatsCountApartFromAttention) {
  test::TinyLlamaOptions quantized;
  quantized.dtype = DType::kQ8_0;
  const StepWork work = counter_of(quantized).count({});
  EXPECT_EQ(work.weight_bytes, (kLayerParameters + kOutputParameters) / 32 * 34);
  EXPECT_EQ(work.quantized_macs, kLayerParameters + kOutputParameters);
  EXPECT_EQ(work.float_macs, kAttentionMacs);
}

TEST(StepWork, ASlidingWindowBoundsWhatIsReadAndMultiplied) {
  const StepWorkCounter counter = counter_of({}, 8);
  const StepRows rows = {.first_position = 6, .rows_per_sequence = 4, .num_logit_rows = 0};
  const StepWork work = counter.count(rows);
  EXPECT_EQ(work.kv_bytes, 10 * kKvBytesPerPosition);
  EXPECT_EQ(work.float_macs, 4 * kLayerParameters + (7 + 8 + 8 + 8) * kAttentionMacs);
  EXPECT_EQ(counter.count({.first_position = 100}).kv_bytes, 8 * kKvBytesPerPosition);
}

TEST(StepWork, AQuantizedCacheIsABytePerValueAndAScalePerGroup) {
  const StepWork work = counter_of({}, 0, DType::kQ8_0).count({.first_position = 9});
  EXPECT_EQ(work.kv_bytes, 10 * 2 * 2 * 2 * (16 + 2));  // 2 layers, keys and values, 2 heads
}

TEST(StepWork, StepsAddUp) {
  const StepWorkCounter counter = counter_of({});
  StepWork sum = counter.count({.first_position = 3});
  sum += counter.count({.first_position = 4});
  EXPECT_EQ(sum.kv_bytes, (4 + 5) * kKvBytesPerPosition);
  EXPECT_EQ(sum.bytes(), sum.weight_bytes + sum.kv_bytes);
  EXPECT_EQ(sum.macs(), sum.quantized_macs + sum.float_macs);
}

}  // namespace
}  // namespace hearth
