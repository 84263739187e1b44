// Ids against the reference implementations (tools/golden/make_tokenizer_golden.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/model_file.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

constexpr char kGoldenPath[] = "tests/golden/tokenizer/";
constexpr char kModelPath[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

json::Value read_golden(const std::string& name) {
  const auto text = read_text_file(std::string(kGoldenPath) + name, 1u << 20);
  EXPECT_TRUE(text.has_value()) << name;
  return text ? json::parse(*text).value_or(json::Value()) : json::Value();
}

const json::Array& list(const json::Value& object, std::string_view key) {
  return *object.as_object()->find(key)->as_array();
}

template <typename T>
std::vector<T> integers(const json::Value& array) {
  std::vector<T> out;
  for (const json::Value& value : *array.as_array()) {
    std::int64_t number = 0;
    EXPECT_TRUE(value.to_int64(number));
    out.push_back(static_cast<T>(number));
  }
  return out;
}

struct LoadedModel {
  std::optional<ModelFile> file;
  TokenizerMetadata metadata;

  explicit LoadedModel(const std::string& path) {
    auto opened = ModelFile::open(path);
    EXPECT_TRUE(opened.has_value()) << opened.error().to_string();
    if (!opened) return;
    file.emplace(*std::move(opened));
    auto read = read_tokenizer_metadata(*file);
    EXPECT_TRUE(read.has_value()) << read.error().to_string();
    if (read) metadata = *std::move(read);
  }
  std::unique_ptr<Tokenizer> tokenizer() const {
    auto made = Tokenizer::create(metadata);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return made ? *std::move(made) : nullptr;
  }
};

void expect_ids(const Tokenizer& tokenizer, const json::Array& cases, SpecialText special) {
  ASSERT_FALSE(cases.empty());
  for (const json::Value& entry : cases) {
    const std::string& text = *entry.as_object()->find("text")->as_string();
    const auto expected = integers<TokenId>(*entry.as_object()->find("ids"));
    EXPECT_EQ(tokenizer.encode(text, false, special), expected) << json::dump(text);
  }
}

TEST(TokenizerGoldenTest, RealVocabularyGivesTheIdsOfHuggingFace) {
  const LoadedModel model(kModelPath);
  const auto tokenizer = model.tokenizer();
  ASSERT_NE(tokenizer, nullptr);
  const json::Value golden = read_golden("smollm2.json");
  expect_ids(*tokenizer, list(golden, "plain"), SpecialText::kPlain);
  expect_ids(*tokenizer, list(golden, "parsed"), SpecialText::kParse);
  EXPECT_EQ(tokenizer->description(), "byte-level BPE (smollm)");
  EXPECT_EQ(tokenizer->vocab_size(), 49152u);
}

TEST(TokenizerGoldenTest, RealVocabularyDecodesWhatItEncoded) {
  const LoadedModel model(kModelPath);
  const auto tokenizer = model.tokenizer();
  ASSERT_NE(tokenizer, nullptr);
  const json::Value golden = read_golden("smollm2.json");
  for (const json::Value& entry : list(golden, "plain")) {
    const std::string& text = *entry.as_object()->find("text")->as_string();
    bool has_all_bytes = true;  // A few control bytes are not in this vocabulary.
    for (const char c : text)
      has_all_bytes = has_all_bytes && (c < 0 || c >= ' ' || c == '\n');
    if (!has_all_bytes) continue;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false, SpecialText::kPlain), true), text);
  }
}

TEST(TokenizerGoldenTest, SmallBytePairVocabularyWithNormalization) {
  const LoadedModel model(std::string(kGoldenPath) + "small_bpe.gguf");
  const auto tokenizer = model.tokenizer();
  ASSERT_NE(tokenizer, nullptr);
  const json::Value golden = read_golden("small_bpe.json");
  expect_ids(*tokenizer, list(golden, "plain"), SpecialText::kParse);
  expect_ids(*tokenizer, list(golden, "parsed"), SpecialText::kParse);
}

TEST(TokenizerGoldenTest, SmallSentencePieceVocabulary) {
  const LoadedModel model(std::string(kGoldenPath) + "small_spm.gguf");
  const auto tokenizer = model.tokenizer();
  ASSERT_NE(tokenizer, nullptr);
  const json::Value golden = read_golden("small_spm.json");
  expect_ids(*tokenizer, list(golden, "plain"), SpecialText::kPlain);
  for (const json::Value& entry : list(golden, "plain")) {
    const std::string& text = *entry.as_object()->find("text")->as_string();
    if (text.contains("\xE2\x96\x81")) continue;  // U+2581 is read back as a space.
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false, SpecialText::kPlain), false), text);
  }
}

TEST(TokenizerGoldenTest, SentencePieceFlags) {
  LoadedModel model(std::string(kGoldenPath) + "small_spm.gguf");
  const json::Value golden = read_golden("small_spm.json");
  model.metadata.add_space_prefix = false;
  expect_ids(*model.tokenizer(), list(golden, "no_prefix"), SpecialText::kPlain);
  model.metadata.add_space_prefix = true;
  model.metadata.remove_extra_whitespaces = true;
  expect_ids(*model.tokenizer(), list(golden, "collapse"), SpecialText::kPlain);
}

TEST(TokenizerGoldenTest, SentencePieceUnusedPiecesFallApart) {
  LoadedModel model(std::string(kGoldenPath) + "small_spm.gguf");
  const json::Value golden = read_golden("small_spm.json");
  std::vector<std::int64_t> types(model.metadata.token_types.begin(),
                                  model.metadata.token_types.end());
  for (const auto id : integers<std::size_t>(*golden.as_object()->find("unused_ids"))) {
    types[id] = 5;
  }
  model.metadata.token_types = types;
  expect_ids(*model.tokenizer(), list(golden, "unused"), SpecialText::kPlain);
}

TEST(TokenizerGoldenTest, SentencePieceWithoutBytesJoinsUnknownCharacters) {
  LoadedModel model(std::string(kGoldenPath) + "small_spm.gguf");
  const json::Value golden = read_golden("small_spm.json");
  std::vector<std::int64_t> types(model.metadata.token_types.begin(),
                                  model.metadata.token_types.end());
  for (std::int64_t& type : types) {
    if (type == 6) type = 5;
  }
  model.metadata.token_types = types;
  expect_ids(*model.tokenizer(), list(golden, "no_bytes"), SpecialText::kPlain);
}

TEST(PreTokenizerGoldenTest, EveryGoldenSchemeSplitsAsItsReference) {
  const json::Value golden = read_golden("splits.json");
  const json::Array& texts = list(golden, "texts");
  for (const json::Member& member : *golden.as_object()->find("word_bytes")->as_object()) {
    const PreTokenizerScheme* scheme = find_pretokenizer_scheme(member.key);
    ASSERT_NE(scheme, nullptr) << member.key;
    const auto splitter = PreTokenizer::create(scheme->steps());
    ASSERT_TRUE(splitter.has_value()) << splitter.error().to_string();
    const json::Array& expected = *member.value.as_array();
    ASSERT_EQ(expected.size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::string& text = *texts[i].as_string();
      std::vector<std::size_t> sizes;
      RegexScratch scratch;
      splitter->split({.text = text}, scratch, [&](std::string_view word) {
        sizes.push_back(word.size());
        return true;
      });
      EXPECT_EQ(sizes, integers<std::size_t>(expected[i])) << member.key << json::dump(text);
    }
  }
}

// Rows that differ from another one in nothing but names and flags need no golden data of their
// own.
TEST(PreTokenizerGoldenTest, EveryRowOfPatternsHasGoldenData) {
  const json::Value golden = read_golden("splits.json");
  const json::Object& known = *golden.as_object()->find("word_bytes")->as_object();
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    bool covered = false;
    for (const json::Member& member : known) {
      covered = covered || find_pretokenizer_scheme(member.key)->patterns == scheme.patterns;
    }
    EXPECT_TRUE(covered) << scheme.names.front();
  }
}

}  // namespace
}  // namespace hearth
