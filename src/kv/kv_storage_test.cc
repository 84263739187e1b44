#include "kv/kv_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace hearth {
namespace {

KvShape small_shape() {
  return {.num_layers = 3, .num_kv_heads = 2, .head_dim = 4, .block_size = 16, .num_blocks = 5};
}

TEST(KvStorageTest, BytesPerBlockCountsKeysAndValuesOfAllLayers) {
  EXPECT_EQ(small_shape().bytes_per_block(), 2u * 3 * 2 * 4 * 16 * sizeof(std::uint16_t));
  EXPECT_EQ(small_shape().bytes_per_token(), 2u * 3 * 2 * 4 * sizeof(std::uint16_t));
}

TEST(KvStorageTest, QuantizedBlocksHaveAScalePerPositionAnd32Components) {
  KvShape shape = small_shape();
  shape.dtype = DType::kQ8_0;
  EXPECT_EQ(shape.bytes_per_block(), 2u * 3 * 2 * 16 * (4 + 2));
  shape.head_dim = 80;
  EXPECT_EQ(shape.bytes_per_block(), 2u * 3 * 2 * 16 * (80 + 3 * 2));
  shape.value_dim = 64;
  EXPECT_EQ(shape.bytes_per_block(), 3u * 2 * 16 * (80 + 3 * 2 + 64 + 2 * 2));
}

struct Cell {
  std::byte* begin = nullptr;
  std::size_t length = 0;
};

void expect_cells_apart(const KvShape& shape) {
  const KvStorage storage = KvStorage::create(shape).value();
  const std::size_t keys = kv_head_bytes(shape.dtype, shape.head_dim, shape.block_size);
  const std::size_t values = kv_head_bytes(shape.dtype, shape.value_len(), shape.block_size);
  std::vector<Cell> cells;
  for (std::size_t layer = 0; layer < shape.num_layers; ++layer) {
    const KvLayerView view = storage.layer(layer);
    EXPECT_EQ(view.dtype, shape.dtype);
    for (std::size_t block = 0; block < shape.num_blocks; ++block) {
      for (std::size_t head = 0; head < shape.num_kv_heads; ++head) {
        cells.push_back({view.k + view.key_offset(block, head), keys});
        cells.push_back({view.v + view.value_offset(block, head), values});
      }
    }
  }
  std::ranges::sort(cells, {}, &Cell::begin);
  std::size_t total = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    std::fill_n(cells[i].begin, cells[i].length, std::byte{1});
    total += cells[i].length;
    if (i > 0) {
      EXPECT_GE(cells[i].begin, cells[i - 1].begin + cells[i - 1].length);
    }
  }
  EXPECT_LE(total, storage.bytes());
  EXPECT_LE(cells.back().begin + cells.back().length, cells.front().begin + storage.bytes());
}

// Every head of every block of every layer, keys and values: all apart, all within the memory.
TEST(KvStorageTest, CellsDoNotOverlapAndAreWritable) {
  for (const DType dtype : {DType::kF16, DType::kQ8_0}) {
    for (const std::size_t num_blocks : {1U, 5U, 32U, 33U, 70U}) {
      for (const std::size_t value_dim : {0U, 3U, 12U}) {
        KvShape shape = small_shape();
        shape.dtype = dtype;
        shape.num_blocks = num_blocks;
        shape.value_dim = value_dim;
        expect_cells_apart(shape);
      }
    }
  }
}

TEST(KvStorageTest, MovingHandsTheMemoryOver) {
  KvStorage first = KvStorage::create(small_shape()).value();
  first.layer(0).k[0] = std::byte{42};
  KvStorage second = std::move(first);
  EXPECT_EQ(second.layer(0).k[0], std::byte{42});
  first = std::move(second);
  EXPECT_EQ(first.layer(0).k[0], std::byte{42});
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
