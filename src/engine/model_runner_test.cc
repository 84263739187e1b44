#include "engine/model_runner.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace hearth {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::size_t kVocabSize = 8;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Greedy picks from rows whose largest logits are given.
class SampleTest : public ::testing::Test {
 protected:
  void set_rows(const Tokens& best) {
    rows_.assign(best.size() * kVocabSize, 0.0f);
    for (std::size_t row = 0; row < best.size(); ++row)
      rows_[row * kVocabSize + static_cast<std::size_t>(best[row])] = 1.0f;
  }

  SampleTask sample(const Tokens& draft, SampleTask task = {}) {
    task.sampler = &sampler_;
    task.logits = {rows_.data(), draft.size() + 1, kVocabSize, kVocabSize};
    task.draft = draft;
    task.picks = picks_;
    ModelRunner::sample(std::span(&task, 1), nullptr);
    return task;
  }

  Tokens picked(const SampleTask& task) const {
    Tokens ids;
    for (const PickedToken& pick : task.picks.first(task.num_picked))
      ids.push_back(pick.id);
    return ids;
  }

  Sampler sampler_{SamplingParams{.temperature = 0.0f}, 0, kVocabSize, {}};
  std::vector<float> rows_;
  std::array<PickedToken, 8> picks_;
};

TEST_F(SampleTest, PicksAsLongAsGuessesAreRight) {
  set_rows({1, 2, 3, 4});
  const Tokens right = {1, 2, 3};
  EXPECT_EQ(picked(sample(right)), (Tokens{1, 2, 3, 4}));
  EXPECT_EQ(sample(right).num_right, 3u);
  const Tokens half_right = {1, 5, 3};
  EXPECT_EQ(picked(sample(half_right)), (Tokens{1, 2}));
  EXPECT_EQ(sample(half_right).num_right, 1u);
  EXPECT_EQ(picked(sample({})), Tokens{1});
}

TEST_F(SampleTest, AStopTokenIsTheLastOneEvenIfItWasGuessed) {
  set_rows({1, 2, 3, 4});
  const Tokens draft = {1, 2, 3};
  const Tokens stop_tokens = {2};
  EXPECT_EQ(picked(sample(draft, {.stop_tokens = stop_tokens})), (Tokens{1, 2}));
}

TEST_F(SampleTest, TheEarlyBanEndsAtItsPosition) {
  set_rows({1, 1, 1, 1});
  const Tokens draft = {0, 0, 1};
  const Tokens banned = {1};
  EXPECT_EQ(picked(sample(draft, {.banned_early = banned, .num_early = 2})), (Tokens{0, 0, 1, 1}));
  EXPECT_EQ(picked(sample(draft, {.banned = banned, .banned_early = {}, .num_early = 0})),
            (Tokens{0, 0, 0}));
}

TEST_F(SampleTest, LogprobsComeFromTheRowsOfTheirTokens) {
  set_rows({1, 2, 3});
  rows_[0 * kVocabSize + 1] = 5.0f;
  rows_[2 * kVocabSize + 3] = 9.0f;
  const Tokens draft = {1, 2};
  const SampleTask task = sample(draft, {.top_logprobs = 2});
  ASSERT_EQ(task.num_picked, 3u);
  for (std::size_t row = 0; row < 3; ++row) {
    const std::span logits(&rows_[row * kVocabSize], kVocabSize);
    const PositionLogprobs expected = position_logprobs(logits, picks_[row].id, 2);
    EXPECT_EQ(picks_[row].logprobs->chosen.logprob, expected.chosen.logprob);
    EXPECT_EQ(picks_[row].logprobs->top.size(), 2u);
  }
}

TEST_F(SampleTest, BadLogitsOnlyMatterBehindRightGuesses) {
  set_rows({1, 2, 3});
  rows_[2 * kVocabSize] = kNan;
  EXPECT_EQ(sample(Tokens{1, 7}).status, Status());
  const Tokens draft = {1, 2};
  const SampleTask task = sample(draft);
  EXPECT_EQ(task.status.code(), StatusCode::kInternal);
  EXPECT_EQ(picked(task), (Tokens{1, 2}));
}

}  // namespace
}  // namespace hearth
