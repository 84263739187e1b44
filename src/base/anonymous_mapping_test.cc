#include "base/anonymous_mapping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

namespace hearth {
namespace {

TEST(AnonymousMappingTest, StartsOnAHugePageAndIsZeroAndWritableToItsEnd) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{4096}, std::size_t{(2u << 20) + 5}}) {
    const auto mapping = AnonymousMapping::create(size).value();
    ASSERT_EQ(mapping.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.data()) % AnonymousMapping::kHugePageBytes,
              0u);
    EXPECT_EQ(mapping.data()[0], std::byte{0});
    EXPECT_EQ(mapping.data()[size - 1], std::byte{0});
    mapping.data()[0] = mapping.data()[size - 1] = std::byte{7};
    EXPECT_EQ(mapping.data()[size - 1], std::byte{7});
  }
}

TEST(AnonymousMappingTest, MovingHandsTheMemoryOver) {
  auto first = AnonymousMapping::create(100).value();
  first.data()[3] = std::byte{42};
  AnonymousMapping second = std::move(first);
  EXPECT_EQ(second.data()[3], std::byte{42});
  first = std::move(second);
  EXPECT_EQ(first.data()[3], std::byte{42});
  EXPECT_EQ(first.size(), 100u);
}

TEST(AnonymousMappingTest, RefusesWhatTheSystemCannotGive) {
  for (const std::size_t size :
       {std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max() / 2}) {
    const auto mapping = AnonymousMapping::create(size);
    ASSERT_FALSE(mapping.has_value());
    EXPECT_EQ(mapping.error().code(), StatusCode::kResourceExhausted);
    EXPECT_NE(mapping.error().message().find(std::to_string(size)), std::string::npos);
  }
}

TEST(AnonymousMappingTest, OnlyWholePagesOfADiscardedPartGo) {
  constexpr std::size_t kPage = 4096;
  const auto mapping = AnonymousMapping::create(4 * kPage).value();
  std::fill_n(mapping.data(), mapping.size(), std::byte{7});
  mapping.discard({mapping.data() + 100, 2 * kPage});
  EXPECT_EQ(mapping.data()[kPage - 1], std::byte{7});
  EXPECT_EQ(mapping.data()[kPage], std::byte{0});
  EXPECT_EQ(mapping.data()[2 * kPage - 1], std::byte{0});
  EXPECT_EQ(mapping.data()[2 * kPage], std::byte{7});
  mapping.discard({mapping.data(), 10});  // No whole page.
  EXPECT_EQ(mapping.data()[0], std::byte{7});
}

}  // namespace
}  // namespace hearth
