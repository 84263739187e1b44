#include "models/hf_expert_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "models/hf_directory.h"
#include "models/model_test_util.h"
#include "tensor/quantize.h"
#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::shape_of;
using ::testing::HasSubstr;

// The directory's model as a GGUF file in float32.
std::vector<std::byte> dequantized(const ModelFile& file) {
  test::GgufWriter writer;
  for (const MetadataEntry& entry : file.metadata()) {
    std::visit(
        [&](const auto& value) {
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string_view>)
            writer.add(entry.key, value);
        },
        entry.value);
  }
  for (const TensorView& tensor : file.tensors()) {
    std::vector<float> values(tensor.shape.num_elements());
    dequantize_row(tensor.dtype, tensor.data, values);
    writer.add_tensor(tensor.name, DType::kF32, tensor.shape, values);
  }
  return writer.bytes();
}

// Products with MXFP4 weights round their inputs, so that only the values can be compared closely.
TEST(HfExpertTensors, Mxfp4ValuesGiveTheLogitsOfTransformers) {
  const ModelFile file = open_hf_directory("tests/golden/hf/gpt-oss-mxfp4").value();
  ASSERT_EQ(file.find_tensor("blk.0.ffn_down_exps.weight")->dtype, DType::kMXFP4);
  const auto bytes = dequantized(file);
  const auto expected = test::read_golden("tests/golden/models/gpt-oss-mxfp4.json");
  const auto logits = test::ModelHarness(ModelFile::parse(bytes).value())
                          .evaluate(expected.prompt, expected.prompt.size());
  ASSERT_EQ(logits.size(), expected.logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    for (std::size_t j = 0; j < logits[i].size(); ++j) {
      ASSERT_NEAR(logits[i][j], expected.logits[i][j], test::kRoundedLogitErrorBudget)
          << "position " << i << ", token " << j;
    }
  }
}

class Mxfp4Pair : public ::testing::Test {
 protected:
  // Two rows of one group each.
  Mxfp4Pair() {
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      blocks_[i] = static_cast<std::byte>(i * 37 + 5);
  }

  SafetensorsTensor blocks() const {
    Shape shape = shape_of({1, 2, 1});
    shape.rank = 4;
    shape.dims[3] = 16;
    return {"a_blocks", "U8", shape, blocks_};
  }
  SafetensorsTensor scales() const { return {"a_scales", "U8", shape_of({1, 2, 1}), scales_}; }
  std::string refusal(HfTransform transform, const SafetensorsTensor& blocks,
                      const SafetensorsTensor& scales) {
    const auto result = join_mxfp4(transform, blocks, scales, content_);
    return result.has_value() ? "" : result.error().message();
  }

  ModelFileContent content_;
  std::vector<std::byte> blocks_ = std::vector<std::byte>(32);
  std::vector<std::byte> scales_ = {std::byte{127}, std::byte{130}};
};

TEST_F(Mxfp4Pair, BecomesBlocksOfTheSameValues) {
  const TensorView tensor = join_mxfp4(HfTransform::kMxfp4, blocks(), scales(), content_).value();
  EXPECT_EQ(tensor.shape, shape_of({1, 2, 32}));
  std::vector<float> values(64);
  dequantize_row(tensor.dtype, tensor.data, values);
  constexpr float kLevels[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const unsigned code = std::to_integer<unsigned>(blocks_[i / 2]) >> (i % 2 * 4) & 15u;
    const float size = kLevels[code % 8] * (i < 32 ? 1.0f : 8.0f);
    EXPECT_EQ(values[i], code < 8 ? size : -size) << i;
  }
}

TEST_F(Mxfp4Pair, IsRefusedWhereTheTwoDoNotFit) {
  auto flat = blocks();
  flat.shape.rank = 3;
  EXPECT_THAT(refusal(HfTransform::kMxfp4, flat, scales()), HasSubstr("'a_blocks' has shape"));
  auto wide = blocks();
  wide.shape.dims[3] = 8;
  wide.shape.dims[2] = 2;
  EXPECT_THAT(refusal(HfTransform::kMxfp4, wide, scales()),
              HasSubstr("expected [experts, out_features, groups, 16]"));
  auto odd = scales();
  odd.shape = shape_of({2, 1, 1});
  EXPECT_THAT(refusal(HfTransform::kMxfp4, blocks(), odd),
              HasSubstr("'a_scales' has shape [2, 1, 1], expected [1, 2, 1]"));
  auto typed = scales();
  typed.type = "F8_E4M3";
  EXPECT_THAT(refusal(HfTransform::kMxfp4, blocks(), typed), HasSubstr("has dtype F8_E4M3"));
}

TEST_F(Mxfp4Pair, NeedsAnEvenNumberOfRowsWhereGateAndUpTakeTurns) {
  auto one_row = blocks();
  one_row.shape.dims[1] = 1;
  one_row.data = one_row.data.first(16);
  EXPECT_THAT(refusal(HfTransform::kPairedMxfp4, one_row, scales()),
              HasSubstr("expected [experts, 2 * out_features, groups, 16]"));
}

// Halves, as models are published in.
TEST(HfExpertTensors, ColumnsThatTakeTurnsBecomeRowsOfGateThenOfUp) {
  // Of 2 experts, 3 rows of 4 columns; each element says where it was.
  std::vector<std::uint16_t> elements(24);
  std::iota(elements.begin(), elements.end(), std::uint16_t{0});
  TensorView tensor = {"a", DType::kF16, shape_of({2, 3, 4}), std::as_bytes(std::span(elements))};
  ModelFileContent content;
  ASSERT_TRUE(arrange_experts(HfTransform::kPairedColumns, "a", tensor, content).ok());
  EXPECT_EQ(tensor.shape, shape_of({2, 4, 3}));
  std::vector<std::uint16_t> moved(elements.size());
  std::memcpy(moved.data(), tensor.data.data(), tensor.data.size());
  EXPECT_EQ(moved, (std::vector<std::uint16_t>{0,  4,  8,  2,  6,  10, 1,  5,  9,  3,  7,  11,
                                               12, 16, 20, 14, 18, 22, 13, 17, 21, 15, 19, 23}));
}

TEST(HfExpertTensors, AnotherRankIsRefused) {
  const std::vector<float> values(6);
  ModelFileContent content;
  for (const HfTransform transform :
       {HfTransform::kExpertColumns, HfTransform::kPairedColumns, HfTransform::kPairedValues}) {
    TensorView tensor = {"a", DType::kF32, shape_of({2, 3}), std::as_bytes(std::span(values))};
    const Status status = arrange_experts(transform, "mlp.a", tensor, content);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("'mlp.a' has shape [2, 3], expected [experts, "));
  }
}

}  // namespace
}  // namespace hearth
