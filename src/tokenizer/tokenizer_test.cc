#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"
#include "tests/support/tokenizer_tables.h"

namespace hearth {
namespace {

using test::byte_tables;
using test::TokenizerTables;
using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> make(TokenizerTables& tables) {
  auto made = Tokenizer::create(tables.metadata());
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
  return made ? *std::move(made) : nullptr;
}

Status failure(TokenizerTables& tables) {
  const auto made = Tokenizer::create(tables.metadata());
  return made ? Status() : made.error();
}

Ids bytes(std::string_view text) {
  Ids ids;
  for (const char c : text)
    ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TokenizerTables chat_tables() {
  TokenizerTables tables = byte_tables();
  tables.add("<|im_start|>", test::kControlType);  // 256
  tables.add("<|im_end|>", test::kControlType);    // 257
  tables.add("<tool>", test::kUserDefinedType);    // 258
  tables.add("<tool>s", test::kUserDefinedType);   // 259
  return tables;
}

TokenizerTables spm_tables() {
  TokenizerTables tables;
  tables.model = "llama";
  tables.add("<unk>", test::kUnknownType);
  tables.add("<s>", test::kControlType);
  tables.add("</s>", test::kControlType);
  for (int byte = 0; byte < 256; ++byte) {
    tables.add(fmt::format("<0x{:02X}>", byte), test::kByteType);
  }
  return tables;
}

TEST(TokenizerTest, MergesByRankThenFromTheLeft) {
  TokenizerTables tables = byte_tables();
  const TokenId bc = tables.add_merge("b", "c");
  const TokenId ab = tables.add_merge("a", "b");
  const TokenId aa = tables.add_merge("a", "a");
  const auto tokenizer = make(tables);
  EXPECT_EQ(tokenizer->encode("abc", false, SpecialText::kPlain), (Ids{'a', bc}));
  EXPECT_EQ(tokenizer->encode("abab", false, SpecialText::kPlain), (Ids{ab, ab}));
  EXPECT_EQ(tokenizer->encode("aaa", false, SpecialText::kPlain), (Ids{aa, 'a'}));
}

TEST(TokenizerTest, WholeWordsSkipMergingOnlyWhereTheSchemeSaysSo) {
  TokenizerTables tables = byte_tables();
  const TokenId bc = tables.add_merge("b", "c");
  const TokenId abc = tables.add("abc");
  EXPECT_EQ(make(tables)->encode("abc", false, SpecialText::kPlain), (Ids{'a', bc}));
  tables.pre = "llama-bpe";
  EXPECT_EQ(make(tables)->encode("abc", false, SpecialText::kPlain), (Ids{abc}));
  tables.types[static_cast<std::size_t>(abc)] = test::kControlType;
  EXPECT_EQ(make(tables)->encode("abc", false, SpecialText::kPlain), (Ids{'a', bc}));
}

TEST(TokenizerTest, BytesWithoutATokenAreDropped) {
  TokenizerTables tables = byte_tables();
  tables.tokens[7] = "unrelated";
  EXPECT_EQ(make(tables)->encode("a\ab", false, SpecialText::kPlain), (Ids{'a', 'b'}));
}

TEST(TokenizerTest, NormalizesWhereTheSchemeSaysSo) {
  TokenizerTables tables = byte_tables();
  const std::string decomposed = "e\xCC\x81";
  EXPECT_EQ(make(tables)->encode(decomposed, false, SpecialText::kPlain), bytes(decomposed));
  tables.pre = "qwen2";
  EXPECT_EQ(make(tables)->encode(decomposed, false, SpecialText::kPlain), bytes("\xC3\xA9"));
}

void expect_bound(TokenizerTables tables, std::string_view text) {
  const auto tokenizer = make(tables);
  const TextSpan span{.text = text, .special = SpecialText::kParse};
  EXPECT_LE(tokenizer->min_tokens({&span, 1}), tokenizer->encode({&span, 1}, false).size())
      << tables.pre << " " << text.substr(0, 40);
}

std::string repeated(std::string_view part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i)
    out += part;
  return out;
}

TEST(TokenizerTest, TheLowerBoundOfTokensHoldsWhateverIsDropped) {
  const std::string texts[] = {"",
                               repeated("a", 1000),
                               "<|im_end|>" + repeated(" ", 1000),
                               repeated("<|im_end|>  \n", 100),
                               repeated("\a", 1000),
                               repeated("\xFF", 1000),
                               repeated("\xE1\xBE\xBE\xCC\x88\xCC\x81", 300),
                               repeated("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", 300),
                               repeated("\xE4\xB8\xAD ", 300)};
  TokenizerTables phi = chat_tables();
  phi.model_name = "Phi-3";
  TokenizerTables holes = chat_tables();
  holes.tokens[7] = "unrelated";
  TokenizerTables normalizing = chat_tables();
  normalizing.pre = "qwen2";
  TokenizerTables normalizing_holes = holes;
  normalizing_holes.pre = "qwen2";
  TokenizerTables collapsing = spm_tables();
  collapsing.rest.remove_extra_whitespaces = true;
  TokenizerTables without_bytes;
  without_bytes.model = "llama";
  without_bytes.add("<unk>", test::kUnknownType);
  without_bytes.add("a");
  for (const std::string& text : texts) {
    for (const TokenizerTables& tables : {chat_tables(), phi, holes, normalizing, normalizing_holes,
                                          spm_tables(), collapsing, without_bytes})
      expect_bound(tables, text);
  }
}

TEST(TokenizerTest, TheLowerBoundOfTokensIsTheBytesOverTheLongestToken) {
  TokenizerTables tables = byte_tables();
  tables.add_merge("a", "a");
  const auto tokenizer = make(tables);
  const std::string text(2 * tokenizer->max_token_bytes() + 1, 'a');
  const TextSpan spans[] = {{.text = text}, {.text = text}};
  EXPECT_EQ(tokenizer->min_tokens(spans), 5u);
}

TEST(TokenizerTest, AStopEndsTheWorkEarly) {
  TokenizerTables tables = byte_tables();
  const auto tokenizer = make(tables);
  std::stop_source source;
  const auto num_ids = [&] {
    return tokenizer->encode("one two three", false, SpecialText::kPlain, source.get_token())
        .size();
  };
  EXPECT_EQ(num_ids(), 13u);
  source.request_stop();
  EXPECT_LT(num_ids(), 13u);
}

TEST(TokenizerTest, InvalidUtf8BecomesReplacementCharacters) {
  TokenizerTables tables = byte_tables();
  const auto tokenizer = make(tables);
  for (const std::string& text :
       {std::string("a\xFF"
                    "b"),
        std::string("\xE2\x82"), std::string("\xED\xA0\x80"), std::string("\xC0\xAF"),
        std::string("a\0b\xF4\x90\x80\x80", 7)}) {
    EXPECT_EQ(tokenizer->encode(text, false, SpecialText::kPlain), bytes(utf8::sanitize(text)));
  }
}

TEST(TokenizerTest, ControlTokensAreRecognisedOnlyWhereAllowed) {
  TokenizerTables tables = chat_tables();
  const auto tokenizer = make(tables);
  EXPECT_EQ(tokenizer->encode("<|im_end|>", false, SpecialText::kParse), (Ids{257}));
  EXPECT_EQ(tokenizer->encode("<|im_end|>", false, SpecialText::kPlain), bytes("<|im_end|>"));
  EXPECT_EQ(tokenizer->encode("a<tool>", false, SpecialText::kPlain), (Ids{'a', 258}));
}

TEST(TokenizerTest, TheLongestOfSeveralMatchesWins) {
  TokenizerTables tables = chat_tables();
  const auto tokenizer = make(tables);
  EXPECT_EQ(tokenizer->encode("<tool>s<tool>", false, SpecialText::kPlain), (Ids{259, 258}));
  EXPECT_EQ(tokenizer->encode("<<|im_end|>>", false, SpecialText::kParse), (Ids{'<', 257, '>'}));
}

TEST(TokenizerTest, ControlTokensDoNotReachIntoPlainSpans) {
  TokenizerTables tables = chat_tables();
  const auto tokenizer = make(tables);
  const auto encode = [&](std::vector<TextSpan> spans) { return tokenizer->encode(spans, false); };
  const auto kParse = SpecialText::kParse;
  const auto kPlain = SpecialText::kPlain;
  EXPECT_EQ(
      encode({{"<|im_start|>", kParse}, {"<|im_end|>", kPlain}, {"<|im_end|>", kParse}}).size(),
      1 + std::string_view("<|im_end|>").size() + 1);
  EXPECT_EQ(encode({{"<|im_", kParse}, {"end|>", kPlain}}), bytes("<|im_end|>"));
  EXPECT_EQ(encode({{"<|im_end", kPlain}, {"|>", kParse}}), bytes("<|im_end|>"));
  // Neighbouring kParse spans are one text, also with nothing between them.
  EXPECT_EQ(encode({{"<|im_", kParse}, {"end|>", kParse}}), (Ids{257}));
  EXPECT_EQ(encode({{"<|im_", kParse}, {"", kPlain}, {"end|>", kParse}}), (Ids{257}));
  EXPECT_EQ(encode({{"<to", kParse}, {"ol>", kPlain}}), (Ids{258}));
}

TEST(TokenizerTest, SpansGiveTheIdsOfOneText) {
  TokenizerTables tables = chat_tables();
  tables.add_merge("a", "b");
  const TokenId space_ab = tables.add_merge("\xC4\xA0", "ab");
  const auto tokenizer = make(tables);
  const std::array<TextSpan, 3> spans = {
      {{" ", SpecialText::kParse}, {"a", SpecialText::kPlain}, {"b", SpecialText::kParse}}};
  EXPECT_EQ(tokenizer->encode(spans, false), (Ids{space_ab}));
  // A code point cut in two, and malformed bytes before a border that then moves.
  const std::array<TextSpan, 4> cut = {{{"\xFF\xC3", SpecialText::kPlain},
                                        {"\xA9", SpecialText::kPlain},
                                        {"<|im_end|>", SpecialText::kParse},
                                        {"<|im_end|>", SpecialText::kPlain}}};
  Ids expected = bytes("\xEF\xBF\xBD\xC3\xA9");
  expected.push_back(257);
  for (const TokenId id : bytes("<|im_end|>"))
    expected.push_back(id);
  EXPECT_EQ(tokenizer->encode(cut, false), expected);
}

TEST(TokenizerTest, AnyCutIntoPlainSpansGivesTheSameIds) {
  TokenizerTables tables = chat_tables();
  tables.add_merge("a", "b");
  tables.add_merge("ab", "c");
  const auto tokenizer = make(tables);
  std::mt19937 random(7);
  const std::string alphabet = "abc <tool>s\xC3\xA9\n1";
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i)
      text.push_back(alphabet[random() % alphabet.size()]);
    std::vector<TextSpan> spans;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = random() % 6;
      spans.push_back({.text = std::string_view(text).substr(at, length)});
      at += length;
    }
    EXPECT_EQ(tokenizer->encode(spans, false), tokenizer->encode(text, false, SpecialText::kPlain));
  }
}

TEST(TokenizerTest, AddsBosAndEosAsTheFileSays) {
  TokenizerTables tables = chat_tables();
  tables.rest.ids = {{.key = "bos_token_id", .id = 256}, {.key = "eos_token_id", .id = 257}};
  EXPECT_EQ(make(tables)->encode("a", true, SpecialText::kPlain), (Ids{'a'}));
  tables.rest.add_bos = true;
  tables.rest.add_eos = true;
  EXPECT_EQ(make(tables)->encode("a", true, SpecialText::kPlain), (Ids{256, 'a', 257}));
  EXPECT_EQ(make(tables)->encode("a", false, SpecialText::kPlain), (Ids{'a'}));
  tables.rest.add_bos.reset();
  tables.rest.add_eos.reset();
  tables.pre = "llama-bpe";
  EXPECT_EQ(make(tables)->encode("", true, SpecialText::kPlain), (Ids{256}));
}

TEST(TokenizerTest, EncodersOfBytesJoinTwoTextsAsTheirKindReadsThem) {
  TokenizerTables tables = chat_tables();
  tables.rest.ids = {{.key = "bos_token_id", .id = 256}, {.key = "eos_token_id", .id = 257}};
  tables.rest.add_bos = true;
  tables.rest.add_eos = true;
  const auto joined = [&](std::string_view architecture, std::optional<bool> add_sep) {
    tables.rest.architecture = architecture;
    tables.rest.add_sep = add_sep;
    return make(tables)->encode_pair("a", "b");
  };
  const Ids once = {256, 'a', 257, 'b', 257};
  const Ids twice = {256, 'a', 257, 257, 'b', 257};
  for (const std::optional<bool> add_sep : {std::optional<bool>(), {false}, {true}})
    EXPECT_EQ(joined("modern-bert", add_sep).ids, once);
  EXPECT_EQ(joined("bert", false).ids, once);
  EXPECT_EQ(joined("bert", true).ids, twice);
  EXPECT_EQ(joined("bert", true).type_ids, std::vector<std::uint8_t>(6, 0));
  // A file from before there was the key tells by its scheme, or not at all.
  EXPECT_TRUE(joined("bert", std::nullopt).ids.empty());
  EXPECT_FALSE(make(tables)->joins_pairs());
  tables.pre = "roberta-bpe";
  EXPECT_EQ(joined("bert", std::nullopt).ids, twice);
  EXPECT_TRUE(make(tables)->joins_pairs());
}

TEST(TokenizerTest, KnowsWhatEndsAnAnswer) {
  TokenizerTables tables = byte_tables();
  const TokenId eos = tables.add("<stop>", test::kControlType);
  const TokenId im_end = tables.add("<|im_end|>", test::kNormalType);
  const TokenId end = tables.add("<|end|>", test::kControlType);
  tables.add("</s>", test::kNormalType);
  tables.rest.ids = {{.key = "eos_token_id", .id = static_cast<std::uint32_t>(eos)}};
  const auto tokenizer = make(tables);
  EXPECT_EQ(tokenizer->special().end_of_generation, (Ids{eos, im_end, end}));
  EXPECT_EQ(tokenizer->special().eot, im_end);
  EXPECT_EQ(tokenizer->kind(im_end), TokenKind::kControl);

  tables.add("<|call|>", test::kControlType);
  tables.add("<|return|>", test::kControlType);
  const Ids ends = make(tables)->special().end_of_generation;
  EXPECT_EQ(std::ranges::count(ends, end), 0);
}

TEST(TokenizerTest, PhiDropsWhiteSpaceAfterControlTokens) {
  TokenizerTables tables = chat_tables();
  tables.model_name = "Phi-3 mini";
  EXPECT_EQ(make(tables)->encode("<|im_end|> \n a", false, SpecialText::kParse), (Ids{257, 'a'}));
}

TEST(TokenizerTest, RendersControlTokensOnlyOnRequest) {
  TokenizerTables tables = chat_tables();
  const auto tokenizer = make(tables);
  const Ids ids = {256, 'a', 257, -1, 100'000};
  EXPECT_EQ(tokenizer->decode(ids, false), "a");
  EXPECT_EQ(tokenizer->decode(ids, true), "<|im_start|>a<|im_end|>");
  EXPECT_EQ(tokenizer->token_bytes(' ', false), " ");
  EXPECT_EQ(tokenizer->token_bytes(-1, true), "");
  EXPECT_EQ(tokenizer->token_bytes(260, true), "");
  EXPECT_EQ(tokenizer->piece(' '), "\xC4\xA0");
  EXPECT_EQ(tokenizer->piece(260), "");
  EXPECT_EQ(tokenizer->find_piece("<tool>"), 258);
  EXPECT_EQ(tokenizer->find_piece("<tool"), std::nullopt);
}

TEST(TokenizerTest, SentencePiecePrefixesASpaceAndTakesItAway) {
  TokenizerTables tables = spm_tables();
  const TokenId space_a = tables.add(
      "\xE2\x96\x81"
      "a");
  const TokenId a = tables.add("a");
  const TokenId space = tables.add("\xE2\x96\x81");
  const auto tokenizer = make(tables);
  EXPECT_EQ(tokenizer->encode("a", true, SpecialText::kPlain), (Ids{1, space_a}));
  EXPECT_EQ(tokenizer->encode("</s>a", false, SpecialText::kParse), (Ids{2, space_a}));
  EXPECT_EQ(tokenizer->encode(" a", false, SpecialText::kPlain), (Ids{space, space_a}));
  EXPECT_EQ(tokenizer->decode(Ids{1, space_a, space_a}, false), "a a");
  EXPECT_EQ(tokenizer->token_bytes(space_a, false), " a");
  EXPECT_EQ(tokenizer->encode("", true, SpecialText::kPlain), (Ids{1}));
  tables.rest.add_space_prefix = false;
  EXPECT_EQ(make(tables)->encode("a", false, SpecialText::kPlain), (Ids{a}));
}

TEST(TokenizerTest, SentencePieceNeverSpellsAControlTokenFromText) {
  TokenizerTables tables = spm_tables();
  tables.rest.add_space_prefix = false;
  tables.add("<");
  tables.add("s>");
  tables.add("s");
  tables.add(">");
  const auto tokenizer = make(tables);
  for (const TokenId id : tokenizer->encode("<s>", false, SpecialText::kPlain))
    EXPECT_NE(id, 1);
  for (const TokenId id : tokenizer->encode("<0x41>", false, SpecialText::kPlain)) {
    EXPECT_NE(id, 3 + 0x41);
  }
}

TEST(TokenizerTest, LongTextsWithoutBreaksAreNoSpecialCase) {
  TokenizerTables tables = byte_tables();
  std::string run = "a";
  for (int i = 0; i < 8; ++i, run += run)
    tables.add_merge(run, run);
  const std::string text(1'000'000, 'a');
  EXPECT_EQ(make(tables)->decode(make(tables)->encode(text, false, SpecialText::kPlain), false),
            text);
  // Combining marks of alternating classes, which canonical ordering has to sort.
  tables.pre = "qwen2";
  std::string marks = "a";
  for (int i = 0; i < 100'000; ++i)
    marks += "\xCC\x81\xCC\xA3";
  EXPECT_FALSE(make(tables)->encode(marks, false, SpecialText::kPlain).empty());
}

TEST(TokenizerTest, UnknownKindsAreNamedWithWhatIsSupported) {
  TokenizerTables tables = byte_tables();
  tables.pre = "martian";
  Status status = failure(tables);
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(status.message().contains("martian"));
  EXPECT_TRUE(status.message().contains("llama-bpe"));
  tables.model = "rwkv";
  status = failure(tables);
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(status.message().contains("rwkv"));
  EXPECT_TRUE(status.message().contains("t5"));
}

TEST(TokenizerTest, ContradictionsNameTheKey) {
  const auto expect_loss = [](TokenizerTables tables, std::string_view key) {
    const Status status = failure(tables);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << key;
    EXPECT_TRUE(status.message().contains(key)) << status.to_string();
  };
  TokenizerTables tables = byte_tables();
  tables.types.pop_back();
  expect_loss(tables, "token_type");
  tables = byte_tables();
  tables.types[3] = 9;
  expect_loss(tables, "token_type");
  tables = byte_tables();
  tables.rest.scores = {1.0f};
  expect_loss(tables, "scores");
  tables = spm_tables();
  tables.rest.charsmap = "xyz";
  expect_loss(tables, "precompiled_charsmap");
  tables = byte_tables();
  tables.rest.ids = {{.key = "eos_token_id", .id = 256}};
  expect_loss(tables, "tokenizer.ggml.eos_token_id");
  tables = byte_tables();
  tables.merges = {"ab"};
  expect_loss(tables, "merges");
  tables = byte_tables();
  tables.merges = {"a b"};
  expect_loss(tables, "merges");
  tables = byte_tables();
  tables.rest.add_bos = true;
  expect_loss(tables, "add_bos_token");
  tables = byte_tables();
  tables.rest.add_eos = true;
  expect_loss(tables, "add_eos_token");
  TokenizerTables spm;
  spm.model = "llama";
  spm.add("a");
  expect_loss(spm, "tokens");
  spm.tokens.clear();
  spm.types.clear();
  expect_loss(spm, "tokens");
}

TEST(TokenizerTest, OverlongSpellingsAreRefused) {
  TokenizerTables tables = byte_tables();
  tables.add(std::string(1025, 'x'), test::kControlType);
  EXPECT_EQ(failure(tables).code(), StatusCode::kOutOfRange);
  tables = byte_tables();
  tables.add(std::string((64u << 10) + 1, 'x'));
  EXPECT_EQ(failure(tables).code(), StatusCode::kOutOfRange);
}

TEST(TokenizerTest, LoadsFromAFileAndOutlivesIt) {
  const test::TempDirectory directory;
  test::GgufWriter writer;
  TokenizerTables tables = chat_tables();
  writer.add("tokenizer.ggml.model", "gpt2");
  writer.add("tokenizer.ggml.pre", "gpt-2");
  writer.add("tokenizer.ggml.tokens", tables.tokens);
  std::vector<std::int32_t> types(tables.types.begin(), tables.types.end());
  writer.add("tokenizer.ggml.token_type", types);
  writer.add("tokenizer.ggml.bos_token_id", std::uint32_t{256});
  writer.add("tokenizer.ggml.add_bos_token", true);
  const auto path = directory.path() / "vocabulary.gguf";
  writer.write(path);
  std::unique_ptr<Tokenizer> tokenizer;
  {
    const auto file = ModelFile::open(path);
    ASSERT_TRUE(file.has_value()) << file.error().to_string();
    auto loaded = Tokenizer::load(*file);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    tokenizer = *std::move(loaded);
  }
  EXPECT_EQ(tokenizer->encode("a<tool>", true, SpecialText::kPlain), (Ids{256, 'a', 258}));
}

TEST(TokenizerTest, FilesWithoutATokenizerOrWithWrongTypesAreRefused) {
  const test::TempDirectory directory;
  const auto load = [&](const test::GgufWriter& writer) {
    const auto path = directory.path() / "file.gguf";
    writer.write(path);
    const auto file = ModelFile::open(path);
    EXPECT_TRUE(file.has_value());
    const auto loaded = Tokenizer::load(*file);
    return loaded ? Status() : loaded.error();
  };
  test::GgufWriter empty;
  EXPECT_EQ(load(empty).code(), StatusCode::kNotFound);
  test::GgufWriter no_tokens;
  no_tokens.add("tokenizer.ggml.model", "gpt2");
  EXPECT_EQ(load(no_tokens).code(), StatusCode::kDataLoss);
  test::GgufWriter wrong_type = no_tokens;
  wrong_type.add("tokenizer.ggml.tokens", std::vector<float>{1.0f});
  EXPECT_EQ(load(wrong_type).code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hearth
