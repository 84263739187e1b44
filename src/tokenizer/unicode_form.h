// Unicode normalization forms (UAX #15).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hearth {

enum class UnicodeForm : std::uint8_t { kC, kD, kKC, kKD };

// True when the text certainly is in the form: no code point from U+0300 on for form C, ASCII for
// the others. False says nothing.
bool is_trivially_in_form(std::string_view text, UnicodeForm form);

// A form of a text is never shorter than its bytes over this. (The worst for form C is U+1FBE
// U+0308 U+0301, 7 bytes, which becomes U+0390, 2 bytes; for the compatibility forms U+1D4EA, 4
// bytes, which becomes "a", or U+1D6CA for the iota above.)
inline constexpr std::size_t kMaxFormShrinking = 4;
// Nor longer than its bytes times this (U+FDFA: 3 bytes, 33 in the compatibility forms).
inline constexpr std::size_t kMaxFormGrowth = 11;

// `text` (valid UTF-8) in the form. O(n log n), also for long runs of combining marks.
std::string to_form(std::string_view text, UnicodeForm form);

}  // namespace hearth
