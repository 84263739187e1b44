#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "sampling/sampler.h"

namespace hearth {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(PositionLogprobs, AgreesWithAPlainLogSoftmax) {
  std::mt19937_64 random(4);
  for (const std::size_t size : {1u, 7u, 8u, 300u, 49152u}) {
    std::vector<float> logits(size);
    for (float& logit : logits)
      logit = static_cast<float>(random() % 100000) * 2e-4f - 10.0f;
    long double sum = 0.0L;
    for (const float logit : logits)
      sum += std::exp(static_cast<long double>(logit));
    const auto chosen = static_cast<std::int32_t>(size / 2);
    const PositionLogprobs result = position_logprobs(logits, chosen, 5);
    const auto expected = static_cast<double>(logits[size / 2] - std::log(sum));
    EXPECT_EQ(result.chosen.id, chosen);
    EXPECT_NEAR(result.chosen.logprob, expected, 1e-6 * std::abs(expected) + 1e-12);
    EXPECT_EQ(result.top.size(), std::min<std::size_t>(size, 5));
  }
}

TEST(PositionLogprobs, NearCertaintyKeepsItsPrecision) {
  const PositionLogprobs result = position_logprobs(std::vector<float>{20.0f, 0.0f}, 0, 0);
  EXPECT_FLOAT_EQ(result.chosen.logprob, static_cast<float>(-std::log1p(std::exp(-20.0))));
}

TEST(PositionLogprobs, ListsTheMostProbableTokensWithTiesByLowestId) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 3.0f, -kInfinity, 2.0f};
  const PositionLogprobs result = position_logprobs(logits, 5, 4);
  std::vector<std::int32_t> ids;
  for (const TokenLogprob& token : result.top)
    ids.push_back(token.id);
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 3, 2, 5}));
  EXPECT_EQ(result.rank, 3u);
  EXPECT_EQ(result.chosen.logprob, result.top[3].logprob);
  EXPECT_EQ(result.top[0].logprob, result.top[1].logprob);
  EXPECT_GT(result.top[1].logprob, result.top[2].logprob);
}

TEST(PositionLogprobs, FindsTheTopAcrossBlocksInAnyDirection) {
  constexpr std::size_t kSize = 2000;
  for (const bool ascending : {true, false}) {
    std::vector<float> logits(kSize);
    for (std::size_t id = 0; id < kSize; ++id) {
      logits[id] = static_cast<float>(ascending ? id : kSize - id) * 0.01f;
    }
    const PositionLogprobs result = position_logprobs(logits, 1000, 20);
    ASSERT_EQ(result.top.size(), 20u);
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(result.top[i].id, static_cast<std::int32_t>(ascending ? kSize - 1 - i : i));
    }
    EXPECT_EQ(result.rank, ascending ? 999u : 1000u);
  }
}

TEST(PositionLogprobs, AskingForMoreThanTheVocabularyGivesAllOfIt) {
  EXPECT_EQ(position_logprobs(std::vector<float>{1.0f, 2.0f}, 0, 20).top.size(), 2u);
  EXPECT_TRUE(position_logprobs(std::vector<float>{1.0f, 2.0f}, 0, 0).top.empty());
}

TEST(PositionLogprobs, BannedTokensHaveProbabilityZeroAndNanSpreads) {
  const std::vector<float> banned = {0.0f, -kInfinity};
  EXPECT_EQ(position_logprobs(banned, 1, 1).chosen.logprob, -kInfinity);
  EXPECT_EQ(position_logprobs(banned, 0, 1).chosen.logprob, 0.0f);
  const std::vector<float> broken = {0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(position_logprobs(broken, 0, 1).chosen.logprob));
}

}  // namespace
}  // namespace hearth
