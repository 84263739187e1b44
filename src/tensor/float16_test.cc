#include "tensor/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace hearth {
namespace {

constexpr std::uint32_t kNumPatterns = 1u << 16;

// The value of a binary16 pattern by the standard's definition; not for infinities and NaNs.
double half_value(std::uint32_t bits) {
  const int exponent = static_cast<int>((bits >> 10) & 0x1f);
  const int mantissa = static_cast<int>(bits & 0x3ff);
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool is_finite_half(std::uint32_t bits) {
  return (bits & 0x7c00) != 0x7c00;
}

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

TEST(Float16Test, EveryFinitePatternWidensToItsValueAndBack) {
  for (std::uint32_t bits = 0; bits < kNumPatterns; ++bits) {
    if (!is_finite_half(bits)) continue;
    const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(bits_of(value), bits_of(static_cast<float>(half_value(bits)))) << bits;
    ASSERT_EQ(f32_to_f16(value), bits);
  }
}

TEST(Float16Test, InfinitiesAndNansKeepTheirKindAndSign) {
  for (std::uint32_t bits = 0; bits < kNumPatterns; ++bits) {
    if (is_finite_half(bits)) continue;
    const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0);
    if ((bits & 0x3ff) == 0) {
      ASSERT_TRUE(std::isinf(value));
      ASSERT_EQ(f32_to_f16(value), bits);
    } else {
      ASSERT_TRUE(std::isnan(value));
      ASSERT_NE(bits_of(value) & 0x400000u, 0u) << "a NaN must be quiet";
      ASSERT_EQ(f32_to_f16(value), bits | 0x200u) << "only the quiet bit may change";
    }
  }
}

// Between two neighbours, all float32 values nearer to one must round to it, and the middle to the
// even one. 65504 has the value 65536 as its neighbour, which overflows to infinity.
TEST(Float16Test, NarrowsToTheNearestWithTiesToEven) {
  for (std::uint32_t low = 0; low < 0x7c00; ++low) {
    const double next = low + 1 == 0x7c00 ? 65536.0 : half_value(low + 1);
    const auto middle = static_cast<float>((half_value(low) + next) / 2);
    const std::uint32_t even = low % 2 == 0 ? low : low + 1;
    ASSERT_EQ(f32_to_f16(middle), even) << low;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), low) << low;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), low + 1) << low;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << low;
  }
}

TEST(Float16Test, TheSmallestAndTheLargestFloatsNarrowToZeroAndInfinity) {
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0x0000);
  EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::denorm_min()), 0x8000);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::lowest()), 0xfc00);
}

TEST(BFloat16Test, EveryPatternWidensToTheUpperHalfAndBack) {
  for (std::uint32_t bits = 0; bits < kNumPatterns; ++bits) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(bits_of(value), bits << 16);
    const std::uint32_t expected = std::isnan(value) ? bits | 0x40u : bits;
    ASSERT_EQ(f32_to_bf16(value), expected);
  }
}

TEST(BFloat16Test, NarrowsToTheNearestWithTiesToEven) {
  for (std::uint32_t low = 0; low < 0x7f80; ++low) {
    const std::uint32_t middle = (low << 16) | 0x8000;
    const std::uint32_t even = low % 2 == 0 ? low : low + 1;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle)), even);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle - 1)), low);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle + 1)), low + 1);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle | 0x80000000u)), even | 0x8000);
  }
}

}  // namespace
}  // namespace hearth
