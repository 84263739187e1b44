#include "tokenizer/regex.h"

#include <gtest/gtest.h>

#include <stop_token>
#include <string>
#include <vector>

#include "tokenizer/regex_syntax.h"

namespace hearth {
namespace {

using Texts = std::vector<std::string>;

Texts matches_of(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.has_value()) << regex.error().to_string();
  Texts found;
  if (!regex) return found;
  RegexScratch scratch;
  for (RegexMatches matches(*regex, text, scratch); matches.next();)
    found.emplace_back(text.substr(matches.begin(), matches.end() - matches.begin()));
  return found;
}

// What Oniguruma finds (by `tokenizers`).
TEST(RegexTest, MatchesAsOnigurumaDoes) {
  EXPECT_EQ(matches_of("a$", "a\nb a\n"), (Texts{"a", "a"}));
  EXPECT_EQ(matches_of("^b", "a\nb"), (Texts{"b"}));
  EXPECT_EQ(matches_of(".", "a\r\n\xC2\x85"), (Texts{"a", "\r", "\xC2\x85"}));
  EXPECT_EQ(matches_of("x*", "abxxc"), (Texts{"", "", "xx", ""}));
  EXPECT_EQ(matches_of("\\w+", "a\xCC\x81_\xC2\xB2-b"), (Texts{"a\xCC\x81_\xC2\xB2", "b"}));
  EXPECT_EQ(matches_of("\\h+", "xAf09g"), (Texts{"Af09"}));
  EXPECT_EQ(matches_of("a{,2}b", "aaab"), (Texts{"aab"}));
  EXPECT_EQ(matches_of("a{", "aa{"), (Texts{"a{"}));
  EXPECT_EQ(matches_of("\\bfoo\\b", "foo food xfoo foo"), (Texts{"foo", "foo"}));
  EXPECT_EQ(matches_of("\\b.", "\xC2\xB2\xC2\xBD \xE2\x81\xB4"), (Texts{"\xC2\xB2", " "}));
  EXPECT_EQ(matches_of("[^\\S\\n]+", "a \t\nb"), (Texts{" \t"}));
  EXPECT_EQ(matches_of("\\p{Han}+", "\xE6\xBC\xA2\xE3\x83\xBC"), (Texts{"\xE6\xBC\xA2"}));
  EXPECT_EQ(matches_of("\\p{^L}", "a1"), (Texts{"1"}));
  EXPECT_EQ(matches_of("\\u0041|\\x{42}", "ABC"), (Texts{"A", "B"}));
  EXPECT_EQ(matches_of("(?i)ab", "aBAb"), (Texts{"aB", "Ab"}));
  EXPECT_EQ(matches_of(escape_regex("a.b[{-"), "axb[{- a.b[{-"), (Texts{"a.b[{-"}));
}

TEST(RegexTest, RefusesWhatItCannotTranslate) {
  for (const std::string_view pattern :
       {"[a&&b]",  "[a[b]]", "a{1,2}+", "\\K",    "\\G",    "\\X",      "\\1",
        "(?<n>a)", "(?#x)",  "(*FAIL)", "a(?i)b", "[\\W]",  "\\xE9",    "\\p{Script=Han}",
        "\\pL",    "\\",     "[a",      "(?m:a)", "a{513}", "a{2,1000}"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.has_value()) << pattern;
    EXPECT_EQ(regex.error().code(), StatusCode::kUnimplemented) << pattern;
  }
  EXPECT_EQ(Regex::compile("(a").error().code(), StatusCode::kDataLoss);
  EXPECT_EQ(Regex::compile(std::string(20000, 'a')).error().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(Regex::compile("(?:a|a)*b|(?:a+)+c").error().code(), StatusCode::kOutOfRange);
}

// A search looks at a piece of the text first; where it ends must not show.
TEST(RegexTest, MatchesAreThoseOfTheWholeText) {
  for (std::size_t length = 120; length < 300; length += 3) {
    const std::string run(length, 'a');
    EXPECT_EQ(matches_of("a+$", run + "b"), Texts());
    EXPECT_EQ(matches_of("a+\\Z", run + "\n\n"), Texts());
    EXPECT_EQ(matches_of("a+\\Z", run + "\n"), (Texts{run}));
    EXPECT_EQ(matches_of("a\n^", run + "\nb"), (Texts{"a\n"}));
    EXPECT_EQ(matches_of("a\n^", run + "\n"), Texts());
    EXPECT_EQ(matches_of("\\b|x+", run + "xxb"), (Texts{"", "xx", ""}));
    EXPECT_EQ(matches_of("(?<=a)x*b|\xC3\xA9+", run + "xb\xC3\xA9"), (Texts{"xb", "\xC3\xA9"}));
    EXPECT_EQ(matches_of("(?:a|b)+(?!c)", run + "bc"), (Texts{run}));
    EXPECT_EQ(matches_of("c*", run), Texts(length + 1));
  }
}

// The effort of all searches in a text is bounded, not that of each.
TEST(RegexTest, GivesUpWhenItsSearchesTogetherCostTooMuch) {
  const std::string text(100'000, 'b');
  for (const std::string_view pattern : {"(?=.*c)b|b", "b*b*[cd]|b", "b*b*[cd]"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_TRUE(regex.has_value()) << regex.error().to_string();
    RegexScratch scratch;
    std::size_t num_matches = 0;
    for (RegexMatches matches(*regex, text, scratch); matches.next();)
      ++num_matches;
    EXPECT_TRUE(scratch.gave_up()) << pattern;
    EXPECT_LT(num_matches, text.size()) << pattern;
  }
}

TEST(RegexTest, LongMatchesOfPlainExpressionsCostLittle) {
  const std::string text = std::string(1'000'000, 'b') + std::string(1'000'000, ' ') + "x";
  const auto regex = Regex::compile("\\p{L}+|\\s+(?!\\S)|\\s+");
  ASSERT_TRUE(regex.has_value()) << regex.error().to_string();
  RegexScratch scratch;
  std::size_t num_matches = 0;
  for (RegexMatches matches(*regex, text, scratch); matches.next();)
    ++num_matches;
  EXPECT_FALSE(scratch.gave_up());
  EXPECT_EQ(num_matches, 4u);
}

TEST(RegexTest, ARequestToStopEndsTheSearches) {
  const auto regex = Regex::compile("a");
  ASSERT_TRUE(regex.has_value()) << regex.error().to_string();
  std::stop_source source;
  RegexScratch scratch(source.get_token());
  RegexMatches matches(*regex, "aaa", scratch);
  EXPECT_TRUE(matches.next());
  source.request_stop();
  EXPECT_FALSE(matches.next());
  EXPECT_FALSE(scratch.gave_up());
}

TEST(RegexTest, MessagesShowTheBeginningOfALongPattern) {
  const std::string long_pattern = std::string(500, 'a');
  for (const std::string_view end : {"(", "\\K"}) {
    const auto refused = Regex::compile(long_pattern + std::string(end));
    ASSERT_FALSE(refused.has_value());
    EXPECT_TRUE(refused.error().message().contains(std::string(80, 'a') + "...'"));
    EXPECT_LT(refused.error().message().size(), 200u) << refused.error().message();
  }
}

}  // namespace
}  // namespace hearth
