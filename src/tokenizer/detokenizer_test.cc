#include "tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "tests/support/tokenizer_tables.h"

namespace hearth {
namespace {

// Bytes, and some tokens that cut the alphabet of the property tests in every way.
std::unique_ptr<Tokenizer> make_tokenizer() {
  test::TokenizerTables tables = test::byte_tables();
  for (const char* token : {"ab", "aab", "ba", "bab", "abcab", "cab"})
    tables.add(token);
  tables.add("<|im_end|>", test::kControlType);
  return *Tokenizer::create(tables.metadata());
}

struct Answer {
  std::string text;
  std::vector<std::string> pieces;
  std::optional<std::size_t> stop;
};

Answer run(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
           DetokenizerOptions options = {}) {
  Detokenizer detokenizer(tokenizer, std::move(options));
  Answer answer;
  for (const TokenId id : ids)
    answer.pieces.push_back(detokenizer.push(id));
  answer.pieces.push_back(detokenizer.finish());
  answer.stop = detokenizer.matched_stop();
  for (const std::string& piece : answer.pieces)
    answer.text += piece;
  return answer;
}

std::vector<TokenId> bytes(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text)
    ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

// `text` cut into vocabulary entries at random.
std::vector<TokenId> random_tokens(const Tokenizer& tokenizer, std::string_view text,
                                   std::mt19937& random) {
  std::vector<TokenId> ids;
  while (!text.empty()) {
    std::size_t length = std::min<std::size_t>(text.size(), 1 + random() % 5);
    std::optional<TokenId> id;
    for (; length > 1; --length) {
      id = tokenizer.find_piece(text.substr(0, length));
      if (id && *id > 255) break;  // Below are bytes, whose spelling is not what they stand for.
    }
    ids.push_back(length > 1 ? *id : static_cast<unsigned char>(text.front()));
    text.remove_prefix(length);
  }
  return ids;
}

// What the answer must be, found by looking at each end position in turn.
Answer expected_answer(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::size_t> longest;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      if (!std::string_view(text).substr(0, end).ends_with(stops[i])) continue;
      if (!longest || stops[i].size() > stops[*longest].size()) longest = i;
    }
    if (longest) {
      return {.text = text.substr(0, end - stops[*longest].size()), .pieces = {}, .stop = longest};
    }
  }
  return {.text = text, .pieces = {}, .stop = std::nullopt};
}

TEST(DetokenizerTest, HoldsBackIncompleteCodePoints) {
  const auto tokenizer = make_tokenizer();
  const Answer answer = run(*tokenizer, bytes("a\xE2\x82\xAC"
                                              "b"));
  EXPECT_EQ(answer.pieces, (std::vector<std::string>{"a", "", "", "\xE2\x82\xAC", "b", ""}));
}

TEST(DetokenizerTest, BytesThatCannotBecomeTextAreReplaced) {
  const auto tokenizer = make_tokenizer();
  for (const char* text :
       {"a\xFF"
        "b",
        "\xE2\x82",
        "\xE2\x82"
        "a",
        "\xF0\x9F\x98", "\xED\xA0\x80", "\xC3\xC3\xA9", "\xF0\x9F\xF0\x9F\x98\x80"}) {
    EXPECT_EQ(run(*tokenizer, bytes(text)).text, utf8::sanitize(text));
  }
}

TEST(DetokenizerTest, EveryPieceIsValidUtf8AndTheyAddUpToTheText) {
  const auto tokenizer = make_tokenizer();
  std::mt19937 random(3);
  const std::string alphabet = "ab\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF";
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = 0; i < 24; ++i)
      text.push_back(alphabet[random() % alphabet.size()]);
    const Answer answer = run(*tokenizer, bytes(text));
    EXPECT_EQ(answer.text, utf8::sanitize(text));
    for (const std::string& piece : answer.pieces)
      EXPECT_TRUE(utf8::is_valid(piece));
  }
}

TEST(DetokenizerTest, StopStringsAreFoundHoweverTheTextIsCut) {
  const auto tokenizer = make_tokenizer();
  std::mt19937 random(11);
  const std::vector<std::vector<std::string>> stop_sets = {{"abab"},
                                                           {"aab", "ab"},
                                                           {"abcab", "bc"},
                                                           {"cabab", "ba", "abc"},
                                                           {"aaaa", "aaab"},
                                                           {"b\xC3\xA9", "\xC3\xA9\xC3\xA9"},
                                                           {"abc", "abc"},
                                                           {"babab", "abaa"},
                                                           {"\xC3\xA9"
                                                            "aab",
                                                            "c"}};
  const std::vector<std::string> alphabet = {"a", "b", "a", "b", "c", "\xC3\xA9"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    const std::size_t length = random() % 16;
    for (std::size_t i = 0; i < length; ++i)
      text += alphabet[random() % alphabet.size()];
    const auto& stops = stop_sets[random() % stop_sets.size()];
    const Answer expected = expected_answer(text, stops);
    const Answer answer = run(*tokenizer, random_tokens(*tokenizer, text, random), {.stop = stops});
    EXPECT_EQ(answer.text, expected.text) << text;
    EXPECT_EQ(answer.stop, expected.stop) << text;
    const Answer shown = run(*tokenizer, random_tokens(*tokenizer, text, random),
                             {.stop = stops, .include_stop_in_output = true});
    EXPECT_EQ(shown.text, expected.text + (expected.stop ? stops[*expected.stop] : "")) << text;
  }
}

TEST(DetokenizerTest, EmitsTextAsSoonAsItIsSafe) {
  const auto tokenizer = make_tokenizer();
  const Answer answer = run(*tokenizer, bytes("xabaxab"), {.stop = {"abc"}});
  EXPECT_EQ(answer.pieces, (std::vector<std::string>{"x", "", "", "ab", "ax", "", "", "ab"}));
  EXPECT_EQ(answer.stop, std::nullopt);
}

TEST(DetokenizerTest, NothingComesAfterAStop) {
  const auto tokenizer = make_tokenizer();
  const Answer answer = run(*tokenizer, bytes("ab--cd"), {.stop = {"--"}});
  EXPECT_EQ(answer.text, "ab");
  EXPECT_EQ(answer.stop, 0u);
}

TEST(DetokenizerTest, AnIncompleteCodePointAtTheEndMayCompleteAStop) {
  const auto tokenizer = make_tokenizer();
  const Answer answer = run(*tokenizer, bytes("a\xE2\x82"), {.stop = {"\xEF\xBF\xBD"}});
  EXPECT_EQ(answer.text, "a");
  EXPECT_EQ(answer.stop, 0u);
}

TEST(DetokenizerTest, ControlTokensShowOnlyOnRequest) {
  const auto tokenizer = make_tokenizer();
  const TokenId im_end = *tokenizer->find_piece("<|im_end|>");
  EXPECT_EQ(run(*tokenizer, {'a', im_end, 'b'}).text, "ab");
  EXPECT_EQ(run(*tokenizer, {'a', im_end, 'b'}, {.render_control = true}).text, "a<|im_end|>b");
}

TEST(DetokenizerTest, DropsOneLeadingSpaceOnRequest) {
  const auto tokenizer = make_tokenizer();
  const TokenId im_end = *tokenizer->find_piece("<|im_end|>");
  EXPECT_EQ(run(*tokenizer, {im_end, ' ', ' ', 'a'}, {.skip_leading_space = true}).text, " a");
  EXPECT_EQ(run(*tokenizer, {'a', ' ', 'b'}, {.skip_leading_space = true}).text, "a b");
  EXPECT_EQ(run(*tokenizer, {' ', 'b'}).text, " b");
}

TEST(DetokenizerTest, CountsTheTokenBytesItsTextStandsFor) {
  const auto tokenizer = make_tokenizer();
  const auto released = [&](const std::vector<TokenId>& ids, DetokenizerOptions options) {
    Detokenizer detokenizer(*tokenizer, std::move(options));
    for (const TokenId id : ids)
      detokenizer.push(id);
    return detokenizer.num_bytes_released();
  };
  EXPECT_EQ(released({' ', 'a'}, {.skip_leading_space = true}), 2U);
  EXPECT_EQ(released({' '}, {.skip_leading_space = true}), 0U);
  EXPECT_EQ(released({0xFF, 0xFE, 'a'}, {}), 3U);  // Nine bytes of text before the one of "a".
  EXPECT_EQ(released({'a', 0xE2, 0x82}, {}), 1U);
  EXPECT_EQ(released(bytes("axyz"), {.stop = {"xyzq"}}), 1U);
  EXPECT_EQ(released(bytes("axyzb"), {.stop = {"xyz"}}), 1U);
  EXPECT_EQ(released(bytes("axyzb"), {.stop = {"xyz"}, .include_stop_in_output = true}), 4U);
}

}  // namespace
}  // namespace hearth
