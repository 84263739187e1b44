#include "engine/ngram_proposer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace hearth {
namespace {

using Tokens = std::vector<std::int32_t>;

// The same by looking at every place.
std::size_t expected_place(const NgramOptions& options, const Tokens& tokens) {
  std::size_t best_end = 0;
  std::size_t best_len = options.min_match - 1;
  for (std::size_t end = tokens.size() - 1; end >= options.min_match; --end) {
    std::size_t length = 0;
    while (length < std::min(end, options.max_match) &&
           tokens[end - 1 - length] == tokens[tokens.size() - 1 - length])
      ++length;
    if (length > best_len) {
      best_len = length;
      best_end = end;
    }
  }
  return best_end;
}

TEST(NgramIndexTest, FindsTheLongestRunAndOfThoseTheLast) {
  std::mt19937 random(1);
  std::size_t num_found = 0;
  for (std::size_t turn = 0; turn < 200; ++turn) {
    const NgramOptions options{.min_match = 1 + turn % 4, .max_match = 4 + turn % 5};
    // Few places per run, so that the bound on a look-up does not matter.
    const std::int32_t num_values = turn % 4 == 0 ? 60 : 12;
    Tokens all(1 + random() % 300);
    for (std::int32_t& token : all)
      token = static_cast<std::int32_t>(random()) % num_values;
    NgramIndex index(options, all.size());
    for (std::size_t size = 1; size <= all.size(); size += 1 + random() % 3) {
      const Tokens tokens(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
      const std::size_t place = index.find(tokens);
      ASSERT_EQ(place, expected_place(options, tokens)) << "turn " << turn << " size " << size;
      num_found += place != 0;
    }
  }
  EXPECT_GT(num_found, 1000u);
}

TEST(NgramIndexTest, ForgetsWhatIsFurtherBackThanItsWindow) {
  const NgramOptions options{.min_match = 3, .max_match = 8, .window = 64};
  for (const std::size_t distance : {40u, 62u, 63u, 64u, 65u, 200u}) {
    Tokens tokens = {1, 2, 3};
    for (std::int32_t filler = 100; tokens.size() < distance; ++filler)
      tokens.push_back(filler);
    tokens.insert(tokens.end(), {1, 2, 3});
    for (const bool at_once : {true, false}) {
      NgramIndex index(options, 1000);
      for (std::size_t size = at_once ? tokens.size() : 1; size < tokens.size(); ++size)
        index.find(std::span(tokens).first(size));
      EXPECT_EQ(index.find(tokens), distance < 64 ? 3u : 0u) << distance;
    }
  }
}

TEST(NgramIndexTest, StaysFastInATextThatRepeatsOneToken) {
  const Tokens tokens(5000, 7);
  NgramIndex index({}, tokens.size());
  for (std::size_t size = 1; size <= tokens.size(); ++size) {
    const std::size_t place = index.find(std::span(tokens).first(size));
    ASSERT_EQ(place, size > 3 ? size - 1 : 0);
  }
}

TEST(NgramProposerTest, ProposesWhatFollowedAndGoesOnWithARepetition) {
  NgramProposer proposer;
  Tokens draft(5);
  const auto propose = [&](const SequenceId& id, const Tokens& tokens, std::size_t room) {
    DraftTask task{
        .id = id, .tokens = tokens, .max_len = 64, .draft = std::span(draft).first(room)};
    proposer.propose(std::span(&task, 1));
    return Tokens(draft.begin(), draft.begin() + static_cast<std::ptrdiff_t>(task.num_tokens));
  };
  EXPECT_EQ(propose({1, 0}, {1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3}, 4), (Tokens{4, 5, 6, 7}));
  EXPECT_EQ(propose({1, 0}, {1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3, 4}, 2), (Tokens{5, 6}));
  EXPECT_EQ(propose({1, 0}, {1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3, 4, 8}, 4), Tokens{});
  EXPECT_EQ(propose({1, 1}, {5, 1, 2, 3, 1, 2, 3}, 5), (Tokens{1, 2, 3, 1, 2}));
  EXPECT_EQ(propose({2, 0}, {1, 2, 3}, 5), Tokens{});
  EXPECT_EQ(propose({2, 0}, {1, 2, 3, 1, 2, 3}, 0), Tokens{});
  // An ended sequence is forgotten: another one with its name starts anew.
  proposer.end({1, 0});
  EXPECT_EQ(propose({1, 0}, {9, 9, 8, 1, 2, 3}, 5), Tokens{});
}

}  // namespace
}  // namespace hearth
