#include "tokenizer/hf_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using Ids = std::vector<TokenId>;

// "a" is 0, "b" 1, "c" 2, "ab" 3, " " 4, "<end>" 5.
constexpr std::string_view kModel =
    R"("model":{"type":"BPE","unk_token":null,"vocab":{"a":0,"b":1,"c":2,"ab":3," ":4},)"
    R"("merges":[["a","b"]]})";
constexpr std::string_view kAdded =
    R"("added_tokens":[{"id":5,"content":"<end>","special":true}],)";

std::string file_with(std::string_view sections, std::string_view model = kModel) {
  return fmt::format("{{{}{}{}}}", kAdded, sections, model);
}

Result<std::unique_ptr<Tokenizer>> make(std::string json) {
  HfTokenizerFiles files;
  files.tokenizer_json = std::move(json);
  return make_hf_tokenizer(files);
}

Ids ids_of(std::string json, std::string_view text) {
  const auto made = make(std::move(json));
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
  return made ? (*made)->encode(text, false, SpecialText::kParse) : Ids();
}

void expect_refused(std::string json, StatusCode code, std::string_view part) {
  const auto made = make(json);
  ASSERT_FALSE(made.has_value()) << json;
  EXPECT_EQ(made.error().code(), code) << made.error().to_string();
  EXPECT_TRUE(made.error().message().contains(part)) << made.error().to_string();
}

TEST(HfTokenizerTest, ReadsBothSpellingsOfMerges) {
  EXPECT_EQ(ids_of(file_with(""), "abcab<end>"), (Ids{3, 2, 3, 5}));
  const std::string old_form =
      R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"ab":3," ":4},"merges":["a b"]})";
  EXPECT_EQ(ids_of(file_with("", old_form), "abcab<end>"), (Ids{3, 2, 3, 5}));
}

// As the reference does, unlike GGUF's.
TEST(HfTokenizerTest, OfTwoMergesOfOnePairTheLastCounts) {
  constexpr std::string_view kRepeated =
      R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"ab":3," ":4,"bc":6},)"
      R"("merges":["a b","b c","a b"]})";
  EXPECT_EQ(ids_of(file_with("", kRepeated), "abc ab"), (Ids{0, 6, 4, 3}));
}

TEST(HfTokenizerTest, IgnoresTruncationAndPadding) {
  const std::string sections =
      R"("truncation":{"max_length":1,"strategy":"LongestFirst","stride":0},)"
      R"("padding":{"strategy":{"Fixed":9},"pad_id":0},)";
  EXPECT_EQ(ids_of(file_with(sections), "abc"), (Ids{3, 2}));
}

TEST(HfTokenizerTest, RefusesWhatItDoesNotHaveAndListsWhatItHas) {
  expect_refused(file_with(R"("normalizer":{"type":"Magic"},)"), StatusCode::kUnimplemented,
                 "NFKC");
  expect_refused(
      file_with(
          R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"UnicodeScripts"}]},)"),
      StatusCode::kUnimplemented, "pre_tokenizer.pretokenizers[0]");
  expect_refused(file_with(R"("decoder":{"type":"CTC"},)"), StatusCode::kUnimplemented,
                 "Metaspace");
  expect_refused(file_with(R"("post_processor":{"type":"Odd"},)"), StatusCode::kUnimplemented,
                 "TemplateProcessing");
  expect_refused(file_with("", R"("model":{"type":"WordLevel","vocab":{"a":0}})"),
                 StatusCode::kUnimplemented, "Unigram");
  expect_refused(
      file_with("", R"("model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]})"),
      StatusCode::kUnimplemented, "dropout");
  expect_refused(
      file_with("", R"("model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0}})"),
      StatusCode::kUnimplemented, "end_of_word_suffix");
  expect_refused(file_with(R"("decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},)"
                           R"({"type":"Strip","content":" ","start":0,"stop":1}]},)"),
                 StatusCode::kUnimplemented, "after Fuse");
  expect_refused(
      file_with(
          R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"[a&&b]"},"behavior":"Removed"},)"),
      StatusCode::kUnimplemented, "intersection");
}

TEST(HfTokenizerTest, ContradictionsNameTheirPlace) {
  const auto refused_model = [](std::string_view model, std::string_view part) {
    expect_refused(fmt::format("{{\"model\":{}}}", model), StatusCode::kDataLoss, part);
  };
  expect_refused("", StatusCode::kDataLoss, "JSON");
  expect_refused("[]", StatusCode::kDataLoss, "array");
  expect_refused("{}", StatusCode::kDataLoss, "model");
  expect_refused("{\"model\":3}", StatusCode::kDataLoss, "model");
  refused_model(R"({"type":"BPE","vocab":{},"merges":[]})", "empty");
  refused_model(R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})", "two tokens");
  refused_model(R"({"type":"BPE","vocab":{"a":-1},"merges":[]})", "no id");
  refused_model(R"({"type":"BPE","vocab":{"a":0},"merges":["a"]})", "entry 0");
  refused_model(R"({"type":"BPE","vocab":{"a":0},"merges":[["a","b"]]})", "no token");
  refused_model(R"({"type":"BPE","vocab":{"a":0},"merges":[["a"]]})", "two texts");
  refused_model(R"({"type":"BPE","vocab":{"a":0},"unk_token":"x","merges":[]})", "unk_token");
  refused_model(R"({"type":"Unigram","vocab":[["a",0.5]],"unk_id":1})", "unk_id");
  refused_model(R"({"type":"Unigram","vocab":[["a","b"]],"unk_id":0})", "entry 0");
  refused_model(R"({"type":"WordPiece","vocab":{"a":0}})", "unk_token");
  expect_refused(file_with("", R"("model":{"type":"BPE","vocab":{"<end>":1},"merges":[]})"),
                 StatusCode::kDataLoss, "<end>");
  expect_refused(file_with(R"("normalizer":{"type":"Prepend"},)"), StatusCode::kDataLoss,
                 "normalizer.prepend");
  expect_refused(
      file_with(R"("post_processor":{"type":"BertProcessing","sep":["x",9],"cls":["y",0]},)"),
      StatusCode::kDataLoss, "post_processor");
}

TEST(HfTokenizerTest, LimitsAreStated) {
  expect_refused(R"({"model":{"type":"BPE","vocab":{"a":99999999},"merges":[]}})",
                 StatusCode::kOutOfRange, "99999999");
  expect_refused(std::string(100, '[') + std::string(100, ']'), StatusCode::kOutOfRange, "64");
  expect_refused(std::string((64u << 20) + 1, ' '), StatusCode::kOutOfRange, "67108864");
  const std::string step = fmt::format(
      R"({{"type":"Replace","pattern":{{"String":"a"}},"content":"{}"}})", std::string(100, 'a'));
  expect_refused(file_with(fmt::format(
                     R"("normalizer":{{"type":"Sequence","normalizers":[{0},{0},{0}]}},)", step)),
                 StatusCode::kOutOfRange, "times longer");
  expect_refused(file_with(R"("pre_tokenizer":{"type":"Split","behavior":"Removed",)"
                           R"("pattern":{"Regex":"(?:a+)+\\z"}},)"),
                 StatusCode::kOutOfRange, "backtracks");
  const std::string long_token(2000, 'x');
  expect_refused(fmt::format(R"({{"added_tokens":[{{"id":9,"content":"{}","special":true}}],{}}})",
                             long_token, kModel),
                 StatusCode::kOutOfRange, "2000");
}

std::string repeated(std::string_view item, std::size_t count) {
  std::string list;
  for (std::size_t i = 0; i < count; ++i)
    list += (i == 0 ? "" : ",") + std::string(item);
  return list;
}

TEST(HfTokenizerTest, BoundsWhatPreTokenizersMakeOfAText) {
  constexpr std::string_view kMetaspace = R"({"type":"Metaspace","replacement":"_","split":false})";
  const auto sequence = [&](std::size_t count) {
    return file_with(
        fmt::format(R"("pre_tokenizer":{{"type":"Sequence","pretokenizers":[{}]}},)",
                    repeated(fmt::format(R"({},{{"type":"Digits"}})", kMetaspace), count)));
  };
  EXPECT_TRUE(make(sequence(7)).has_value());
  expect_refused(sequence(8), StatusCode::kOutOfRange, "256 times longer; the limit is 128");
  for (const std::string_view section : {"pre_tokenizer", "decoder"}) {
    expect_refused(
        file_with(fmt::format(R"("{}":{{"type":"Metaspace","replacement":"__"}},)", section)),
        StatusCode::kDataLoss, "2 bytes; it is one character");
  }
}

TEST(HfTokenizerTest, BoundsWhatDecodersMakeOfAToken) {
  const auto with = [](std::string_view kind, std::size_t num_steps) {
    return file_with(fmt::format(
        R"("decoder":{{"type":"Sequence","decoders":[{}]}},)",
        repeated(
            fmt::format(R"({{"type":"Replace","pattern":{{"{}":"a"}},"content":"aaaa"}})", kind),
            num_steps)));
  };
  const auto made = make(with("String", 3));
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  EXPECT_EQ((*made)->token_bytes(0, false), std::string(64, 'a'));
  expect_refused(with("String", 4), StatusCode::kOutOfRange, "256 times longer; the limit is 64");
  expect_refused(with("Regex", 3), StatusCode::kOutOfRange, "125 times longer; the limit is 64");
}

TEST(HfTokenizerTest, BoundsTemplates) {
  const auto with = [](std::size_t num_items, std::size_t num_ids) {
    return file_with(
        fmt::format(R"("post_processor":{{"type":"TemplateProcessing","single":)"
                    R"([{{"Sequence":{{"id":"A"}}}},{}],)"
                    R"("pair":[{{"Sequence":{{"id":"A"}}}},{{"Sequence":{{"id":"B"}}}}],)"
                    R"("special_tokens":{{"x":{{"ids":[{}]}}}}}},)",
                    repeated(R"({"SpecialToken":{"id":"x"}})", num_items), repeated("5", num_ids)));
  };
  EXPECT_TRUE(make(with(63, 16)).has_value());
  expect_refused(with(64, 1), StatusCode::kOutOfRange, "65 items; the limit is 64");
  expect_refused(with(63, 17), StatusCode::kOutOfRange, "limit is 1024");
  expect_refused(with(1, 100'000), StatusCode::kOutOfRange, "100001 ids");
}

TEST(HfTokenizerTest, RolesComeFromTheConfig) {
  HfTokenizerFiles files;
  files.tokenizer_json = file_with(
      R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<end>",)"
      R"("type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A"}},)"
      R"({"Sequence":{"id":"B","type_id":1}}],)"
      R"("special_tokens":{"<end>":{"id":"<end>","ids":[5]}}},)");
  files.tokenizer_config = R"({"bos_token":{"content":"<end>"},"eos_token":"c"})";
  const auto made = make_hf_tokenizer(files);
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  const SpecialTokens& special = (*made)->special();
  EXPECT_EQ(special.bos, 5);
  EXPECT_EQ(special.eos, 2);
  EXPECT_TRUE(special.add_bos);
  EXPECT_FALSE(special.add_eos);
  EXPECT_EQ(special.end_of_generation, (Ids{2}));
  EXPECT_EQ((*made)->encode("ab", true, SpecialText::kPlain), (Ids{5, 3}));
}

TEST(HfTokenizerTest, LoadsFromADirectoryAndFromAPath) {
  const test::TempDirectory directory;
  const std::filesystem::path file = directory.path() / "tokenizer.json";
  ASSERT_TRUE(write_file_atomically(file, file_with("")).ok());
  ASSERT_TRUE(
      write_file_atomically(directory.path() / "tokenizer_config.json", R"({"eos_token":"c"})")
          .ok());
  for (const std::filesystem::path& path : {directory.path(), file}) {
    const auto loaded = load_hf_tokenizer(path);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().to_string();
    EXPECT_EQ((*loaded)->special().eos, 2);
  }
  EXPECT_EQ(load_hf_tokenizer(directory.path() / "none").error().code(), StatusCode::kNotFound);
  ASSERT_TRUE(write_file_atomically(file, "{").ok());
  EXPECT_TRUE(load_hf_tokenizer(file).error().message().contains("tokenizer.json"));
}

// A control token that is looked for in the normalized text arises from the template's spans alone.
TEST(HfTokenizerTest, NormalizedControlTokensRespectTheSpans) {
  const std::string json = fmt::format(
      R"({{"added_tokens":[{{"id":5,"content":"<END>","special":true,"normalized":true}}],)"
      R"("normalizer":{{"type":"Sequence","normalizers":[{{"type":"Prepend","prepend":" "}},)"
      R"({{"type":"Lowercase"}}]}},"model":{{"type":"BPE","unk_token":"a","vocab":{{"a":0,"b":1,)"
      R"("c":2,"ab":3," ":4}},"merges":[]}}}})");
  const auto made = make(json);
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  const Tokenizer& tokenizer = **made;
  // The token's own text is normalized as well: " <end>".
  EXPECT_EQ(tokenizer.encode("<END>b", false, SpecialText::kParse), (Ids{5, 1}));
  EXPECT_EQ(tokenizer.encode("<END>", false, SpecialText::kPlain).size(), 6u);
  const std::array<TextSpan, 2> spans = {{{.text = "<END>", .special = SpecialText::kPlain},
                                          {.text = "b <END>c", .special = SpecialText::kParse}}};
  const Ids mixed = tokenizer.encode(spans, false);
  EXPECT_EQ(std::ranges::count(mixed, 5), 1);
  EXPECT_EQ(mixed.back(), 2);
  const std::array<TextSpan, 2> torn = {{{.text = "b <E", .special = SpecialText::kParse},
                                         {.text = "ND>", .special = SpecialText::kPlain}}};
  EXPECT_EQ(std::ranges::count(tokenizer.encode(torn, false), 5), 0);
}

TEST(HfTokenizerTest, LongHostileTextsTakeLinearTime) {
  const std::string json =
      R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1],["aa",-1.5]]}})";
  const auto made = make(json);
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  EXPECT_EQ((*made)->encode(std::string(1'000'000, 'a'), false, SpecialText::kPlain).size(),
            500'000u);
  const auto words =
      make(R"({"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0,"a":1,"##a":2}}})");
  ASSERT_TRUE(words.has_value()) << words.error().to_string();
  EXPECT_EQ((*words)->encode(std::string(1'000'000, 'a'), false, SpecialText::kPlain), (Ids{0}));
  EXPECT_EQ((*words)->encode("aaa", false, SpecialText::kPlain), (Ids{1, 2, 2}));
}

}  // namespace
}  // namespace hearth
