// Unicode normalization form C (UAX #15).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hearth {

// True when the text certainly is in form C: no code point from U+0300 on. False says nothing.
bool is_trivially_nfc(std::string_view text);

// Form C of a text is never shorter than its bytes over this. (The worst is U+1FBE U+0308 U+0301,
// 7 bytes, which becomes U+0390, 2 bytes; by all decompositions of Unicode 15.)
inline constexpr std::size_t kMaxNfcShrinking = 4;

// `text` (valid UTF-8) in form C. O(n log n), also for long runs of combining marks.
std::string to_nfc(std::string_view text);

}  // namespace hearth
