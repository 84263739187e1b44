#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_test_util.h"

namespace hearth {
namespace {

struct Chosen {
  std::vector<std::int32_t> experts;
  Floats weights;
};

Chosen choose(Floats logits, std::size_t rows, const ExpertRouting& routing) {
  Chosen chosen{std::vector<std::int32_t>(rows * routing.num_used),
                Floats(rows * routing.num_used)};
  make_device("auto", 2)->choose_experts(view(logits, rows), routing,
                                         {chosen.experts.data(), chosen.weights.data()});
  return chosen;
}

TEST(ExpertsTest, TheLikeliestComeFirstWithTheirShareOfTheSoftmax) {
  const Chosen chosen = choose({0.0f, 2.0f, -1.0f, 1.0f}, 1, {.num_used = 2});
  EXPECT_EQ(chosen.experts, (std::vector<std::int32_t>{1, 3}));
  const double sum = std::exp(0.0) + std::exp(2.0) + std::exp(-1.0) + std::exp(1.0);
  EXPECT_NEAR(chosen.weights[0], std::exp(2.0) / sum, 1e-6);
  EXPECT_NEAR(chosen.weights[1], std::exp(1.0) / sum, 1e-6);
}

TEST(ExpertsTest, RenormalizedWeightsAddUpToTheScale) {
  const Chosen chosen =
      choose({0.0f, 2.0f, -1.0f, 1.0f}, 1, {.num_used = 2, .renormalize = true, .scale = 2.5f});
  EXPECT_NEAR(chosen.weights[0] / chosen.weights[1], std::exp(1.0), 1e-5);
  EXPECT_NEAR(chosen.weights[0] + chosen.weights[1], 2.5, 1e-6);
}

TEST(ExpertsTest, OneRenormalizedExpertCountsExactlyOnce) {
  const Chosen chosen = choose({-3.0f, 0.3f, 0.1f}, 1, {.num_used = 1, .renormalize = true});
  EXPECT_EQ(chosen.experts.front(), 1);
  EXPECT_EQ(chosen.weights.front(), 1.0f);
}

// By the definition: a share among those close by, the chosen ones of before left out.
TEST(ExpertsTest, SparseMixerWeighsAnExpertAgainstThoseCloseToIt) {
  const ExpertRouting routing = {.num_used = 2, .gate = ExpertGate::kSparseMixer, .jitter = 0.01f};
  const Chosen near = choose({1.0f, 2.0f, 1.97f, 1.5f}, 1, routing);
  EXPECT_EQ(near.experts, (std::vector<std::int32_t>{1, 2}));
  EXPECT_NEAR(near.weights[0], 1.0 / (1.0 + std::exp(-0.03)), 1e-6);
  EXPECT_EQ(near.weights[1], 1.0f);
  const Chosen far = choose({1.0f, 2.0f, 1.9f, 1.89f}, 1, routing);
  EXPECT_EQ(far.experts, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(far.weights[0], 1.0f);
  EXPECT_NEAR(far.weights[1], 1.0 / (1.0 + std::exp(-0.01)), 1e-6);
  // Distances are relative to the larger magnitude where logits are negative.
  const Chosen negative = choose({-2.0f, -2.03f, -9.0f}, 1, routing);
  EXPECT_NEAR(negative.weights[0], 1.0 / (1.0 + std::exp(-0.03)), 1e-6);
}

TEST(ExpertsTest, OfEqualOnesTheFirstIsChosen) {
  const Chosen chosen = choose({1.0f, 1.0f, 1.0f, 1.0f}, 1, {.num_used = 3});
  EXPECT_EQ(chosen.experts, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(ExpertsTest, NanChoosesDistinctExpertsAndStaysNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Chosen chosen = choose({nan, 1.0f, nan, 2.0f}, 1, {.num_used = 4});
  std::vector<std::int32_t> sorted = chosen.experts;
  std::ranges::sort(sorted);
  EXPECT_EQ(sorted, (std::vector<std::int32_t>{0, 1, 2, 3}));
  EXPECT_TRUE(std::ranges::all_of(chosen.weights, [](float w) { return std::isnan(w); }));
}

TEST(ExpertsTest, ARowsChoiceDoesNotDependOnTheOthers) {
  constexpr std::size_t kRows = 300;
  constexpr std::size_t kExperts = 7;
  const ExpertRouting routing = {.num_used = 3};
  const Floats logits = random_floats(kRows * kExperts, 1);
  const Chosen all = choose(logits, kRows, routing);
  for (std::size_t row = 0; row < kRows; row += 37) {
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * kExperts);
    const Chosen alone = choose(Floats(begin, begin + kExperts), 1, routing);
    for (std::size_t i = 0; i < routing.num_used; ++i) {
      EXPECT_EQ(alone.experts[i], all.experts[row * routing.num_used + i]);
      EXPECT_EQ(alone.weights[i], all.weights[row * routing.num_used + i]);
    }
  }
}

TEST(ExpertsTest, RowsAreGatheredAndAddedUpInTheirOrder) {
  const Floats input = {1, 2, 3, 10, 20, 30, 100, 200, 300};
  const auto device = make_device("auto");
  Floats gathered(6);
  const std::vector<std::int32_t> rows = {2, 0};
  device->gather_rows(const_view(input, 3), rows, view(gathered, 2));
  EXPECT_EQ(gathered, (Floats{100, 200, 300, 1, 2, 3}));

  const std::vector<std::int32_t> terms = {0, 1, 2, 2};
  const Floats weights = {0.5f, 2.0f, 1.0f, -1.0f};
  Floats out = {1, 1, 1, 5, 5, 5};
  device->add_weighted_rows(const_view(input, 3), {2, terms.data(), weights.data()}, view(out, 2));
  EXPECT_EQ(out, (Floats{21.5f, 42, 62.5f, 5, 5, 5}));
}

TEST(ExpertsTest, SigmoidIsItsDefinition) {
  Floats x = {0.0f, 3.0f, -3.0f, 200.0f, -200.0f};
  const Floats before = x;
  make_device("auto")->sigmoid(view(x, 1));
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(x[i], 1.0 / (1.0 + std::exp(-double{before[i]})), 1e-6);
}

float sigmoid_of(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

TEST(ExpertsTest, ABiasDecidesWhichSigmoidsCountButNotHowMuch) {
  const Floats bias = {0.0f, 0.0f, 0.5f, 0.0f};
  ExpertRouting routing = {.num_used = 2, .scale = 2.5f, .gate = ExpertGate::kSigmoid};
  const Floats logits = {0.0f, 2.0f, -1.0f, 1.0f};
  const Chosen plain = choose(logits, 1, routing);
  EXPECT_EQ(plain.experts, (std::vector<std::int32_t>{1, 3}));
  EXPECT_NEAR(plain.weights[0], 2.5f * sigmoid_of(2.0f), 1e-6);
  routing.bias = bias.data();
  const Chosen biased = choose(logits, 1, routing);
  EXPECT_EQ(biased.experts, (std::vector<std::int32_t>{1, 2}));
  EXPECT_NEAR(biased.weights[1], 2.5f * sigmoid_of(-1.0f), 1e-6);
  routing.renormalize = true;
  const Chosen shares = choose(logits, 1, routing);
  EXPECT_NEAR(shares.weights[0] + shares.weights[1], 2.5f, 1e-5);
  EXPECT_NEAR(shares.weights[0] / shares.weights[1], sigmoid_of(2.0f) / sigmoid_of(-1.0f), 1e-4);
}

// The best expert of all may stand in a group that is worse than another as a whole.
TEST(ExpertsTest, GroupsAreRankedByTheirBestOrTheirTwoBest) {
  const Floats logits = {3.0f, -9.0f, -9.0f, 2.0f, 1.9f, -9.0f, 0.0f, 0.0f, 0.0f};
  ExpertRouting routing = {.num_used = 2, .num_groups = 3, .num_groups_used = 1, .group_best = 1};
  EXPECT_EQ(choose(logits, 1, routing).experts, (std::vector<std::int32_t>{0, 1}));
  routing.num_groups_used = 2;
  EXPECT_EQ(choose(logits, 1, routing).experts, (std::vector<std::int32_t>{0, 3}));
  routing.gate = ExpertGate::kSigmoid;
  routing.group_best = 2;
  routing.num_groups_used = 1;
  EXPECT_EQ(choose(logits, 1, routing).experts, (std::vector<std::int32_t>{3, 4}));
  // Of equal groups the first, and NaN breaks nothing.
  EXPECT_EQ(choose(Floats(9, 1.0f), 1, routing).experts, (std::vector<std::int32_t>{0, 1}));
  const Chosen broken = choose(Floats(9, std::nanf("")), 1, routing);
  EXPECT_EQ(broken.experts, (std::vector<std::int32_t>{0, 1}));
}

}  // namespace
}  // namespace hearth
