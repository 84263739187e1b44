// Numbers of the GGUF specification that its reader and its writer share. Internal to this module.
#pragma once

#include <cstdint>
#include <string_view>

namespace hearth {

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::uint32_t kGgufVersion = 3;            // The newest.
inline constexpr std::uint64_t kGgufDefaultAlignment = 32;  // Of tensor data.

enum class GgufValueType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

}  // namespace hearth
