// A short digest that tells two things apart by accident, not by intent: 64-bit FNV-1a
// (http://www.isthe.com/chongo/tech/comp/fnv).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace hearth {

class Fingerprint {
 public:
  Fingerprint& mix(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes)
      value_ = (value_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
    return *this;
  }
  Fingerprint& mix(std::string_view text) { return mix(std::as_bytes(std::span(text))); }
  Fingerprint& mix(std::uint64_t number) { return mix(std::as_bytes(std::span(&number, 1))); }

  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace hearth
