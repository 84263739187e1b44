#include "hub/model_name.h"

#include <gtest/gtest.h>

namespace hearth::hub {
namespace {

TEST(ModelName, ReadsEveryPartAndWritesItBack) {
  const auto name = ModelName::parse("org/Model-1.5_x:Q4_K_M@v1.0");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->organization, "org");
  EXPECT_EQ(name->model, "Model-1.5_x");
  EXPECT_EQ(name->tag, "Q4_K_M");
  EXPECT_EQ(name->revision, "v1.0");
  for (const char* text : {"org/m", "m", "m:t", "m@r", "_m", "org/m:t@r", "0/1:2@3"})
    EXPECT_EQ(ModelName::parse(text).value().text(), text);
}

TEST(ModelName, RefusesWhatCouldBeAPathOrAnAddress) {
  const std::string with_nul("a\0b", 3);
  const std::string too_long(97, 'a');
  const std::vector<std::string> bad = {"",
                                        ".",
                                        "..",
                                        "/",
                                        "../x",
                                        "x/..",
                                        "a/b/c",
                                        "/etc/passwd",
                                        "a/",
                                        "/a",
                                        "a:",
                                        "a@",
                                        ":t",
                                        "@r",
                                        "a b",
                                        "a\nb",
                                        "a\\b",
                                        "~",
                                        "-a",
                                        ".a",
                                        "a.",
                                        "a-",
                                        "a..b",
                                        "a%2e",
                                        "a:b:c",
                                        "a@b@c",
                                        "a:../x",
                                        "a@../x",
                                        "a@b/c",
                                        "a:b/c",
                                        "http://",
                                        "a/b.gguf",
                                        "x.gguf",
                                        "\xc3\xa4",
                                        with_nul,
                                        too_long,
                                        "a:" + too_long,
                                        "o/m:t@" + too_long};
  for (const std::string& text : bad) {
    const auto name = ModelName::parse(text);
    ASSERT_FALSE(name.has_value()) << text;
    EXPECT_EQ(name.error().code(), StatusCode::kInvalidArgument);
  }
}

TEST(ModelName, AHugeNameMakesAShortMessage) {
  EXPECT_LT(ModelName::parse(std::string(100'000, '/')).error().message().size(), 300u);
}

TEST(ModelName, CaseIsIgnoredForAsciiLettersAlone) {
  EXPECT_TRUE(equal_ignoring_case("q4_k_M", "Q4_K_m"));
  EXPECT_FALSE(equal_ignoring_case("q4_k", "q4_k_m"));
  EXPECT_FALSE(equal_ignoring_case("[", "{"));
}

TEST(ModelName, ProposalsHoldNothingThatNamesMayNot) {
  EXPECT_EQ(suggested_part("my model (v2)"), "my-model--v2");
  EXPECT_EQ(suggested_part("../.."), "");
}

}  // namespace
}  // namespace hearth::hub
