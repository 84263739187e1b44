#include "tokenizer/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/utf8.h"

namespace hearth::byte_level {

namespace {

struct Spelling {
  std::array<char, 2> utf8{};
  std::uint8_t length = 0;
};

constexpr std::uint32_t kFirstMoved = 0x100;
constexpr std::size_t kNumMoved = 68;

constexpr bool stands_for_itself(std::uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<Spelling, 256> spellings{};
  std::array<std::uint8_t, kNumMoved> moved{};  // Byte of code point kFirstMoved + index.
};

constexpr Tables make_tables() {
  Tables tables;
  std::size_t num_moved = 0;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t code_point = byte;
    if (!stands_for_itself(byte)) {
      tables.moved[num_moved] = static_cast<std::uint8_t>(byte);
      code_point = kFirstMoved + static_cast<std::uint32_t>(num_moved++);
    }
    Spelling& spelling = tables.spellings[byte];
    if (code_point < 0x80) {
      spelling.utf8[spelling.length++] = static_cast<char>(code_point);
    } else {
      spelling.utf8[spelling.length++] = static_cast<char>(0xC0 | (code_point >> 6));
      spelling.utf8[spelling.length++] = static_cast<char>(0x80 | (code_point & 0x3F));
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::string_view spelling(unsigned char byte) {
  const Spelling& found = kTables.spellings[byte];
  return {found.utf8.data(), found.length};
}

void append_spelling(std::string& out, std::string_view bytes) {
  for (const char byte : bytes)
    out += spelling(static_cast<unsigned char>(byte));
}

std::optional<std::string> bytes_of(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const utf8::Decoded decoded = utf8::decode(spelling);
    const std::uint32_t code_point = decoded.code_point;
    if (!decoded.valid) return std::nullopt;
    if (code_point < 0x100 && stands_for_itself(code_point)) {
      bytes.push_back(static_cast<char>(code_point));
    } else if (code_point >= kFirstMoved && code_point < kFirstMoved + kNumMoved) {
      bytes.push_back(static_cast<char>(kTables.moved[code_point - kFirstMoved]));
    } else {
      return std::nullopt;
    }
    spelling.remove_prefix(decoded.length);
  }
  return bytes;
}

}  // namespace hearth::byte_level
