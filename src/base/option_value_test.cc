#include "base/option_value.h"

#include <gtest/gtest.h>

namespace hearth::option_value {
namespace {

TEST(OptionValue, BooleansAreWordsOfAClosedList) {
  for (const char* text : {"true", "yes", "on", "1"})
    EXPECT_TRUE(parse_bool(text).value()) << text;
  for (const char* text : {"false", "no", "off", "0"}) {
    EXPECT_FALSE(parse_bool(text).value()) << text;
  }
  for (const char* text : {"", "True", "y", "2", "enabled"}) {
    EXPECT_FALSE(parse_bool(text).has_value()) << text;
  }
}

TEST(OptionValue, IntegersAreWholeTexts) {
  EXPECT_EQ(parse_integer("-12").value(), -12);
  for (const char* text : {"", "1.0", "1e3", " 1", "1 ", "0x10", "9223372036854775808", "+1"}) {
    EXPECT_FALSE(parse_integer(text).has_value()) << text;
  }
}

TEST(OptionValue, NumbersAreFinite) {
  EXPECT_EQ(parse_number("-1.5e3").value(), -1500.0);
  for (const char* text : {"", "nan", "inf", "1e309", "1,5", "1.5x"}) {
    EXPECT_FALSE(parse_number(text).has_value()) << text;
  }
}

TEST(OptionValue, SizesHaveExactUnits) {
  EXPECT_EQ(parse_bytes("4096").value(), 4096u);
  EXPECT_EQ(parse_bytes("2GiB").value(), 2ull << 30);
  EXPECT_EQ(parse_bytes("2GB").value(), 2'000'000'000ull);
  EXPECT_EQ(parse_bytes("1.5KiB").value(), 1536u);
  EXPECT_EQ(parse_bytes("0").value(), 0u);
  for (const char* text : {"", "GiB", "2G", "2gib", "-1", "1.0001KiB", "1..5GB", "99999999TiB",
                           "1 GiB", "1e3", "2GiBx"}) {
    EXPECT_FALSE(parse_bytes(text).has_value()) << text;
  }
}

TEST(OptionValue, DurationsDefaultToSeconds) {
  using std::chrono::milliseconds;
  EXPECT_EQ(parse_duration("30").value(), milliseconds(30'000));
  EXPECT_EQ(parse_duration("500ms").value(), milliseconds(500));
  EXPECT_EQ(parse_duration("1.5m").value(), milliseconds(90'000));
  EXPECT_EQ(parse_duration("2h").value(), milliseconds(7'200'000));
  for (const char* text : {"", "s", "-1s", "1d", "0.1ms", "1m30s"}) {
    EXPECT_FALSE(parse_duration(text).has_value()) << text;
  }
}

TEST(OptionValue, ListsAreSeparatedByCommasWithoutEmptyItems) {
  EXPECT_EQ(parse_list("a,b c,d").value(), (std::vector<std::string>{"a", "b c", "d"}));
  EXPECT_TRUE(parse_list("").value().empty());
  for (const char* text : {",", "a,", ",a", "a,,b"}) {
    EXPECT_FALSE(parse_list(text).has_value()) << text;
  }
}

TEST(OptionValue, WrittenValuesReadBack) {
  for (const std::uint64_t bytes :
       {0ull, 1ull, 1000ull, 1024ull, 1536ull, 3ull << 30, 5'000'001ull}) {
    EXPECT_EQ(parse_bytes(format_bytes(bytes)).value(), bytes);
  }
  EXPECT_EQ(format_bytes(2ull << 30), "2GiB");
  EXPECT_EQ(format_bytes(4ull << 20), "4MiB");
  EXPECT_EQ(format_bytes(2'000'000'000), "2GB");
  for (const int ms : {0, 1, 1500, 60'000, 90'000, 3'600'000}) {
    EXPECT_EQ(parse_duration(format_duration(std::chrono::milliseconds(ms))).value().count(), ms);
  }
  EXPECT_EQ(format_duration(std::chrono::seconds(90)), "90s");
}

TEST(OptionValue, SuggestsOnlyCloseNames) {
  const std::vector<std::string> names = {"max-num-seqs", "max-model-len", "port"};
  EXPECT_EQ(closest("max-num-seq", names), "max-num-seqs");
  EXPECT_EQ(closest("max_num_seqs", names), "max-num-seqs");
  EXPECT_EQ(closest("prot", names), "port");
  EXPECT_EQ(closest("temperature", names), "");
}

}  // namespace
}  // namespace hearth::option_value
