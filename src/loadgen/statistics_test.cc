#include "loadgen/statistics.h"

#include <gtest/gtest.h>

#include "loadgen/run_result.h"

namespace hearth::loadgen {
namespace {

TEST(Percentile, InterpolatesBetweenTheClosestRanks) {
  // numpy.percentile([1, 2, 4, 8], [0, 25, 50, 95, 100])
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(percentile(values, 0), 1.0);
  EXPECT_DOUBLE_EQ(percentile(values, 25), 1.75);
  EXPECT_DOUBLE_EQ(percentile(values, 50), 3.0);
  EXPECT_DOUBLE_EQ(percentile(values, 95), 7.4);
  EXPECT_DOUBLE_EQ(percentile(values, 100), 8.0);
}

TEST(DistributionOf, SortsAndAverages) {
  const Distribution values = distribution_of({8, 1, 4, 2});
  EXPECT_EQ(values.count, 4u);
  EXPECT_DOUBLE_EQ(values.mean, 3.75);
  EXPECT_DOUBLE_EQ(values.min, 1.0);
  EXPECT_DOUBLE_EQ(values.max, 8.0);
  EXPECT_DOUBLE_EQ(values.p50, 3.0);
}

TEST(DistributionOf, OneValueIsEveryPercentileAndNoneIsZero) {
  const Distribution one = distribution_of({5});
  EXPECT_EQ(one.p50, 5.0);
  EXPECT_EQ(one.p99, 5.0);
  EXPECT_EQ(one.mean, 5.0);
  EXPECT_EQ(distribution_of({}).count, 0u);
  EXPECT_EQ(distribution_of({}).p99, 0.0);
}

RequestRecord success(double ttft_ms, std::vector<double> gaps_ms, std::uint64_t tokens) {
  RequestRecord record{.outcome = Outcome::kSuccess, .ttft_ms = ttft_ms};
  for (const double gap : gaps_ms)
    record.decode_ms += gap;
  record.e2e_ms = ttft_ms + record.decode_ms;
  record.gaps_ms = std::move(gaps_ms);
  record.prompt_tokens = 10;
  record.output_tokens = tokens;
  return record;
}

TEST(Summarize, CountsSuccessfulRequestsAndNamesTheErrorsOfTheOthers) {
  LevelResult level{.kind = LoadKind::kRate, .load = 2.5, .duration_s = 2.0, .client_cpu_s = 0.1};
  level.records = {success(10, {2, 4}, 3), success(20, {6}, 2)};
  level.records.push_back({.outcome = Outcome::kErrored, .error = "a", .ttft_ms = 9000});
  level.records.push_back({.outcome = Outcome::kIncomplete, .error = "b"});
  level.records.push_back({.outcome = Outcome::kErrored, .error = "a"});
  const LevelSummary summary = summarize(level);
  EXPECT_EQ(summary.successful, 2u);
  EXPECT_EQ(summary.errored, 2u);
  EXPECT_EQ(summary.incomplete, 1u);
  EXPECT_DOUBLE_EQ(summary.output_tokens_per_s, 2.5);
  EXPECT_DOUBLE_EQ(summary.total_tokens_per_s, 12.5);
  EXPECT_DOUBLE_EQ(summary.requests_per_s, 1.0);
  EXPECT_DOUBLE_EQ(summary.client_cpu_percent, 5.0);
  EXPECT_DOUBLE_EQ(summary.mean_output_tokens, 2.5);
  EXPECT_DOUBLE_EQ(summary.ttft_ms.max, 20.0);
  EXPECT_EQ(summary.itl_ms.count, 3u);
  EXPECT_DOUBLE_EQ(summary.itl_ms.mean, 4.0);
  EXPECT_DOUBLE_EQ(summary.tpot_ms.mean, 4.5);
  EXPECT_DOUBLE_EQ(summary.e2e_ms.min, 16.0);
  ASSERT_EQ(summary.errors.size(), 2u);
  EXPECT_EQ(summary.errors[0], (std::pair<std::string, std::size_t>("a", 2)));
  EXPECT_EQ(summary.errors[1], (std::pair<std::string, std::size_t>("b", 1)));
}

TEST(Summarize, ALevelWithoutSuccessIsAllZeros) {
  LevelResult level{.duration_s = 0.0};
  level.records.push_back({.outcome = Outcome::kErrored, .error = "a"});
  const LevelSummary summary = summarize(level);
  EXPECT_EQ(summary.output_tokens_per_s, 0.0);
  EXPECT_EQ(summary.itl_ms.mean, 0.0);
  EXPECT_EQ(summary.client_cpu_percent, 0.0);
}

}  // namespace
}  // namespace hearth::loadgen
