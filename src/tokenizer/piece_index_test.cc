#include "tokenizer/piece_index.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hearth {
namespace {

TEST(PieceIndexTest, FindsWhatWasInsertedAndNothingElse) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 5000; ++i)
    texts.push_back(std::string(i % 40, 'x') + std::to_string(i));
  const auto text_at = [&texts](std::uint32_t idx) { return std::string_view(texts[idx]); };
  PieceIndex index(texts.size());
  for (std::uint32_t i = 0; i < texts.size(); ++i)
    ASSERT_TRUE(index.insert(i, text_at));
  for (std::uint32_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(index.find(texts[i], text_at), i);
  EXPECT_EQ(index.find("absent", text_at), std::nullopt);
  EXPECT_EQ(index.find("", text_at), std::nullopt);
}

TEST(PieceIndexTest, TheLastOfEqualTextsCounts) {
  const std::vector<std::string> texts = {"a", "b", "a"};
  const auto text_at = [&texts](std::uint32_t idx) { return std::string_view(texts[idx]); };
  PieceIndex index(texts.size());
  for (std::uint32_t i = 0; i < texts.size(); ++i)
    ASSERT_TRUE(index.insert(i, text_at));
  EXPECT_EQ(index.find("a", text_at), 2u);
}

TEST(MergeTableTest, KeepsTheFirstRuleOfAPair) {
  MergeTable table(2);
  ASSERT_TRUE(table.insert(1, 2, {.rank = 0, .merged_id = 7}));
  ASSERT_TRUE(table.insert(1, 2, {.rank = 1, .merged_id = 8}));
  ASSERT_NE(table.find(1, 2), nullptr);
  EXPECT_EQ(table.find(1, 2)->merged_id, 7);
  EXPECT_EQ(table.find(2, 1), nullptr);
}

TEST(MergeTableTest, KeepsTheLastRuleOfAPairWhereAsked) {
  MergeTable table(2, RepeatedPair::kLastStays);
  ASSERT_TRUE(table.insert(1, 2, {.rank = 0, .merged_id = 7}));
  ASSERT_TRUE(table.insert(1, 2, {.rank = 1, .merged_id = 7}));
  ASSERT_NE(table.find(1, 2), nullptr);
  EXPECT_EQ(table.find(1, 2)->rank, 1u);
}

}  // namespace
}  // namespace hearth
