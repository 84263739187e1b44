#include "tensor/finite.h"

#include <cstdint>
#include <cstring>

namespace hearth {
namespace {

// All bits of the exponent set is a NaN or an infinity in each of these formats. Without a way out
// of the loop, so that it becomes vector code.
template <typename Bits>
bool no_full_exponent(std::span<const std::byte> data, Bits exponent) {
  Bits found = 0;
  for (std::size_t i = 0; i + sizeof(Bits) <= data.size(); i += sizeof(Bits)) {
    Bits value;
    std::memcpy(&value, data.data() + i, sizeof(Bits));
    found |= static_cast<Bits>((value & exponent) == exponent);
  }
  return found == 0;
}

}  // namespace

bool all_finite(DType dtype, std::span<const std::byte> data) {
  switch (dtype) {
    case DType::kF32:
      return no_full_exponent<std::uint32_t>(data, 0x7f800000);
    case DType::kF16:
      return no_full_exponent<std::uint16_t>(data, 0x7c00);
    case DType::kBF16:
      return no_full_exponent<std::uint16_t>(data, 0x7f80);
    default:
      return true;
  }
}

}  // namespace hearth
