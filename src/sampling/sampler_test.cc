#include "sampling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace hearth {
namespace {

using testing::HasSubstr;
using Ids = std::vector<std::int32_t>;
using Logits = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Sampler make(const SamplingParams& params, std::size_t vocab_size, Ids prompt = {},
             std::uint32_t choice = 0) {
  return Sampler(params, choice, vocab_size, prompt);
}

std::int32_t sample(Sampler& sampler, const Logits& logits, Ids banned = {}) {
  const Result<std::int32_t> id = sampler.sample(logits, banned);
  EXPECT_TRUE(id.has_value()) << (id ? "" : id.error().to_string());
  return id.value_or(-1);
}

std::map<std::int32_t, int> draw(const SamplingParams& params, const Logits& logits, int draws) {
  Sampler sampler = make(params, logits.size());
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < draws; ++i)
    ++counts[sample(sampler, logits)];
  return counts;
}

std::set<std::int32_t> drawn_ids(const SamplingParams& params, const Logits& logits, int draws) {
  std::set<std::int32_t> ids;
  for (const auto& [id, count] : draw(params, logits, draws))
    ids.insert(id);
  return ids;
}

Logits random_row(std::size_t size, std::uint64_t seed, float spread) {
  std::mt19937_64 random(seed);
  Logits row(size);
  for (float& logit : row) {
    logit = spread * static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-53 - 0.5);
  }
  return row;
}

// The filters as their definitions read: sort, then cut. Ids are returned in order.
Ids reference_filter(const SamplingParams& params, const Logits& logits) {
  Ids ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto logit = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  std::ranges::sort(ids, {}, [&](auto id) { return std::pair(-logit(id), id); });
  const auto weight = [&](std::int32_t id) {
    return std::exp((double{logit(id)} - logit(ids[0])) / params.temperature);
  };
  if (params.top_k > 0 && params.top_k < ids.size()) ids.resize(params.top_k);
  if (params.top_p < 1.0f) {
    double total = 0.0;
    for (const std::int32_t id : ids)
      total += weight(id);
    double mass = 0.0;
    std::size_t kept = 0;
    while (kept < ids.size() && mass < params.top_p * total)
      mass += weight(ids[kept++]);
    ids.resize(kept);
  }
  std::erase_if(ids, [&](std::int32_t id) { return weight(id) < double{params.min_p}; });
  return ids;
}

TEST(Sampler, TemperatureZeroTakesTheLargestLogitAndTheLowestIdOnATie) {
  Sampler sampler = make({.temperature = 0.0f}, 6);
  EXPECT_EQ(sample(sampler, {1.0f, 3.0f, -2.0f, 3.0f, 0.0f, 3.0f}), 1);
  EXPECT_EQ(sample(sampler, {-0.0f, 0.0f, -1.0f, -1.0f, -1.0f, -1.0f}), 0);
  EXPECT_EQ(sample(sampler, {-9.0f, -kInfinity, -8.0f, -8.5f, -kInfinity, -9.0f}), 2);
}

TEST(Sampler, TopKOneIsGreedyAtAnyTemperature) {
  Logits logits = random_row(5000, 3, 4.0f);
  logits[17] = logits[4000] = 9.0f;
  EXPECT_EQ(drawn_ids({.temperature = 2.0f, .top_k = 1}, logits, 50), std::set<std::int32_t>{17});
}

TEST(Sampler, TinyTemperaturesDoNotOverflow) {
  const float smallest = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(drawn_ids({.temperature = smallest, .top_p = 0.9f, .min_p = 0.1f},
                      {1.0f, 1.0001f, -kInfinity, 0.5f}, 20),
            std::set<std::int32_t>{1});
}

TEST(Sampler, DrawsFollowTheSoftmaxOfTheTemperedLogits) {
  const Logits logits = {2.0f, 1.0f, 0.0f, -1.0f, 1.5f, -kInfinity, 0.5f, -2.0f};
  for (const float temperature : {0.5f, 1.0f, 1.7f}) {
    constexpr int kDraws = 40000;
    const auto counts = draw({.temperature = temperature, .seed = 11}, logits, kDraws);
    double total = 0.0;
    for (const float logit : logits)
      total += std::exp(double{logit} / temperature);
    double chi_square = 0.0;
    for (std::size_t id = 0; id < logits.size(); ++id) {
      const double expected = kDraws * std::exp(double{logits[id]} / temperature) / total;
      const auto found = counts.find(static_cast<std::int32_t>(id));
      const double observed = found == counts.end() ? 0.0 : found->second;
      if (expected > 0.0) chi_square += (observed - expected) * (observed - expected) / expected;
    }
    EXPECT_LT(chi_square, 22.46) << temperature;  // 99.9 % point for 6 degrees of freedom.
    EXPECT_FALSE(counts.contains(5));
  }
}

TEST(Sampler, DrawsOverAWholeVocabularyAreUniformWhenLogitsAre) {
  const Logits logits(1000, -3.25f);
  const auto counts = draw({.seed = 5}, logits, 100000);
  double chi_square = 0.0;
  for (const auto& [id, count] : counts)
    chi_square += (count - 100.0) * (count - 100.0) / 100.0;
  EXPECT_EQ(counts.size(), 1000u);
  EXPECT_LT(chi_square, 1143.9);  // 99.9 % point for 999 degrees of freedom.
}

TEST(Sampler, FiltersKeepExactlyWhatTheirDefinitionsSay) {
  const SamplingParams cases[] = {
      {.top_k = 7},
      {.top_p = 0.3f},
      {.min_p = 0.5f},
      {.temperature = 0.7f, .top_p = 0.2f, .top_k = 40},
      {.temperature = 1.5f, .top_p = 0.9f, .top_k = 20, .min_p = 0.6f},
      {.temperature = 0.9f, .top_p = 0.05f, .min_p = 0.1f},
      {.top_p = 1e-6f},
      {.min_p = 1.0f},
  };
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Logits logits = random_row(400, seed, 3.0f);
    for (const SamplingParams& params : cases) {
      const Ids kept = reference_filter(params, logits);
      const auto drawn = drawn_ids(params, logits, 200 * static_cast<int>(kept.size()));
      EXPECT_EQ(drawn, std::set<std::int32_t>(kept.begin(), kept.end()))
          << "top_k " << params.top_k << " top_p " << params.top_p << " min_p " << params.min_p;
    }
  }
}

TEST(Sampler, FiltersBreakTiesByLowestId) {
  const Logits logits(1000, 1.0f);
  EXPECT_EQ(drawn_ids({.top_k = 3}, logits, 200), (std::set<std::int32_t>{0, 1, 2}));
  // Four of a thousand equal tokens hold a mass of exactly 0.004 (0.0039 as wanted here).
  EXPECT_EQ(drawn_ids({.top_p = 0.0039f}, logits, 400), (std::set<std::int32_t>{0, 1, 2, 3}));
}

TEST(Sampler, TopPKeepsASetWhoseMassIsExactlyTheBound) {
  const Logits logits = {std::log(1.0f), std::log(1.0f), -kInfinity, std::log(1.0f), 0.0f};
  EXPECT_EQ(drawn_ids({.top_p = 0.5f}, logits, 200), (std::set<std::int32_t>{0, 1}));
  EXPECT_EQ(drawn_ids({.top_p = 0.75f}, logits, 200), (std::set<std::int32_t>{0, 1, 3}));
}

TEST(Sampler, TopPIsRenormalisedAfterTopK) {
  // Without top-k the first token holds 25 % of the mass, after top-k = 2 it holds 50 %.
  const Logits logits(4, 0.0f);
  EXPECT_EQ(drawn_ids({.top_p = 0.5f, .top_k = 2}, logits, 100), std::set<std::int32_t>{0});
}

TEST(Sampler, RepetitionPenaltyCoversPromptAndAnswer) {
  Sampler sampler = make({.temperature = 0.0f, .repetition_penalty = 2.0f}, 4, {0, 0, 3});
  const Logits logits = {4.0f, 2.5f, 1.9f, -0.1f};
  EXPECT_EQ(sample(sampler, logits), 1);  // 2, 2.5, 1.9, -0.2
  EXPECT_EQ(sample(sampler, logits), 0);  // 2, 1.25, 1.9, -0.2: applied once, however often seen.
  Sampler negative = make({.temperature = 0.0f, .repetition_penalty = 2.0f}, 2, {0});
  EXPECT_EQ(sample(negative, {-1.0f, -1.5f}), 1);
}

TEST(Sampler, FrequencyAndPresencePenaltiesCoverTheAnswerAlone) {
  Sampler frequency = make({.temperature = 0.0f, .frequency_penalty = 1.0f}, 3, {0, 0, 0});
  const Logits logits = {2.5f, 1.0f, -9.0f};
  const Ids expected = {0, 0, 1, 0};  // 0 loses 1 per use: 2.5, 1.5, 0.5 against 1; 0.5 against 0.
  for (const std::int32_t id : expected)
    EXPECT_EQ(sample(frequency, logits), id);

  Sampler presence = make({.temperature = 0.0f, .presence_penalty = 2.0f}, 3, {1});
  EXPECT_EQ(sample(presence, logits), 0);  // 2.5
  EXPECT_EQ(sample(presence, logits), 1);  // 0.5 against 1
  EXPECT_EQ(sample(presence, logits), 0);  // 0.5 against -1: the penalty does not grow.
}

TEST(Sampler, RepetitionComesBeforeTheOtherPenaltiesAndTheBias) {
  SamplingParams params{.temperature = 0.0f,
                        .presence_penalty = 1.0f,
                        .repetition_penalty = 2.0f,
                        .logit_bias = {{0, 1.5f}}};
  Sampler sampler = make(params, 2);
  ASSERT_EQ(sample(sampler, {4.0f, 0.0f}), 0);
  // 4 / 2 - 1 + 1.5 = 2.5; any other order of the three gives less than 2.4.
  EXPECT_EQ(sample(sampler, {4.0f, 2.4f}), 0);
  EXPECT_EQ(sample(sampler, {4.0f, 2.6f * 2.0f + 2.0f}), 1);
}

TEST(Sampler, LogitBiasForcesAndBans) {
  const Logits logits = random_row(300, 8, 10.0f);
  SamplingParams params{.logit_bias = {{42, 100.0f}}};
  EXPECT_EQ(drawn_ids(params, logits, 100), std::set<std::int32_t>{42});
  params.logit_bias = {{0, -100.0f}};
  EXPECT_EQ(drawn_ids(params, {9.0f, 0.0f, 1.0f}, 500), (std::set<std::int32_t>{1, 2}));
}

TEST(Sampler, BannedTokensCannotBePickedEvenWithABias) {
  Sampler sampler = make({.temperature = 0.0f, .logit_bias = {{1, 100.0f}}}, 3);
  EXPECT_EQ(sample(sampler, {1.0f, 2.0f, 0.0f}, {1}), 0);
  EXPECT_EQ(sample(sampler, {1.0f, 2.0f, 0.0f}, {-1, 3}), 1);  // Ids beyond the vocabulary.
  EXPECT_EQ(sample(sampler, {1.0f, 2.0f, 0.0f}), 1);
}

TEST(Sampler, LogitsAreNotChanged) {
  const Logits before = {1.0f, 2.0f, 3.0f};
  const Logits logits = before;
  Sampler sampler = make(
      {.frequency_penalty = 1.0f, .repetition_penalty = 1.5f, .logit_bias = {{0, 5.0f}}}, 3, {2});
  sample(sampler, logits, {1});
  sample(sampler, logits, {1});
  EXPECT_EQ(logits, before);
}

TEST(Sampler, NumericalErrorsAreReported) {
  Sampler sampler = make({}, 4);
  for (const float bad : {kNan, kInfinity}) {
    const Result<std::int32_t> id = sampler.sample(Logits{0.0f, 1.0f, bad, 0.0f}, {});
    ASSERT_FALSE(id.has_value());
    EXPECT_EQ(id.error().code(), StatusCode::kInternal);
    EXPECT_THAT(id.error().message(), HasSubstr("numerical_error: the logit of token 2"));
    // A ban does not hide it.
    EXPECT_FALSE(sampler.sample(Logits{0.0f, 1.0f, bad, 0.0f}, Ids{2}).has_value());
  }
  const Result<std::int32_t> none = sampler.sample(Logits(4, -kInfinity), {});
  ASSERT_FALSE(none.has_value());
  EXPECT_THAT(none.error().message(), HasSubstr("every token is banned"));
  EXPECT_FALSE(sampler.sample(Logits(4, 0.0f), Ids{0, 1, 2, 3}).has_value());
}

TEST(Sampler, SeedAndChoiceAloneDetermineTheDraws) {
  const Logits logits = random_row(49152, 1, 12.0f);
  const auto answer = [&](std::uint64_t seed, std::uint32_t choice) {
    SamplingParams params{.temperature = 1.3f, .top_p = 0.95f, .seed = seed};
    Sampler sampler = make(params, logits.size(), {}, choice);
    Ids ids;
    for (int i = 0; i < 12; ++i)
      ids.push_back(sample(sampler, logits));
    return ids;
  };
  EXPECT_EQ(answer(7, 0), answer(7, 0));
  EXPECT_NE(answer(7, 0), answer(7, 1));
  EXPECT_NE(answer(7, 0), answer(8, 0));
  EXPECT_NE(answer(7, 1), answer(8, 0));
}

TEST(Sampler, DrawsAreTheSameOnEveryMachine) {
  const Logits logits = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 0.25f, 0.75f, 1.25f};
  Sampler sampler = make({.temperature = 1.5f, .seed = 2024}, logits.size());
  Ids ids;
  for (int i = 0; i < 16; ++i)
    ids.push_back(sample(sampler, logits));
  EXPECT_EQ(ids, (Ids{4, 4, 4, 2, 6, 7, 0, 4, 2, 3, 5, 0, 3, 4, 7, 3}));
}

TEST(CheckSamplingParams, NamesTheFieldItsLimitsAndTheValue) {
  const auto message = [](const SamplingParams& params) {
    return check_sampling_params(params, 100).message();
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.top_p = 1.5f}), "top_p must be between 1e-06 and 1, not 1.5");
  EXPECT_THAT(message({.temperature = -0.5f}), HasSubstr("temperature"));
  EXPECT_THAT(message({.temperature = kNan}), HasSubstr("temperature"));
  EXPECT_THAT(message({.temperature = kInfinity}), HasSubstr("temperature"));
  EXPECT_THAT(message({.top_p = 0.0f}), HasSubstr("top_p"));
  EXPECT_THAT(message({.min_p = 1.01f}), HasSubstr("min_p"));
  EXPECT_THAT(message({.frequency_penalty = 2.5f}), HasSubstr("frequency_penalty"));
  EXPECT_THAT(message({.presence_penalty = -2.5f}), HasSubstr("presence_penalty"));
  EXPECT_THAT(message({.repetition_penalty = 0.0f}), HasSubstr("repetition_penalty"));
  EXPECT_THAT(message({.logit_bias = {{3, 101.0f}}}), HasSubstr("logit_bias of token 3"));
  EXPECT_THAT(message({.logit_bias = {{100, 1.0f}}}), HasSubstr("has 100 tokens"));
  EXPECT_THAT(message({.logit_bias = {{-1, 1.0f}}}), HasSubstr("token -1"));
  EXPECT_THAT(message({.logit_bias = {{3, 1.0f}, {3, 2.0f}}}), HasSubstr("token 3 twice"));
}

}  // namespace
}  // namespace hearth
