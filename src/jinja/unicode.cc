#include "jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <span>

#include "base/utf8.h"
#include "jinja/unicode_tables.h"

namespace hearth::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool in_ranges(std::span<const CodePointRange> ranges, char32_t c) {
  const auto found = std::ranges::lower_bound(ranges, c, {}, &CodePointRange::last);
  return found != ranges.end() && found->first <= c;
}

const CaseMapping* special(std::span<const SpecialCase> table, char32_t c) {
  const auto found = std::ranges::lower_bound(table, c, {}, &SpecialCase::code_point);
  return found != table.end() && found->code_point == c ? &found->mapping : nullptr;
}

CaseMapping one(utf8proc_int32_t c) {
  return {{static_cast<char32_t>(c)}, 1};
}

constexpr bool is_ascii_space(char32_t c) {
  return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
}

}  // namespace

bool is_space(char32_t c) {
  if (c < 0x80) return is_ascii_space(c);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) {
  return is_decimal(c) || in_ranges(kOtherDigits, c);
}

bool is_numeric(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO) ||
         in_ranges(kOtherNumerics, c);
}

bool is_word(char32_t c) {
  if (c < 0x80)
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
  return is_alpha(c) || is_numeric(c);
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  const utf8proc_category_t kind = category(c);
  return kind != UTF8PROC_CATEGORY_CN && kind < UTF8PROC_CATEGORY_ZS;
}

bool is_upper(char32_t c) {
  return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool is_lower(char32_t c) {
  return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0;
}

bool is_title(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LT;
}

bool is_cased(char32_t c) {
  return is_upper(c) || is_lower(c) || is_title(c);
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

CaseMapping to_upper(char32_t c) {
  if (const CaseMapping* mapping = special(kSpecialUpper, c)) return *mapping;
  return one(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

CaseMapping to_lower(char32_t c) {
  constexpr char32_t kCapitalIWithDot = 0x130;
  if (c == kCapitalIWithDot) return {{'i', 0x307}, 2};
  return one(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

CaseMapping to_title(char32_t c) {
  if (const CaseMapping* mapping = special(kSpecialTitle, c)) return *mapping;
  return one(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

CaseMapping to_casefold(char32_t c) {
  if (const CaseMapping* mapping = special(kSpecialFold, c)) return *mapping;
  return to_lower(c);
}

std::size_t leading_space_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    const utf8::Decoded decoded = utf8::decode(text.substr(length));
    if (!is_space(decoded.code_point)) break;
    length += decoded.length;
  }
  return length;
}

std::size_t trailing_space_length(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
      --begin;
    if (!is_space(utf8::decode(text.substr(begin)).code_point)) break;
    end = begin;
  }
  return text.size() - end;
}

std::size_t word_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    const utf8::Decoded decoded = utf8::decode(text.substr(length));
    if (!is_word(decoded.code_point)) break;
    length += decoded.length;
  }
  return length;
}

bool is_identifier(std::string_view text) {
  if (text.empty()) return false;
  const char32_t first = utf8::decode(text).code_point;
  return !is_numeric(first) && word_length(text) == text.size();
}

}  // namespace hearth::jinja
