#include "server/random_id.h"

#include <unistd.h>

#include <array>

#include "base/status.h"

namespace hearth {

std::uint64_t random_u64() {
  std::uint64_t value = 0;
  HEARTH_CHECK(getentropy(&value, sizeof value) == 0);
  return value;
}

std::string random_hex(std::size_t num_digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<unsigned char, 32> bytes{};
  HEARTH_CHECK(num_digits <= 2 * bytes.size());
  HEARTH_CHECK(getentropy(bytes.data(), (num_digits + 1) / 2) == 0);
  std::string out;
  for (std::size_t i = 0; i < num_digits; ++i) {
    const unsigned nibble = i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 0xFu;
    out += kDigits[nibble];
  }
  return out;
}

}  // namespace hearth
