// Character classes and case as Python's str has them.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace hearth::jinja {

bool is_space(char32_t c);      // str.isspace, regex \s
bool is_alpha(char32_t c);      // str.isalpha
bool is_decimal(char32_t c);    // str.isdecimal
bool is_digit(char32_t c);      // str.isdigit
bool is_numeric(char32_t c);    // str.isnumeric
bool is_word(char32_t c);       // regex \w
bool is_printable(char32_t c);  // str.isprintable: what repr leaves alone
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);  // Titlecase letters such as U+01C5.
bool is_cased(char32_t c);
bool is_line_break(char32_t c);  // Where str.splitlines breaks ("\r\n" counts once).

// Full case mappings of one code point: 1 to 3 code points. (Lower case of a final sigma depends on
// its neighbours and is the caller's.)
struct CaseMapping {
  std::array<char32_t, 3> code_points{};
  std::size_t size = 0;
};
CaseMapping to_upper(char32_t c);
CaseMapping to_lower(char32_t c);
CaseMapping to_title(char32_t c);
CaseMapping to_casefold(char32_t c);

// Bytes of white space at either end.
std::size_t leading_space_length(std::string_view text);
std::size_t trailing_space_length(std::string_view text);
// Bytes of word characters at the start.
std::size_t word_length(std::string_view text);
bool is_identifier(std::string_view text);

}  // namespace hearth::jinja
