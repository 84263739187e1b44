// UTF-8, by the Unicode standard's table 3-7 (no overlong forms, no surrogates, at most U+10FFFF).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::utf8 {

inline constexpr char32_t kReplacement = 0xFFFD;

struct Decoded {
  char32_t code_point = kReplacement;
  std::size_t length = 0;  // Bytes consumed: at least 1 unless the text is empty.
  bool valid = false;
};

// Decodes the code point at the start of `text`. Malformed input yields kReplacement, valid = false
// and the length of the maximal ill-formed subpart (Unicode 3.9, U+FFFD substitution).
Decoded decode(std::string_view text);

void append(std::string& out, char32_t code_point);

bool is_valid(std::string_view text);
// Offset of the first malformed byte, or npos.
std::size_t first_invalid(std::string_view text);

// Malformed subparts replaced by U+FFFD.
std::string sanitize(std::string_view text);

// Code points with replacement of malformed subparts.
std::vector<char32_t> to_code_points(std::string_view text);

// Length of the longest suffix of `text` that may still become a valid code point when more bytes
// follow (0 to 3): what a stream must hold back.
std::size_t incomplete_suffix_length(std::string_view text);

}  // namespace hearth::utf8
