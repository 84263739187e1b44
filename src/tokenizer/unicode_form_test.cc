#include "tokenizer/unicode_form.h"

#include <gtest/gtest.h>

#include <string>

namespace hearth {
namespace {

TEST(UnicodeFormTest, ComposesOrdersAndKeepsExclusions) {
  EXPECT_EQ(to_form("e\xCC\x81", UnicodeForm::kC), "\xC3\xA9");     // U+0065 U+0301
  EXPECT_EQ(to_form("\xE2\x84\xAB", UnicodeForm::kC), "\xC3\x85");  // U+212B to U+00C5
  EXPECT_EQ(to_form("d\xCC\x87\xCC\xA3", UnicodeForm::kC),
            "\xE1\xB8\x8D\xCC\x87");  // U+1E0D U+0307
  EXPECT_EQ(to_form("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", UnicodeForm::kC),
            "\xEA\xB0\x81");  // Hangul
  EXPECT_EQ(to_form("\xE0\xA5\x98", UnicodeForm::kC),
            "\xE0\xA4\x95\xE0\xA4\xBC");  // U+0958 is excluded.
  EXPECT_EQ(to_form("plain \xE4\xBD\xA0", UnicodeForm::kC), "plain \xE4\xBD\xA0");
  EXPECT_EQ(to_form("", UnicodeForm::kC), "");
}

TEST(UnicodeFormTest, QuickCheckOnlyPassesTextBelowTheCombiningMarks) {
  EXPECT_TRUE(is_trivially_in_form("abc \xC3\xA9", UnicodeForm::kC));
  EXPECT_FALSE(is_trivially_in_form("e\xCC\x81", UnicodeForm::kC));
}

TEST(UnicodeFormTest, TheOtherForms) {
  EXPECT_EQ(to_form("\xC3\xA9", UnicodeForm::kD), "e\xCC\x81");
  EXPECT_EQ(to_form("\xEF\xAC\x81\xC3\xA9", UnicodeForm::kKD), "fie\xCC\x81");  // U+FB01
  EXPECT_EQ(to_form("\xEF\xAC\x81\xC3\xA9", UnicodeForm::kKC), "fi\xC3\xA9");
  EXPECT_EQ(to_form("\xEF\xAC\x81", UnicodeForm::kC), "\xEF\xAC\x81");
  EXPECT_FALSE(is_trivially_in_form("\xC3\xA9", UnicodeForm::kD));
  EXPECT_TRUE(is_trivially_in_form("abc", UnicodeForm::kKC));
}

}  // namespace
}  // namespace hearth
