// Checksums that tell damage, not intent: XXH3, 64 bits (https://xxhash.com), of each part of what
// is kept on disk. A part is small enough to name the place of the damage, and large enough for its
// checksum to cost nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hearth {

inline constexpr std::size_t kChecksumBytes = std::size_t{1} << 20;

std::uint64_t checksum_of(std::span<const std::byte> bytes);

// Parts of so many bytes; the last one may be shorter.
inline std::size_t num_checksums(std::size_t size) {
  return size / kChecksumBytes + (size % kChecksumBytes == 0 ? 0 : 1);
}

inline std::span<const std::byte> checked_part(std::span<const std::byte> bytes, std::size_t idx) {
  const auto rest = bytes.subspan(idx * kChecksumBytes);
  return rest.first(rest.size() < kChecksumBytes ? rest.size() : kChecksumBytes);
}

}  // namespace hearth
