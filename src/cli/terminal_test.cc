#include "cli/terminal.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

TEST(SingleLine, EscapesWhatCouldForgeALine) {
  EXPECT_EQ(single_line("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(single_line("caf\xc3\xa9"), "caf\xc3\xa9");
}

TEST(WithoutControls, KeepsTextNewlinesAndTabs) {
  EXPECT_EQ(without_controls("a\n\tb\x1b[2J\x07 caf\xc3\xa9"), "a\n\tb[2J caf\xc3\xa9");
  EXPECT_EQ(without_controls("x\xc2\x9b"
                             "1my"),
            "x1my");  // U+009B starts a control sequence.
}

TEST(HumanBytes, UsesTheUnitThatFits) {
  EXPECT_EQ(human_bytes(0), "0 bytes");
  EXPECT_EQ(human_bytes(1023), "1023 bytes");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(98362432), "93.8 MiB");
  EXPECT_EQ(human_bytes((std::uint64_t{1} << 30) - 1), "1.0 GiB");
  EXPECT_EQ(human_bytes(std::uint64_t{5000} << 40), "5000.0 TiB");
}

TEST(HumanCount, UsesTheUnitThatFits) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(134515008), "134.5 M");
  EXPECT_EQ(human_count(999999), "1.0 M");
}

TEST(FormatTable, AlignsColumnsByCharactersWithoutTrailingBlanks) {
  EXPECT_EQ(format_table({{"id", "piece"}, {"7", "caf\xc3\xa9", "x"}, {"1234", "b", "y"}, {"1"}},
                         {true, false, false}),
            "  id  piece\n"
            "   7  caf\xc3\xa9   x\n"
            "1234  b      y\n"
            "   1\n");
}

}  // namespace
}  // namespace hearth
