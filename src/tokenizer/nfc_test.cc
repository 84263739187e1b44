#include "tokenizer/nfc.h"

#include <gtest/gtest.h>

#include <string>

namespace hearth {
namespace {

TEST(NfcTest, ComposesOrdersAndKeepsExclusions) {
  EXPECT_EQ(to_nfc("e\xCC\x81"), "\xC3\xA9");                                 // U+0065 U+0301
  EXPECT_EQ(to_nfc("\xE2\x84\xAB"), "\xC3\x85");                              // U+212B to U+00C5
  EXPECT_EQ(to_nfc("d\xCC\x87\xCC\xA3"), "\xE1\xB8\x8D\xCC\x87");             // U+1E0D U+0307
  EXPECT_EQ(to_nfc("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "\xEA\xB0\x81");  // Hangul
  EXPECT_EQ(to_nfc("\xE0\xA5\x98"), "\xE0\xA4\x95\xE0\xA4\xBC");              // U+0958 is excluded.
  EXPECT_EQ(to_nfc("plain \xE4\xBD\xA0"), "plain \xE4\xBD\xA0");
  EXPECT_EQ(to_nfc(""), "");
}

TEST(NfcTest, QuickCheckOnlyPassesTextBelowTheCombiningMarks) {
  EXPECT_TRUE(is_trivially_nfc("abc \xC3\xA9"));
  EXPECT_FALSE(is_trivially_nfc("e\xCC\x81"));
}

}  // namespace
}  // namespace hearth
