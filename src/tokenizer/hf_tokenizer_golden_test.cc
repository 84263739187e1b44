// tokenizer.json files against Hugging Face `tokenizers`, and GGUF's encoders against their
// references (tools/golden/make_hf_tokenizer_golden.py).
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/model_file.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/hf_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

constexpr char kGoldenPath[] = "tests/golden/tokenizer/";

json::Value read_golden(const std::string& name) {
  const auto text = read_text_file(std::string(kGoldenPath) + name, 1u << 20);
  EXPECT_TRUE(text.has_value()) << name;
  return text ? json::parse(*text).value_or(json::Value()) : json::Value();
}

const json::Array& list(const json::Value& object, std::string_view key) {
  return *object.as_object()->find(key)->as_array();
}

// The cases of a test: without any it would prove nothing.
const json::Array& filled_list(const json::Value& object, std::string_view key) {
  const json::Array& entries = list(object, key);
  EXPECT_FALSE(entries.empty()) << key;
  return entries;
}

const std::string& text_of(const json::Value& entry, std::string_view key) {
  return *entry.as_object()->find(key)->as_string();
}

template <typename T>
std::vector<T> integers(const json::Value& entry, std::string_view key) {
  std::vector<T> out;
  for (const json::Value& value : list(entry, key)) {
    std::int64_t number = 0;
    EXPECT_TRUE(value.to_int64(number));
    out.push_back(static_cast<T>(number));
  }
  return out;
}

void expect_pairs(const Tokenizer& tokenizer, const json::Array& pairs) {
  for (const json::Value& entry : pairs) {
    const EncodedPair pair = tokenizer.encode_pair(text_of(entry, "text"), text_of(entry, "second"),
                                                   SpecialText::kParse);
    EXPECT_EQ(pair.ids, integers<TokenId>(entry, "ids")) << json::dump(entry);
    EXPECT_EQ(pair.type_ids, integers<std::uint8_t>(entry, "type_ids")) << json::dump(entry);
  }
}

class HfGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string stem = std::string("hf/") + GetParam();
    auto loaded = load_hf_tokenizer(kGoldenPath + stem + ".json");
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    tokenizer_ = *std::move(loaded);
    golden_ = read_golden(stem + ".golden.json");
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  json::Value golden_;
};

TEST_P(HfGoldenTest, GivesTheIdsOfTheReference) {
  for (const json::Value& entry : filled_list(golden_, "cases")) {
    EXPECT_EQ(tokenizer_->encode(text_of(entry, "text"), true, SpecialText::kParse),
              integers<TokenId>(entry, "ids"))
        << json::dump(entry);
  }
}

TEST_P(HfGoldenTest, GivesTheIdsOfTwoTexts) {
  expect_pairs(*tokenizer_, filled_list(golden_, "pairs"));
}

TEST_P(HfGoldenTest, DecodesAsTheReference) {
  for (const json::Value& entry : filled_list(golden_, "decoded")) {
    const auto ids = integers<TokenId>(entry, "ids");
    EXPECT_EQ(json::dump(tokenizer_->decode(ids, false)), json::dump(text_of(entry, "text")))
        << json::dump(entry);
  }
}

TEST_P(HfGoldenTest, DecodesTokenByTokenAsAtOnce) {
  for (const json::Value& entry : filled_list(golden_, "decoded")) {
    const auto ids = integers<TokenId>(entry, "ids");
    Detokenizer detokenizer(*tokenizer_, {});
    std::string streamed;
    std::string bytes;
    for (const TokenId id : ids) {
      streamed += detokenizer.push(id);
      bytes += tokenizer_->token_bytes(id, false);
    }
    streamed += detokenizer.finish();
    EXPECT_EQ(json::dump(streamed), json::dump(bytes));
  }
}

// A text never has more tokens than this bound says at the least.
TEST_P(HfGoldenTest, TheLowerBoundHolds) {
  for (const json::Value& entry : filled_list(golden_, "cases")) {
    const TextSpan span{.text = text_of(entry, "text"), .special = SpecialText::kParse};
    const std::size_t num_ids = tokenizer_->encode(std::span(&span, 1), false).size();
    EXPECT_LE(tokenizer_->min_tokens(std::span(&span, 1)), num_ids) << json::dump(entry);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, HfGoldenTest,
                         testing::Values("byte_level", "falcon_like", "byte_fallback",
                                         "unknown_bpe", "unigram", "unigram_bytes", "wordpiece",
                                         "wordpiece_cased", "whitespace"),
                         [](const auto& param_info) { return std::string(param_info.param); });

std::unique_ptr<Tokenizer> load_gguf(const std::string& name) {
  const auto file = ModelFile::open(std::string(kGoldenPath) + name);
  EXPECT_TRUE(file.has_value()) << file.error().to_string();
  if (!file) return nullptr;
  auto made = Tokenizer::load(*file);
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
  return made ? *std::move(made) : nullptr;
}

TEST(GgufEncoderGoldenTest, UnigramWithItsNormalizationTable) {
  const auto tokenizer = load_gguf("small_unigram.gguf");
  ASSERT_NE(tokenizer, nullptr);
  const json::Value golden = read_golden("small_unigram.json");
  for (const json::Value& entry : filled_list(golden, "plain")) {
    EXPECT_EQ(tokenizer->encode(text_of(entry, "text"), false, SpecialText::kPlain),
              integers<TokenId>(entry, "ids"))
        << json::dump(entry);
  }
  const std::vector<TokenId> ids = tokenizer->encode("a", true, SpecialText::kPlain);
  EXPECT_EQ(ids.back(), tokenizer->special().eos);
}

TEST(GgufEncoderGoldenTest, WordPiece) {
  const auto tokenizer = load_gguf("small_wordpiece.gguf");
  ASSERT_NE(tokenizer, nullptr);
  const json::Value golden = read_golden("small_wordpiece.json");
  for (const json::Value& entry : filled_list(golden, "parsed")) {
    EXPECT_EQ(tokenizer->encode(text_of(entry, "text"), true, SpecialText::kParse),
              integers<TokenId>(entry, "ids"))
        << json::dump(entry);
  }
  expect_pairs(*tokenizer, filled_list(golden, "pairs"));
}

}  // namespace
}  // namespace hearth
