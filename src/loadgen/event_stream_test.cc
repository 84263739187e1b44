#include "loadgen/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hearth::loadgen {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> events_of(const std::vector<std::string_view>& pieces) {
  EventStream stream;
  std::vector<std::string> events;
  for (const std::string_view piece : pieces) {
    EXPECT_TRUE(stream.push(piece));
    while (auto event = stream.next())
      events.push_back(*event);
  }
  return events;
}

TEST(EventStream, SeveralEventsMayComeAtOnce) {
  EXPECT_THAT(events_of({"data: a\n\ndata: b\n\ndata: [DONE]\n\n"}),
              ElementsAre("a", "b", "[DONE]"));
}

TEST(EventStream, EveryLineEndAndEveryCutGivesTheSameEvents) {
  for (const std::string_view end : {"\n", "\r\n", "\r"}) {
    std::string text;
    for (const std::string_view line :
         {"data: {\"text\":\"h\xC3\xA9\xF0\x9F\x94\xA5\"}", "", ": ping", "", "event: message",
          "data:two", "data: lines", "id: 7", "", "data: [DONE]", ""}) {
      text.append(line).append(end);
    }
    // A CR at the very end may still become a CRLF, but its line is complete.
    const auto expected =
        ElementsAre("{\"text\":\"h\xC3\xA9\xF0\x9F\x94\xA5\"}", "two\nlines", "[DONE]");
    const std::string_view view = text;
    for (std::size_t cut = 0; cut <= view.size(); ++cut)
      EXPECT_THAT(events_of({view.substr(0, cut), view.substr(cut)}), expected) << cut;
    std::vector<std::string_view> bytes;
    for (std::size_t i = 0; i < view.size(); ++i)
      bytes.push_back(view.substr(i, 1));
    EXPECT_THAT(events_of(bytes), expected);
  }
}

TEST(EventStream, AnUnfinishedEventIsNone) {
  EXPECT_THAT(events_of({"data: a\n\ndata: b\n"}), ElementsAre("a"));
  EXPECT_THAT(events_of({"data: a"}), IsEmpty());
}

TEST(EventStream, OtherFieldsAndAByteOrderMarkAreSkipped) {
  EXPECT_THAT(events_of({"\xEF\xBB\xBF"
                         "data: a\n\n",
                         "datum: b\n\nretry: 3\n\ndata\n\n"}),
              ElementsAre("a", ""));
}

TEST(EventStream, OnlyOneBlankAfterTheColonGoes) {
  EXPECT_THAT(events_of({"data:  a \n\n"}), ElementsAre(" a "));
}

TEST(EventStream, AnEventBeyondTheLimitEndsTheStream) {
  const std::string piece(EventStream::max_event_bytes / 2 + 1, 'x');
  EventStream line;
  EXPECT_TRUE(line.push("data: " + piece));
  EXPECT_FALSE(line.push(piece));
  EXPECT_FALSE(line.push("\n\ndata: a\n\n"));
  EXPECT_EQ(line.next(), std::nullopt);

  EventStream lines;
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(lines.push("data: " + piece + "\n"));
    EXPECT_EQ(lines.next(), std::nullopt);
  }
  EXPECT_FALSE(lines.push("data: more\n"));
}

}  // namespace
}  // namespace hearth::loadgen
