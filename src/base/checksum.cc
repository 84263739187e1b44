#include "base/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hearth {

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace hearth
