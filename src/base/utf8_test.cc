#include "base/utf8.h"

#include <gtest/gtest.h>

namespace hearth::utf8 {
namespace {

TEST(Utf8, DecodesTheFirstAndLastCodePointOfEveryLength) {
  const std::vector<std::pair<std::string, char32_t>> cases = {
      {std::string(1, '\0'), 0x0},
      {"\x7F", 0x7F},
      {"\xC2\x80", 0x80},
      {"\xDF\xBF", 0x7FF},
      {"\xE0\xA0\x80", 0x800},
      {"\xED\x9F\xBF", 0xD7FF},
      {"\xEE\x80\x80", 0xE000},
      {"\xEF\xBF\xBF", 0xFFFF},
      {"\xF0\x90\x80\x80", 0x10000},
      {"\xF4\x8F\xBF\xBF", 0x10FFFF},
  };
  for (const auto& [bytes, code_point] : cases) {
    const Decoded decoded = decode(bytes + "x");
    EXPECT_TRUE(decoded.valid);
    EXPECT_EQ(decoded.code_point, code_point);
    EXPECT_EQ(decoded.length, bytes.size());
    std::string encoded;
    append(encoded, code_point);
    EXPECT_EQ(encoded, bytes);
  }
}

TEST(Utf8, EveryCodePointSurvivesEncodingAndDecoding) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    append(text, c);
    const Decoded decoded = decode(text);
    ASSERT_TRUE(decoded.valid && decoded.code_point == c && decoded.length == text.size())
        << std::hex << static_cast<std::uint32_t>(c);
  }
}

TEST(Utf8, EncodesSurrogatesAndTooLargeValuesAsReplacement) {
  for (const char32_t c : {char32_t{0xD800}, char32_t{0xDFFF}, char32_t{0x110000}}) {
    std::string text;
    append(text, c);
    EXPECT_EQ(text, "\xEF\xBF\xBD");
  }
}

TEST(Utf8, ReplacesMaximalSubpartsAsInUnicodeTable3_8) {
  // Rows of tables 3-8 to 3-11 of the Unicode standard.
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(sanitize("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(sanitize("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(sanitize("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(sanitize("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(first_invalid("a\xC3\xA9z"), std::string_view::npos);
  EXPECT_EQ(first_invalid("a\xC3\xA9\x80z"), 3u);
  EXPECT_EQ(first_invalid("ab\xE2\x82"), 2u);
  EXPECT_TRUE(is_valid(""));
  EXPECT_FALSE(is_valid("\xFF"));
}

TEST(Utf8, TurnsTextIntoCodePointsWithReplacement) {
  EXPECT_EQ(to_code_points("a\xE2\x82\xAC\xFF"),
            (std::vector<char32_t>{U'a', U'\u20AC', kReplacement}));
}

TEST(Utf8, HoldsBackOnlySuffixesThatCanStillBecomeValid) {
  EXPECT_EQ(incomplete_suffix_length(""), 0u);
  EXPECT_EQ(incomplete_suffix_length("abc"), 0u);
  EXPECT_EQ(incomplete_suffix_length("a\xC3"), 1u);
  EXPECT_EQ(incomplete_suffix_length("a\xC3\xA9"), 0u);
  EXPECT_EQ(incomplete_suffix_length("\xE2\x82"), 2u);
  EXPECT_EQ(incomplete_suffix_length("\xF0\x9F\x98"), 3u);
  EXPECT_EQ(incomplete_suffix_length("\xF0\x9F\x98\x80"), 0u);
  EXPECT_EQ(incomplete_suffix_length("\xE0\x80"), 0u);  // Overlong: nothing can save it.
  EXPECT_EQ(incomplete_suffix_length("\xED\xA0"), 0u);  // A surrogate.
  EXPECT_EQ(incomplete_suffix_length("\xF5"), 0u);
  EXPECT_EQ(incomplete_suffix_length("\x80\x80\x80"), 0u);
}

TEST(Utf8, AnyCutOfAValidTextHoldsBackExactlyTheCutCharacter) {
  const std::string text = "x\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80y";
  std::size_t boundary = 0;
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    if (cut == text.size() || (static_cast<unsigned char>(text[cut]) & 0xC0) != 0x80)
      boundary = cut;
    EXPECT_EQ(incomplete_suffix_length(std::string_view(text).substr(0, cut)), cut - boundary);
  }
}

}  // namespace
}  // namespace hearth::utf8
