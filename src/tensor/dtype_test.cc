#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include "tensor/tensor.h"

namespace hearth {
namespace {

TEST(DTypeTest, EveryFormatIsFoundByItsNameAndItsGgufNumber) {
  for (const DTypeInfo& info : all_dtypes()) {
    EXPECT_EQ(&dtype_info(info.dtype), &info);
    EXPECT_EQ(dtype_from_name(info.name), info.dtype);
    EXPECT_EQ(dtype_from_gguf(info.gguf_type), info.dtype);
    EXPECT_EQ(gguf_type_name(info.gguf_type), info.name);
  }
}

TEST(DTypeTest, EveryEnumeratorHasARow) {
  EXPECT_EQ(all_dtypes().size(), static_cast<std::size_t>(DType::kNF4) + 1);
}

TEST(DTypeTest, NamesTypesThatAreNotSupported) {
  EXPECT_EQ(dtype_from_gguf(40), std::nullopt);
  EXPECT_EQ(gguf_type_name(40), "NVFP4");
  EXPECT_EQ(gguf_type_name(4), "Q4_2");
  EXPECT_EQ(gguf_type_name(41), "Q1_0");
  EXPECT_EQ(gguf_type_name(42), "unknown");
  EXPECT_EQ(gguf_type_name(0xffffffff), "unknown");
  EXPECT_EQ(dtype_from_gguf(0xffffffff), std::nullopt);
  EXPECT_EQ(dtype_from_name("q4_0"), std::nullopt);
}

TEST(DTypeTest, RowBytesCountWholeBlocks) {
  EXPECT_EQ(row_bytes(DType::kF32, 7), 28u);
  EXPECT_EQ(row_bytes(DType::kBF16, 7), 14u);
  EXPECT_EQ(row_bytes(DType::kQ4_1, 576), 18u * 20u);
  EXPECT_EQ(row_bytes(DType::kQ6_K, 512), 420u);
  EXPECT_EQ(row_bytes(DType::kQ8_0, 0), 0u);
}

TEST(DTypeDeathTest, RowBytesRefusesPartOfABlock) {
  EXPECT_DEATH((void)row_bytes(DType::kQ4_0, 33), "row_len % info.block_len == 0");
}

TEST(ShapeTest, RowsAreTheInnermostDimension) {
  const Shape matrix = {.dims = {576, 1536}, .rank = 2};
  EXPECT_EQ(matrix.row_len(), 1536u);
  EXPECT_EQ(matrix.num_rows(), 576u);
  EXPECT_EQ(matrix.to_string(), "[576, 1536]");
  const Shape vector = {.dims = {64}, .rank = 1};
  EXPECT_EQ(vector.row_len(), 64u);
  EXPECT_EQ(vector.num_rows(), 1u);
  const Shape scalar = {};
  EXPECT_EQ(scalar.num_elements(), 1u);
  EXPECT_EQ(scalar.num_rows(), 1u);
  EXPECT_EQ(scalar.to_string(), "[]");
}

}  // namespace
}  // namespace hearth
