#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace hearth::json {
namespace {

Value parsed(std::string_view text) {
  auto value = parse_detailed(text);
  EXPECT_TRUE(value.has_value()) << text << ": " << value.error().message;
  return value.value_or(Value());
}

ParseError refused(std::string_view text, ParseLimits limits = {}) {
  const auto value = parse_detailed(text, limits);
  EXPECT_FALSE(value.has_value()) << text;
  return value.has_value() ? ParseError{} : value.error();
}

std::string with_depth(std::size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(JsonParse, KeepsTheKindOfNumbers) {
  EXPECT_EQ(parsed("12"), Value(12));
  EXPECT_EQ(parsed("-9223372036854775808"), Value(std::numeric_limits<std::int64_t>::min()));
  EXPECT_EQ(parsed("18446744073709551615"), Value(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_EQ(parsed("18446744073709551616").type_name(), "number");
  EXPECT_EQ(parsed("1.0").type_name(), "number");
  EXPECT_EQ(parsed("1e2").type_name(), "number");
  EXPECT_EQ(parsed("-0").type_name(), "integer");
  double value = 1;
  ASSERT_TRUE(parsed("-0.0").to_double(value));
  EXPECT_TRUE(value == 0 && std::signbit(value));
}

TEST(JsonParse, KeepsMembersInTheOrderOfTheText) {
  const Value value = parsed(R"({"b": 1, "a": [true, null, "x"], "": {}})");
  ASSERT_NE(value.as_object(), nullptr);
  std::string keys;
  for (const Member& member : *value.as_object())
    keys += member.key + ";";
  EXPECT_EQ(keys, "b;a;;");
  EXPECT_EQ(*value.as_object()->find("a"), Value(Array{true, nullptr, "x"}));
  EXPECT_EQ(value.as_object()->find("c"), nullptr);
}

TEST(JsonParse, DecodesEscapes) {
  EXPECT_EQ(parsed(R"("\u00e9\ud83d\ude00\n\/\u0000")"),
            Value(std::string("\xC3\xA9\xF0\x9F\x98\x80\n/\0", 9)));
}

TEST(JsonParse, RefusesMalformedTextAtTheOffendingByte) {
  const std::vector<std::pair<std::string, std::size_t>> cases = {
      {"", 0},
      {"  ", 2},
      {"[1,]", 3},
      {"[1 2]", 3},
      {"{\"a\" \"b\"}", 5},
      {"{\"a\":1,}", 7},
      {"nul", 3},
      {"[tru]", 4},
      {"01", 0},
      {"1.x", 2},
      {"+1", 0},
      {"[1", 2},
      {"\"ab", 3},
      {"\"a\nb\"", 2},
      {"\"\\x\"", 2},
      {"1 2", 2},
      {"{} {}", 3},
      {"// c\n1", 0},
      {"{a:1}", 1},
      {"NaN", 0},
      {"\xEF\xBB\xBF"
       "1",
       0},
      {std::string("1\0", 2), 1},
      {"{\"key\\\"q\":1 \"z\":2}", 12},
  };
  for (const auto& [text, offset] : cases) {
    const ParseError error = refused(text);
    EXPECT_EQ(error.kind, ParseErrorKind::kSyntax) << text;
    EXPECT_EQ(error.offset, offset) << text << ": " << error.message;
    EXPECT_NE(error.message.find(fmt::format("at byte {}", offset)), std::string::npos);
  }
}

TEST(JsonParse, RefusesLoneSurrogates) {
  for (const std::string_view text :
       {R"("\ud800")", R"("\ud800x")", R"("\udc00")", R"("\ud800\u0041")", R"("\ud800\ud800")"}) {
    EXPECT_EQ(refused(text).kind, ParseErrorKind::kSyntax) << text;
  }
}

TEST(JsonParse, RefusesInvalidUtf8AtItsOffset) {
  EXPECT_EQ(refused("[\"a\xFF\"]").kind, ParseErrorKind::kInvalidUtf8);
  EXPECT_EQ(refused("[\"a\xFF\"]").offset, 3u);
  EXPECT_EQ(refused("\"\xED\xA0\x80\"").kind, ParseErrorKind::kInvalidUtf8);
}

TEST(JsonParse, RefusesNumbersOutOfTheRangeOfADouble) {
  for (const std::string& text :
       std::vector<std::string>{"1e309", "-1e309", "1" + std::string(400, '0')}) {
    const ParseError error = refused("[" + text + "]");
    EXPECT_EQ(error.kind, ParseErrorKind::kNumberRange) << text;
    EXPECT_EQ(error.offset, 1u) << text;
  }
  EXPECT_EQ(parsed("1e-400").type_name(), "number");  // Underflow rounds, as everywhere.
}

TEST(JsonParse, RefusesDuplicateKeysInSmallAndLargeObjects) {
  const ParseError error = refused(R"({"a":1,"b":{"a":2},"\u0061":3})");
  EXPECT_EQ(error.kind, ParseErrorKind::kDuplicateKey);
  EXPECT_EQ(error.offset, 19u);
  std::string large = "{";
  for (int i = 0; i < 5000; ++i)
    large += fmt::format("\"k{}\":0,", i);
  EXPECT_EQ(refused(large + "\"k17\":0}").kind, ParseErrorKind::kDuplicateKey);
  EXPECT_EQ(parsed(large + "\"k5000\":0}").as_object()->size(), 5001u);
}

TEST(JsonParse, StopsAtTheDepthLimit) {
  EXPECT_TRUE(parse_detailed(with_depth(64)).has_value());
  const ParseError error = refused(with_depth(65));
  EXPECT_EQ(error.kind, ParseErrorKind::kTooDeep);
  EXPECT_EQ(error.offset, 64u);
  EXPECT_EQ(refused(std::string(5'000'000, '[')).kind, ParseErrorKind::kTooDeep);
  EXPECT_EQ(refused(R"({"a":{}})", {.max_depth = 1}).kind, ParseErrorKind::kTooDeep);
}

TEST(JsonParse, ReportsAsInvalidArgument) {
  EXPECT_EQ(parse("[").error().code(), StatusCode::kInvalidArgument);
}

TEST(JsonValue, ConvertsNumbersOnlyWhenExact) {
  std::int64_t integer = 0;
  EXPECT_TRUE(Value(3.0).to_int64(integer));
  EXPECT_EQ(integer, 3);
  EXPECT_FALSE(Value(3.5).to_int64(integer));
  EXPECT_FALSE(Value(9223372036854775808.0).to_int64(integer));
  EXPECT_TRUE(Value(-9223372036854775808.0).to_int64(integer));
  EXPECT_FALSE(Value(std::numeric_limits<std::uint64_t>::max()).to_int64(integer));
  EXPECT_FALSE(Value(std::nan("")).to_int64(integer));
  EXPECT_FALSE(Value("3").to_int64(integer));
  EXPECT_FALSE(Value(true).to_int64(integer));
  double number = 0;
  EXPECT_FALSE(Value("3").to_double(number));
}

TEST(JsonValue, SetReplacesAndAppends) {
  Object object{{"a", 1}};
  object.set("a", 2);
  object.set("b", 3);
  EXPECT_EQ(dump(object), R"({"a":2,"b":3})");
}

TEST(JsonDump, WritesNumbersAsPythonDoes) {
  const std::vector<std::pair<double, std::string>> cases = {
      {1.0, "1.0"},
      {-0.0, "-0.0"},
      {0.1, "0.1"},
      {100000.0, "100000.0"},
      {1e15, "1000000000000000.0"},
      {1e16, "1e+16"},
      {123456789012345680.0, "1.2345678901234568e+17"},
      {0.0001, "0.0001"},
      {0.00001, "1e-05"},
      {1.5e-7, "1.5e-07"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {0.3333333333333333, "0.3333333333333333"},
  };
  for (const auto& [value, text] : cases)
    EXPECT_EQ(dump(value), text);
  EXPECT_EQ(dump(std::nan("")), "null");
  EXPECT_EQ(dump(-std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(dump(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
}

TEST(JsonDump, EscapesAndRepairsText) {
  EXPECT_EQ(dump(std::string("\"\\\b\f\n\r\t\x01\x7F/\0", 11)),
            "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7F/\\u0000\"");
  EXPECT_EQ(dump("a\xFFz"), "\"a\xEF\xBF\xBDz\"");
  EXPECT_EQ(dump("\xC3\xA9\xF0\x9F\x98\x80"), "\"\xC3\xA9\xF0\x9F\x98\x80\"");
  EXPECT_EQ(dump("\xC3\xA9\xF0\x9F\x98\x80", {.ascii_only = true}), R"("\u00e9\ud83d\ude00")");
}

TEST(JsonDump, FollowsTheStyle) {
  const Value value = Object{{"a", Array{1, 2}}, {"b", Object{}}, {"c", Array{}}};
  EXPECT_EQ(dump(value), R"({"a":[1,2],"b":{},"c":[]})");
  EXPECT_EQ(dump(value, {.item_separator = ", ", .key_separator = ": "}),
            R"({"a": [1, 2], "b": {}, "c": []})");
  EXPECT_EQ(dump(value, {.indent = 2, .key_separator = ": "}),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}");
}

TEST(JsonDump, ReadsBackToTheSameValue) {
  const Value value = Object{{"x", Array{1, -2.5, 1e300, "\xE2\x82\xAC\n", nullptr, false}},
                             {"y", Object{{"z", std::numeric_limits<std::uint64_t>::max()}}}};
  EXPECT_EQ(parsed(dump(value)), value);
  EXPECT_EQ(parsed(dump(value, {.indent = 3, .ascii_only = true})), value);
}

}  // namespace
}  // namespace hearth::json
