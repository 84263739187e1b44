#include "kv/kv_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

namespace hearth {
namespace {

KvShape small_shape() {
  return {.num_layers = 3, .num_kv_heads = 2, .head_dim = 4, .block_size = 16, .num_blocks = 5};
}

TEST(KvStorageTest, BytesPerBlockCountsKeysAndValuesOfAllLayers) {
  EXPECT_EQ(small_shape().bytes_per_block(), 2u * 3 * 2 * 4 * 16 * sizeof(std::uint16_t));
  EXPECT_EQ(small_shape().bytes_per_token(), 2u * 3 * 2 * 4 * sizeof(std::uint16_t));
}

TEST(KvStorageTest, PlanesDoNotOverlapAndAreWritable) {
  const KvStorage storage = KvStorage::create(small_shape()).value();
  const std::size_t plane = 5 * storage.block_stride();
  EXPECT_EQ(storage.head_stride(), 4u * 16);
  EXPECT_EQ(storage.block_stride(), 2u * 4 * 16);
  std::uint16_t mark = 0;
  for (std::size_t layer = 0; layer < 3; ++layer) {
    std::fill_n(storage.keys(layer), plane, mark++);
    std::fill_n(storage.values(layer), plane, mark++);
  }
  mark = 0;
  for (std::size_t layer = 0; layer < 3; ++layer) {
    for (std::uint16_t* data : {storage.keys(layer), storage.values(layer)}) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0u);
      EXPECT_EQ(data[0], mark);
      EXPECT_EQ(data[plane - 1], mark);
      ++mark;
    }
  }
}

TEST(KvStorageTest, MovingHandsTheMemoryOver) {
  KvStorage first = KvStorage::create(small_shape()).value();
  first.keys(0)[0] = 42;
  KvStorage second = std::move(first);
  EXPECT_EQ(second.keys(0)[0], 42);
  first = std::move(second);
  EXPECT_EQ(first.keys(0)[0], 42);
}

TEST(KvStorageTest, RefusesWhatTheAddressSpaceCannotHold) {
  KvShape shape = small_shape();
  shape.num_blocks = std::numeric_limits<std::size_t>::max() / 16;
  const auto storage = KvStorage::create(shape);
  ASSERT_FALSE(storage.has_value());
  EXPECT_EQ(storage.error().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(storage.error().message().find("1536 bytes"), std::string::npos);
}

}  // namespace
}  // namespace hearth
