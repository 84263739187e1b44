#include "tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace hearth {
namespace {

PreTokenizer::Visit collect(std::vector<std::string_view>& words) {
  return [&words](std::string_view word) {
    words.push_back(word);
    return true;
  };
}

std::vector<std::string> split_by(std::string_view scheme_name, std::string_view text) {
  const PreTokenizerScheme* scheme = find_pretokenizer_scheme(scheme_name);
  EXPECT_NE(scheme, nullptr) << scheme_name;
  std::vector<std::string_view> words;
  RegexScratch scratch;
  PreTokenizer::create(scheme->steps())->split({.text = text}, scratch, collect(words));
  return {words.begin(), words.end()};
}

using Words = std::vector<std::string>;

TEST(PreTokenizerTest, NamesAreUniqueAndEveryPatternCompiles) {
  std::set<std::string_view> names;
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    for (const std::string_view name : scheme.names) {
      EXPECT_TRUE(names.insert(name).second) << name;
      EXPECT_EQ(find_pretokenizer_scheme(name), &scheme);
    }
    const auto splitter = PreTokenizer::create(scheme.steps());
    EXPECT_TRUE(splitter.has_value()) << scheme.names.front();
  }
  EXPECT_EQ(find_pretokenizer_scheme("no-such"), nullptr);
}

TEST(PreTokenizerTest, SplitsWordsDigitsAndContractions) {
  EXPECT_EQ(split_by("gpt-2", "It's 2024  ok"), (Words{"It", "'s", " 2024", " ", " ok"}));
  EXPECT_EQ(split_by("smollm", " 42x"), (Words{" ", "4", "2", "x"}));
  EXPECT_EQ(split_by("llama-bpe", "IT'S 12345!\n\n"),
            (Words{"IT", "'S", " ", "123", "45", "!\n\n"}));
  EXPECT_EQ(split_by("tekken", "HTTPServer"), (Words{"HTTPServer"}));
  EXPECT_EQ(split_by("gpt-4o", "camelCase's"), (Words{"camel", "Case's"}));
  EXPECT_EQ(split_by("jais-2", "a      1234"), (Words{"a", "    ", " ", " ", "123", "4"}));
}

TEST(PreTokenizerTest, WhiteSpaceIsTheUnicodeProperty) {
  // U+180E is no white space, U+0085 and U+3000 are.
  EXPECT_EQ(split_by("gpt-2",
                     "a\xE1\xA0\x8E"
                     "b"),
            (Words{"a", "\xE1\xA0\x8E", "b"}));
  EXPECT_EQ(split_by("gpt-2", "a\xC2\x85\xE3\x80\x80 b"),
            (Words{"a", "\xC2\x85\xE3\x80\x80", " b"}));
}

TEST(PreTokenizerTest, WordsTogetherAreTheText) {
  // Long runs of everything that some expression looks past before it gives up.
  const std::vector<std::string> runs = {std::string(200'000, ' '),  std::string(200'000, 'A'),
                                         std::string(200'000, 'a'),  std::string(200'000, '7'),
                                         std::string(200'000, '\n'), std::string(200'000, '!'),
                                         std::string(200'000, '\'')};
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    const auto splitter = PreTokenizer::create(scheme.steps());
    for (const std::string& run : runs) {
      const std::string text = run + "x " + run + "\xC3\xA9";
      std::vector<std::string_view> words;
      RegexScratch scratch;
      splitter->split({.text = text}, scratch, collect(words));
      std::string joined;
      for (const std::string_view word : words) {
        EXPECT_FALSE(word.empty());
        joined += word;
      }
      EXPECT_TRUE(joined == text) << scheme.names.front() << " " << run.front();
    }
  }
}

TEST(PreTokenizerTest, EndsWhenTheVisitorWantsNoMore) {
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    const auto splitter = PreTokenizer::create(scheme.steps());
    int num_visited = 0;
    RegexScratch scratch;
    splitter->split({.text = "one, two 34 five\n six"}, scratch,
                    [&num_visited](std::string_view) { return ++num_visited < 3; });
    EXPECT_EQ(num_visited, 3) << scheme.names.front();
  }
}

TEST(PreTokenizerTest, EmptyTextHasNoWords) {
  EXPECT_TRUE(split_by("gpt-2", "").empty());
}

}  // namespace
}  // namespace hearth
