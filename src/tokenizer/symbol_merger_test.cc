#include "tokenizer/symbol_merger.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tests/support/allocation_counter.h"

namespace hearth {
namespace {

// Rules by the pair's ids. Ids below kNumLetters are what a text is made of.
constexpr TokenId kNumLetters = 4;
using Rules = std::map<std::pair<TokenId, TokenId>, MergeCandidate>;

// The result depends on the ids of a pair, many of which share an order.
Rules random_rules(std::mt19937& random) {
  Rules rules;
  TokenId next_id = kNumLetters;
  const std::size_t num_rules = 1 + random() % 24;
  const std::uint32_t num_orders = 1 + static_cast<std::uint32_t>(random() % 24);
  for (std::size_t i = 0; i < num_rules; ++i) {
    const auto any_id = [&] {
      return static_cast<TokenId>(random() % static_cast<unsigned>(next_id));
    };
    const TokenId left = any_id();
    const TokenId right = any_id();
    const MergeCandidate candidate{.order = static_cast<std::uint32_t>(random()) % num_orders,
                                   .merged_id = next_id};
    if (rules.try_emplace({left, right}, candidate).second) ++next_id;
  }
  return rules;
}

// Random letters, or a few of them over and over.
std::vector<TokenId> random_text(std::mt19937& random) {
  std::vector<TokenId> text(random() % 60);
  const std::size_t period = random() % 2 == 0 ? text.size() : 1 + random() % 5;
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] = i < period ? static_cast<TokenId>(random() % kNumLetters) : text[i - period];
  return text;
}

// As the algorithm is defined: search all pairs, merge the leftmost of the best, again and again.
std::vector<TokenId> merge_by_searching(std::vector<TokenId> ids, const Rules& rules) {
  while (true) {
    std::size_t best = ids.size();
    MergeCandidate candidate;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rule = rules.find({ids[i], ids[i + 1]});
      if (rule == rules.end()) continue;
      if (best < ids.size() && rule->second.order >= candidate.order) continue;
      best = i;
      candidate = rule->second;
    }
    if (best == ids.size()) return ids;
    ids[best] = candidate.merged_id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(SymbolMergerTest, GivesWhatSearchingAllPairsGives) {
  std::mt19937 random(1);
  SymbolMerger merger;
  for (int round = 0; round < 20'000; ++round) {
    const Rules rules = random_rules(random);
    const std::vector<TokenId> text = random_text(random);
    merger.start(text.size());
    for (const TokenId id : text)
      merger.add(id);
    merger.merge_all(
        [&rules](const SymbolPair& pair) -> std::optional<MergeCandidate> {
          const auto rule = rules.find({pair.left_id, pair.right_id});
          if (rule == rules.end()) return std::nullopt;
          return rule->second;
        },
        {});
    std::vector<TokenId> merged;
    std::uint32_t place = 0;
    merger.for_each([&](TokenId id, std::uint32_t begin, std::uint32_t end) {
      EXPECT_EQ(begin, place);
      place = end;
      merged.push_back(id);
    });
    EXPECT_EQ(place, text.size());
    ASSERT_EQ(merged, merge_by_searching(text, rules)) << "round " << round;
  }
}

// One word of `num_symbols`, in which everything merges, by twos, fours and so on.
template <typename Rule>
void merge_one_word(SymbolMerger& merger, std::size_t num_symbols, const Rule& rule,
                    const std::stop_token& stop = {}) {
  merger.start(num_symbols);
  for (std::size_t i = 0; i < num_symbols; ++i)
    merger.add(0);
  merger.merge_all(rule, stop);
}

std::optional<MergeCandidate> merge_equals(const SymbolPair& pair) {
  if (pair.left_id != pair.right_id) return std::nullopt;
  return MergeCandidate{.order = static_cast<std::uint32_t>(pair.left_id),
                        .merged_id = pair.left_id + 1};
}

TEST(SymbolMergerTest, AHugeWordTakesBoundedStepsAndMemory) {
  constexpr std::size_t kNumSymbols = 1u << 20;
  std::size_t num_calls = 0;
  const std::size_t bytes_before = test::live_bytes();
  test::reset_peak_bytes();
  SymbolMerger merger;
  merge_one_word(merger, kNumSymbols, [&num_calls](const SymbolPair& pair) {
    ++num_calls;
    return merge_equals(pair);
  });
  EXPECT_LT(num_calls, 3 * kNumSymbols);
  EXPECT_LE(test::peak_bytes() - bytes_before, 27 * kNumSymbols);
  std::size_t num_left = 0;
  merger.for_each([&num_left](TokenId, std::uint32_t, std::uint32_t) { ++num_left; });
  EXPECT_EQ(num_left, 1u);
}

TEST(SymbolMergerTest, AStopEndsAHugeWordEarly) {
  constexpr std::size_t kNumSymbols = 1u << 16;
  for (const std::size_t stop_at : {std::size_t{1}, kNumSymbols, kNumSymbols * 3 / 2}) {
    std::stop_source source;
    std::size_t num_calls = 0;
    SymbolMerger merger;
    merge_one_word(
        merger, kNumSymbols,
        [&](const SymbolPair& pair) {
          if (++num_calls == stop_at) source.request_stop();
          return merge_equals(pair);
        },
        source.get_token());
    EXPECT_LE(num_calls, stop_at + 2 * SymbolMerger::kStepsPerStopCheck);
  }
}

TEST(SymbolMergerTest, TheHighestScoreHasTheLowestOrder) {
  const float scores[] = {1e30f, 2.0f, 1.0f, 1e-40f, 0.0f, -1e-40f, -1.0f, -1e30f};
  for (std::size_t i = 1; i < std::size(scores); ++i)
    EXPECT_LT(order_of_score(scores[i - 1]), order_of_score(scores[i]));
  EXPECT_EQ(order_of_score(0.0f), order_of_score(-0.0f));
}

}  // namespace
}  // namespace hearth
