#include "loadgen/answer_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::loadgen {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kUsage =
    R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,)"
    R"("prompt_tokens_details":{"cached_tokens":4}}})";

std::string text_event(std::string_view text) {
  return R"({"choices":[{"text":")" + std::string(text) + R"("}],"usage":null})";
}

// Feeds an answer on a clock that starts at 0 ms.
class AnswerReaderTest : public ::testing::Test {
 protected:
  void add(int at_ms, std::string_view data) { reader_.add(data, start_ + milliseconds(at_ms)); }
  RequestRecord finish(int at_ms, std::uint64_t expected = 3) {
    RequestRecord record;
    reader_.finish(start_, start_ + milliseconds(at_ms), expected, record);
    return record;
  }

  TimePoint start_{std::chrono::seconds(100)};
  AnswerReader reader_;
};

TEST_F(AnswerReaderTest, ACompleteAnswerHasItsTimesAndCounts) {
  add(10, text_event("a"));
  add(15, text_event("b"));
  add(30, text_event("c"));
  add(31, kUsage);
  add(32, "[DONE]");
  const RequestRecord record = finish(33);
  EXPECT_EQ(record.outcome, Outcome::kSuccess) << record.error;
  EXPECT_EQ(record.error, "");
  EXPECT_EQ(record.ttft_ms, 10.0);
  EXPECT_EQ(record.decode_ms, 20.0);
  EXPECT_EQ(record.e2e_ms, 33.0);
  EXPECT_THAT(record.gaps_ms, ElementsAre(5.0, 15.0));
  EXPECT_EQ(record.prompt_tokens, 9u);
  EXPECT_EQ(record.cached_tokens, 4u);
  EXPECT_EQ(record.output_tokens, 3u);
}

TEST_F(AnswerReaderTest, ChatAnswersBeginWithTheFirstText) {
  add(1, R"({"choices":[{"delta":{"role":"assistant","content":""}}]})");
  add(5, R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})");
  add(7, R"({"choices":[{"delta":{"content":"a"}}]})");
  add(9, R"({"choices":[{"delta":{},"finish_reason":"length"}]})");
  add(9, kUsage);
  add(9, "[DONE]");
  const RequestRecord record = finish(9);
  EXPECT_EQ(record.outcome, Outcome::kSuccess);
  EXPECT_EQ(record.ttft_ms, 5.0);
  // Three tokens came in two events: their one gap is two gaps of half the time.
  EXPECT_THAT(record.gaps_ms, ElementsAre(1.0));
}

TEST_F(AnswerReaderTest, OneEventWithEverythingHasNoGaps) {
  add(5, text_event("abc"));
  add(6, kUsage);
  add(6, "[DONE]");
  const RequestRecord record = finish(6);
  EXPECT_EQ(record.outcome, Outcome::kSuccess);
  EXPECT_THAT(record.gaps_ms, IsEmpty());
}

TEST_F(AnswerReaderTest, WithoutTheEndItIsIncomplete) {
  add(10, text_event("a"));
  add(11, kUsage);
  const RequestRecord record = finish(12);
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_THAT(record.error, HasSubstr("[DONE]"));
}

TEST_F(AnswerReaderTest, WithoutUsageItIsIncomplete) {
  add(10, text_event("a"));
  add(11, text_event("b"));
  add(12, "[DONE]");
  const RequestRecord record = finish(12, 2);
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_THAT(record.error, HasSubstr("usage"));
  EXPECT_EQ(record.output_tokens, 2u);
}

TEST_F(AnswerReaderTest, FewerTokensThanAskedForAreIncomplete) {
  add(10, text_event("a"));
  add(11, kUsage);
  add(12, "[DONE]");
  const RequestRecord record = finish(12, 4);
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_EQ(record.error, "3 of 4 tokens came");
}

TEST_F(AnswerReaderTest, AnAnswerWithoutTextIsIncomplete) {
  add(11, kUsage);
  add(12, "[DONE]");
  EXPECT_EQ(finish(12).outcome, Outcome::kIncomplete);
}

TEST_F(AnswerReaderTest, AnErrorEventIsTheError) {
  add(10, text_event("a"));
  add(11, R"({"error":{"message":"The engine failed.","type":"server_error"}})");
  add(12, "[DONE]");
  EXPECT_TRUE(reader_.failed());
  EXPECT_FALSE(reader_.done());
  const RequestRecord record = finish(12);
  EXPECT_EQ(record.outcome, Outcome::kErrored);
  EXPECT_EQ(record.error, "error in the stream: The engine failed.");
}

TEST_F(AnswerReaderTest, UnreadableEventsAreErrors) {
  add(10, "{\"choices\":");
  EXPECT_EQ(finish(12).outcome, Outcome::kErrored);
}

TEST_F(AnswerReaderTest, ForeignShapesOfEventsAreHarmless) {
  for (const std::string_view data :
       {"[]", "1", "null", R"({"choices":{}})", R"({"choices":[3]})", R"({"choices":[{"text":1}]})",
        R"({"choices":[{"delta":[]}]})", R"({"usage":[]})", R"({"usage":{"prompt_tokens":-1}})"}) {
    add(1, data);
  }
  EXPECT_FALSE(reader_.failed());
  EXPECT_EQ(finish(2).outcome, Outcome::kIncomplete);
}

TEST(ErrorText, FindsTheMessageOfEveryServer) {
  EXPECT_EQ(error_text(R"({"error":{"message":"m"}})"), "m");
  EXPECT_EQ(error_text(R"({"error":"m"})"), "m");
  EXPECT_EQ(error_text(R"({"message":"m"})"), "m");
  EXPECT_EQ(error_text(R"({"detail":"m"})"), "m");
  EXPECT_EQ(error_text("<html>"), "<html>");
  EXPECT_EQ(error_text(""), "");
  EXPECT_EQ(error_text("\xFF"), "\xEF\xBF\xBD");
  EXPECT_EQ(error_text(std::string(1000, 'x')), std::string(300, 'x') + "...");
}

}  // namespace
}  // namespace hearth::loadgen
