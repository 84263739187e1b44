#include "base/log.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace hearth::log {
namespace {

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { set_level(Level::kInfo); }
};

TEST_F(LogTest, KnowsTheNamesOfItsLevels) {
  EXPECT_EQ(parse_level("debug").value(), Level::kDebug);
  EXPECT_EQ(parse_level("off").value(), Level::kOff);
  EXPECT_FALSE(parse_level("INFO").has_value());
}

TEST_F(LogTest, WritesOnlyEventsOfTheLevelAndAbove) {
  set_level(Level::kWarning);
  ::testing::internal::CaptureStderr();
  info("number {}", 1);
  warning("number {}", 2);
  error("number {}", 3);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find("number 1"), std::string::npos);
  EXPECT_NE(text.find("warning number 2"), std::string::npos);
  EXPECT_NE(text.find("error number 3"), std::string::npos);
}

TEST_F(LogTest, WritesNothingWhenOff) {
  set_level(Level::kOff);
  ::testing::internal::CaptureStderr();
  error("lost");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(LogTest, AnEventCannotForgeASecondLine) {
  ::testing::internal::CaptureStderr();
  info("user {}", "a\r\nb\x1B[2J");
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_NE(text.find("user a\\x0d\\x0ab\\x1b[2J"), std::string::npos);
}

}  // namespace
}  // namespace hearth::log
