#include "tokenizer/regex.h"

#include <gtest/gtest.h>

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
       {"[a&&b]", "[a[b]]", "a{1,2}+", "\\K", "\\G", "\\X", "\\1", "(?<n>a)", "(?#x)", "(*FAIL)",
        "a(?i)b", "[\\W]", "\\xE9", "\\p{Script=Han}", "\\pL", "\\", "[a", "(?m:a)"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.has_value()) << pattern;
    EXPECT_EQ(regex.error().code(), StatusCode::kUnimplemented) << pattern;
  }
  EXPECT_EQ(Regex::compile("(a").error().code(), StatusCode::kDataLoss);
  EXPECT_EQ(Regex::compile(std::string(20000, 'a')).error().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(Regex::compile("(?:a|a)*b|(?:a+)+c").error().code(), StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace hearth
