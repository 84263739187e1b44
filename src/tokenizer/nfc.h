// Unicode normalization form C (UAX #15).
#pragma once

#include <string>
#include <string_view>

namespace hearth {

// True when the text certainly is in form C: no code point from U+0300 on. False says nothing.
bool is_trivially_nfc(std::string_view text);

// `text` (valid UTF-8) in form C. O(n log n), also for long runs of combining marks.
std::string to_nfc(std::string_view text);

}  // namespace hearth
