#include "tokenizer/normalizer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace hearth {
namespace {

std::string apply(std::vector<NormalizerStep> steps, std::string_view text) {
  const auto made = Normalizer::create(std::move(steps));
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
  RegexScratch scratch;
  return made ? made->apply(text, scratch, false).text : std::string();
}

TEST(NormalizerTest, EachStep) {
  EXPECT_EQ(apply({LowercaseStep{}}, "A\xC4\xB0\xC3\x89z"), "ai\xCC\x87\xC3\xA9z");
  EXPECT_EQ(apply({StripMarksStep{}}, "e\xCC\x81\xE0\xA4\xBE"), "e");
  EXPECT_EQ(apply({StripMarksStep{.only_nonspacing = true}}, "e\xCC\x81\xE0\xA4\xBE"),
            "e\xE0\xA4\xBE");
  EXPECT_EQ(apply({CleanTextStep{}}, std::string_view("a\0\x01\tb\xC2\xA0\xEF\xBF\xBD", 9)),
            "a b ");
  EXPECT_EQ(apply({SpaceIdeographsStep{}}, "a\xE4\xBD\xA0"), "a \xE4\xBD\xA0 ");
  EXPECT_EQ(apply({ReplaceStep{.pattern = " +", .content = "_"}}, "a  b c"), "a_b_c");
  EXPECT_EQ(apply({PrependStep{.text = "_"}}, "a"), "_a");
  EXPECT_EQ(apply({PrependStep{.text = "_"}}, ""), "");
  EXPECT_EQ(apply({StripStep{.left = true}}, "\xC2\xA0 a "), "a ");
  EXPECT_EQ(apply({StripStep{.left = true, .right = true}}, " \n "), "");
  EXPECT_EQ(apply({CollapseSpacesStep{}}, "  a   b "), "a b");
  EXPECT_EQ(apply({NmtStep{}}, "a\x01\xE2\x80\x8B\x7F"), "a ");
  EXPECT_EQ(apply({FormStep{.form = UnicodeForm::kKC}}, "a\xEF\xAC\x81 e\xCC\x81"), "afi \xC3\xA9");
}

TEST(NormalizerTest, OriginsPointIntoTheRawText) {
  auto made = Normalizer::create({PrependStep{.text = "__"}, FormStep{.form = UnicodeForm::kC},
                                  ReplaceStep{.pattern = "b", .content = "xyz"}});
  ASSERT_TRUE(made.has_value());
  RegexScratch scratch;
  const NormalizedText normalized = made->apply(
      "e\xCC\x81"
      "bc",
      scratch, true);
  EXPECT_EQ(normalized.text, "__\xC3\xA9xyzc");
  EXPECT_EQ(normalized.origins, (std::vector<std::uint32_t>{0, 0, 0, 0, 3, 3, 3, 4, 5}));
}

TEST(NormalizerTest, SaysWhatItMayDrop) {
  const auto identity = Normalizer::create({});
  EXPECT_EQ(identity->max_shrinking("a"), 1u);
  const auto lower = Normalizer::create({CleanTextStep{}});
  EXPECT_FALSE(lower->max_shrinking("a").has_value());
  const auto form = Normalizer::create({FormStep{}});
  EXPECT_EQ(form->max_shrinking("e\xCC\x81"), kMaxFormShrinking);
}

// One entry: "a" to "bc". A unit of the trie: offset << 10 | leaf << 8 | label.
std::string one_entry_table() {
  std::vector<std::uint32_t> units(256, 0xFF);
  units[0] = 1u << 10;                        // The root's children are at 1 ^ label.
  units[1 ^ 'a'] = (2u << 10) | 0x100 | 'a';  // Its value is at (1 ^ 'a') ^ 2.
  units[(1 ^ 'a') ^ 2] = 0x8000'0000u;        // Offset 0 of the texts.
  std::string blob;
  const auto put = [&blob](std::uint32_t word) {
    blob.append(reinterpret_cast<const char*>(&word), sizeof(word));
  };
  put(static_cast<std::uint32_t>(units.size() * sizeof(std::uint32_t)));
  for (const std::uint32_t unit : units)
    put(unit);
  return blob + std::string("bc\0", 3);
}

TEST(CharsMapTest, ReplacesAndRefusesBrokenTables) {
  const std::string blob = one_entry_table();
  auto map = CharsMap::parse(blob);
  ASSERT_TRUE(map.has_value()) << map.error().to_string();
  const auto shared = std::make_shared<const CharsMap>(*std::move(map));
  EXPECT_EQ(apply({CharsMapStep{.map = shared}}, "xaa"), "xbcbc");
  EXPECT_EQ(apply({CharsMapStep{.map = shared, .matching = CharsMapStep::Matching::kGraphemes}},
                  "xa\xCC\x81"),
            "xbc");
  for (std::size_t size = 0; size < 1028; size += 13)
    EXPECT_FALSE(CharsMap::parse(std::string_view(blob).substr(0, size)).has_value()) << size;
  std::string oversized = blob + std::string(2000, 'x');
  EXPECT_EQ(CharsMap::parse(oversized).error().code(), StatusCode::kOutOfRange);
  EXPECT_FALSE(CharsMap::parse(blob + "\xFF").has_value());
}

TEST(CharsMapTest, ReadsBase64) {
  EXPECT_EQ(decode_base64("aGVhcnRo").value(), "hearth");
  EXPECT_EQ(decode_base64("aGVhcnQ=").value(), "heart");
  EXPECT_EQ(decode_base64("aGVhcg==").value(), "hear");
  EXPECT_FALSE(decode_base64("aGVhcg=").has_value());
  EXPECT_FALSE(decode_base64("a*Vh").has_value());
}

}  // namespace
}  // namespace hearth
