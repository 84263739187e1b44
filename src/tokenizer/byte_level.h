// The printable spelling of bytes that GPT-2 introduced: each byte is written as one code point, so
// that vocabulary files hold text. Printable Latin-1 bytes stand for themselves, the others (space,
// control bytes, ...) for U+0100 and up in order: " hello" is spelled with U+0120 in front.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hearth::byte_level {

// UTF-8 of the code point that stands for a byte.
std::string_view spelling(unsigned char byte);

void append_spelling(std::string& out, std::string_view bytes);

// The bytes that a spelling stands for; nullopt when a code point stands for no byte.
std::optional<std::string> bytes_of(std::string_view spelling);

}  // namespace hearth::byte_level
