#include "loadgen/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "tests/support/temp_directory.h"

namespace hearth::loadgen {
namespace {

using ::testing::HasSubstr;

std::vector<std::int64_t> ids_of(const json::Value& prompt) {
  std::vector<std::int64_t> ids;
  for (const json::Value& value : *prompt.as_array())
    EXPECT_TRUE(value.to_int64(ids.emplace_back()));
  return ids;
}

TEST(SyntheticPrompts, AreDistinctIdsOfTheLengthAskedFor) {
  SyntheticPrompts prompts({.id_begin = 100, .id_end = 20'000, .length = 128, .seed = 3});
  std::set<std::int64_t> first_ids;
  for (int i = 0; i < 100; ++i) {
    const auto ids = ids_of(prompts.next());
    ASSERT_EQ(ids.size(), 128u);
    EXPECT_GE(*std::ranges::min_element(ids), 100);
    EXPECT_LT(*std::ranges::max_element(ids), 20'000);
    first_ids.insert(ids.front());
  }
  EXPECT_GT(first_ids.size(), 95u) << "common beginnings would let a prefix cache help";
}

TEST(SyntheticPrompts, ShareAPrefixWithinALevelOnly) {
  SyntheticPrompts prompts(
      {.id_begin = 0, .id_end = 1 << 30, .length = 20, .shared_prefix = 15, .seed = 3});
  const auto a = ids_of(prompts.next());
  const auto b = ids_of(prompts.next());
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + 15, b.begin()));
  EXPECT_NE(a[15], b[15]);
  prompts.begin_level();
  EXPECT_NE(ids_of(prompts.next()).front(), a.front());
}

TEST(SyntheticPrompts, RepeatWithTheSeed) {
  const SyntheticOptions options{.id_begin = 0, .id_end = 1000, .length = 9, .seed = 5};
  EXPECT_EQ(SyntheticPrompts(options).next(), SyntheticPrompts(options).next());
  SyntheticOptions other = options;
  other.seed = 6;
  EXPECT_NE(SyntheticPrompts(options).next(), SyntheticPrompts(other).next());
}

TEST(SyntheticPrompts, AreWordsWithoutIdsAndMessagesForChat) {
  const json::Value text = SyntheticPrompts({.length = 12, .seed = 1}).next();
  ASSERT_NE(text.as_string(), nullptr);
  EXPECT_EQ(std::ranges::count(*text.as_string(), ' '), 11);
  const json::Value chat =
      SyntheticPrompts({.endpoint = Endpoint::kChat, .length = 2, .seed = 1}).next();
  EXPECT_THAT(json::dump(chat), HasSubstr(R"([{"role":"user","content":")"));
}

TEST(PlanRequest, AsksForAnExactLengthAndForUsage) {
  RequestForm form{.endpoint = Endpoint::kCompletions, .model = "m", .output_tokens = 7};
  const PlannedRequest exact = plan_request(form, json::Array{1, 2});
  EXPECT_EQ(exact.body,
            R"({"model":"m","max_tokens":7,"temperature":0,"stream":true,)"
            R"("stream_options":{"include_usage":true},"ignore_eos":true,"prompt":[1,2]})");
  EXPECT_EQ(exact.expected_tokens, 7u);
  form.endpoint = Endpoint::kChat;
  form.ignore_eos = false;
  const PlannedRequest chat = plan_request(form, json::Array{});
  EXPECT_THAT(chat.body, HasSubstr(R"("messages":[])"));
  EXPECT_THAT(chat.body, ::testing::Not(HasSubstr("ignore_eos")));
  EXPECT_EQ(chat.expected_tokens, 1u);
}

class DatasetTest : public ::testing::Test {
 protected:
  Result<DatasetPrompts> load(std::string_view text, Endpoint endpoint) {
    const auto path = folder_.path() / "set.jsonl";
    EXPECT_TRUE(write_file_atomically(path, text).ok());
    return DatasetPrompts::load(path, endpoint);
  }
  std::string error_of(std::string_view text, Endpoint endpoint = Endpoint::kCompletions) {
    const auto loaded = load(text, endpoint);
    return loaded.has_value() ? "no error" : loaded.error().message();
  }

  test::TempDirectory folder_;
};

TEST_F(DatasetTest, GivesItsPromptsInOrderAndAgain) {
  auto prompts =
      load("{\"prompt\":\"a\"}\r\n\n{\"prompt\":\"b\",\"id\":1}", Endpoint::kCompletions);
  ASSERT_TRUE(prompts.has_value()) << prompts.error().message();
  EXPECT_EQ(prompts->size(), 2u);
  EXPECT_EQ(prompts->next(), json::Value("a"));
  EXPECT_EQ(prompts->next(), json::Value("b"));
  EXPECT_EQ(prompts->next(), json::Value("a"));
}

TEST_F(DatasetTest, ChatTakesMessagesAsTheyAreAndTextAsOne) {
  auto prompts =
      load("{\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}\n{\"prompt\":\"b\"}\n",
           Endpoint::kChat);
  ASSERT_TRUE(prompts.has_value()) << prompts.error().message();
  EXPECT_EQ(json::dump(prompts->next()), R"([{"role":"system","content":"s"}])");
  EXPECT_EQ(json::dump(prompts->next()), R"([{"role":"user","content":"b"}])");
}

TEST_F(DatasetTest, BadLinesAreNamed) {
  EXPECT_THAT(error_of("{\"prompt\":\"a\"}\n{\"prompt\":1}\n"), HasSubstr("set.jsonl' line 2"));
  EXPECT_THAT(error_of("{\"prompt\":\"a\"}\n\nnot json\n"), HasSubstr("line 3"));
  EXPECT_THAT(error_of("{\"messages\":[]}\n"), HasSubstr("--endpoint chat"));
  EXPECT_THAT(error_of("\n\n"), HasSubstr("has no prompts"));
  EXPECT_FALSE(DatasetPrompts::load(folder_.path() / "none", Endpoint::kChat).has_value());
}

}  // namespace
}  // namespace hearth::loadgen
