#include "formats/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tensor/quantize.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"
#include "tests/support/tiny_llama.h"

namespace hearth {
namespace {

using test::GgufWriter;
using test::TempDirectory;
using ::testing::HasSubstr;

constexpr int kNumParts = 3;

std::string part_name(int no, int count = kNumParts) {
  return fmt::format("model-{:05}-of-{:05}.gguf", no + 1, count);
}

GgufWriter make_part(int no, int count = kNumParts) {
  GgufWriter writer;
  if (no == 0) writer.add("general.name", "in parts");
  writer.add("split.no", static_cast<std::uint16_t>(no));
  writer.add("split.count", static_cast<std::uint16_t>(count));
  writer.add("split.tensors.count", std::int32_t{count});
  const std::vector<float> values(32, static_cast<float>(no));
  writer.add_tensor(fmt::format("tensor{}", no), DType::kF32, test::shape_of({32}), values);
  return writer;
}

class SplitModelTest : public ::testing::Test {
 protected:
  SplitModelTest() {
    for (int no = 0; no < kNumParts; ++no) {
      make_part(no).write(path(no));
    }
  }

  std::filesystem::path path(int no) const { return directory_.path() / part_name(no); }

  void expect_refused(StatusCode code, const char* message, int opened = 0) const {
    const auto file = ModelFile::open(path(opened));
    ASSERT_FALSE(file.has_value());
    EXPECT_EQ(file.error().code(), code) << file.error().to_string();
    EXPECT_THAT(file.error().message(), HasSubstr(message));
  }

  TempDirectory directory_;
};

TEST(ModelFileTest, ReadsATinyModelFromDisk) {
  const TempDirectory directory;
  const auto path = directory.path() / "tiny.gguf";
  test::write_tiny_llama(path);
  const auto file = ModelFile::open(path);
  ASSERT_TRUE(file.has_value()) << file.error().to_string();
  EXPECT_EQ(file->format(), "GGUF v3");
  EXPECT_EQ(file->file_bytes(), std::filesystem::file_size(path));
  EXPECT_EQ(file->find_text("general.architecture"), "llama");
  EXPECT_EQ(file->find_uint32("llama.block_count"), 2u);
  const auto tokens = file->find_texts("tokenizer.ggml.tokens");
  ASSERT_TRUE(tokens.has_value());
  ASSERT_EQ((*tokens)->size(), test::kTinyVocabSize);
  EXPECT_EQ((**tokens)[test::kTinyImEnd], "<|im_end|>");
  EXPECT_EQ((**tokens)[test::kTinyFirstByte + 'A'], "A");
  const TensorView* embedding = file->find_tensor("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->shape, test::shape_of({test::kTinyVocabSize, 64}));
  EXPECT_EQ(file->find_tensor("output.weight"), nullptr);
}

TEST(ModelFileTest, ReadsTheTinyModelInEveryFormat) {
  for (const DTypeInfo& info : all_dtypes()) {
    if (info.dtype == DType::kI32) continue;
    const auto bytes = test::tiny_llama_bytes({.dtype = info.dtype, .tied = false, .bias = true});
    const auto file = ModelFile::parse(bytes);
    ASSERT_TRUE(file.has_value()) << info.name << ": " << file.error().to_string();
    const TensorView* output = file->find_tensor("output.weight");
    ASSERT_NE(output, nullptr);
    EXPECT_EQ(output->dtype, info.dtype);
    EXPECT_NE(file->find_tensor("blk.1.attn_q.bias"), nullptr);
    std::vector<float> row(output->shape.row_len());
    dequantize_row(info.dtype, output->data.first(row_bytes(info.dtype, row.size())), row);
    EXPECT_THAT(row, ::testing::Contains(::testing::Gt(can_quantize(info.dtype) ? 0.1f : 0.001f)));
  }
}

TEST(ModelFileTest, EqualOptionsGiveEqualTinyModels) {
  EXPECT_EQ(test::tiny_llama_bytes(), test::tiny_llama_bytes());
  EXPECT_NE(test::tiny_llama_bytes(), test::tiny_llama_bytes({.seed = 2}));
}

TEST(ModelFileTest, ViewsSurviveAMove) {
  const auto bytes = test::tiny_llama_bytes();
  auto file = ModelFile::parse(bytes);
  ASSERT_TRUE(file.has_value());
  const TensorView* tensor = file->find_tensor("output_norm.weight");
  const ModelFile moved = std::move(*file);
  EXPECT_EQ(moved.find_tensor("output_norm.weight"), tensor);
  EXPECT_EQ(moved.find_text("tokenizer.ggml.model"), "gpt2");
}

TEST(ModelFileTest, TypedLookUpsNameTheKeyAndBothTypes) {
  GgufWriter writer;
  writer.add("text", "x");
  writer.add("negative", std::int32_t{-1});
  writer.add("large", std::uint64_t{1} << 32);
  writer.add("huge", ~std::uint64_t{0});
  writer.add("float", 0.5f);
  writer.add("bool", true);
  writer.add("integers", std::vector<std::int32_t>{1});
  const auto bytes = writer.bytes();
  const auto file = ModelFile::parse(bytes);
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->find_text("absent"), std::nullopt);
  EXPECT_EQ(file->find_uint32("absent"), std::nullopt);
  EXPECT_EQ(file->find_double("absent"), std::nullopt);
  EXPECT_EQ(file->find_bool("absent"), std::nullopt);
  EXPECT_EQ(file->find_texts("absent"), nullptr);
  EXPECT_EQ(file->find_double("float"), 0.5);
  EXPECT_EQ(file->find_double("negative"), -1.0);
  EXPECT_EQ(file->find_double("huge"), 0x1p64);
  EXPECT_EQ(file->find_bool("bool"), true);
  EXPECT_EQ(file->find_uint32("text").error(),
            Status(StatusCode::kDataLoss, "metadata 'text' should be an integer but is a text"));
  EXPECT_THAT(file->find_uint32("negative").error().message(), HasSubstr("'negative' is -1"));
  EXPECT_THAT(file->find_uint32("large").error().message(), HasSubstr("is 4294967296"));
  EXPECT_THAT(file->find_uint32("huge").error().message(), HasSubstr("18446744073709551615"));
  EXPECT_THAT(file->find_uint32("bool").error().message(), HasSubstr("but is a bool"));
  EXPECT_THAT(file->find_text("float").error().message(), HasSubstr("but is a float"));
  EXPECT_THAT(file->find_bool("negative").error().message(), HasSubstr("but is an integer"));
  EXPECT_THAT(file->find_double("text").error().message(), HasSubstr("a number but is a text"));
  EXPECT_THAT(file->find_texts("integers").error().message(), HasSubstr("array of integers"));
}

TEST(ModelFileTest, NamesTheFileInErrors) {
  const TempDirectory directory;
  const auto path = directory.path() / "broken.gguf";
  test::write_bytes(path, {});
  const auto empty = ModelFile::open(path);
  EXPECT_EQ(empty.error().code(), StatusCode::kDataLoss);
  EXPECT_THAT(empty.error().message(), HasSubstr("broken.gguf: "));
  EXPECT_EQ(ModelFile::open(directory.path() / "missing.gguf").error().code(),
            StatusCode::kNotFound);
  EXPECT_EQ(ModelFile::open(directory.path()).error().code(), StatusCode::kInvalidArgument);
}

TEST_F(SplitModelTest, PartsMakeOneModel) {
  const auto file = ModelFile::open(path(0));
  ASSERT_TRUE(file.has_value()) << file.error().to_string();
  EXPECT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->find_text("general.name"), "in parts");
  std::uint64_t total_bytes = 0;
  for (int no = 0; no < kNumParts; ++no) {
    total_bytes += std::filesystem::file_size(path(no));
    const TensorView* tensor = file->find_tensor(fmt::format("tensor{}", no));
    ASSERT_NE(tensor, nullptr);
    std::vector<float> values(32);
    dequantize_row(DType::kF32, tensor->data, values);
    EXPECT_EQ(values[31], static_cast<float>(no));
  }
  EXPECT_EQ(file->file_bytes(), total_bytes);
}

TEST_F(SplitModelTest, AMissingPartIsNotFound) {
  std::filesystem::remove(path(1));
  expect_refused(StatusCode::kNotFound, part_name(1).c_str());
}

TEST_F(SplitModelTest, SwappedPartsAreRefused) {
  make_part(2).write(path(1));
  make_part(1).write(path(2));
  expect_refused(StatusCode::kDataLoss, "holds part 3 of 3, not part 2 of 3");
}

TEST_F(SplitModelTest, APartOfAnotherSplitIsRefused) {
  make_part(1, 4).write(path(1));
  expect_refused(StatusCode::kDataLoss, "holds part 2 of 4, not part 2 of 3");
}

TEST_F(SplitModelTest, AWholeModelIsNoPart) {
  test::write_tiny_llama(path(1));
  expect_refused(StatusCode::kDataLoss, "holds part 1 of 1, not part 2 of 3");
}

TEST_F(SplitModelTest, ATruncatedPartIsRefusedByName) {
  std::filesystem::resize_file(path(2), std::filesystem::file_size(path(2)) - 1);
  expect_refused(StatusCode::kDataLoss, part_name(2).c_str());
}

TEST_F(SplitModelTest, TensorsOfTwoPartsMustHaveDifferentNames) {
  GgufWriter part = make_part(2);
  part.tensors()[0].name = "tensor1";
  part.write(path(2));
  expect_refused(StatusCode::kDataLoss, "'tensor1' is there twice");
}

TEST_F(SplitModelTest, TheNumberOfTensorsMustBeTheOnePromised) {
  GgufWriter part = make_part(2);
  part.tensors().clear();
  part.write(path(2));
  expect_refused(StatusCode::kDataLoss, "is 3, but the parts hold 2 tensors");
}

TEST_F(SplitModelTest, OnlyTheFirstPartOpensTheModel) {
  expect_refused(StatusCode::kInvalidArgument, "part 2 of 3 of a split model", 1);
}

TEST_F(SplitModelTest, AFirstPartWithAnotherNameIsRefused) {
  const auto renamed = directory_.path() / "renamed.gguf";
  std::filesystem::rename(path(0), renamed);
  const auto file = ModelFile::open(renamed);
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(file.error().message(), HasSubstr("-00001-of-00003.gguf"));
}

TEST_F(SplitModelTest, SplitKeysMustMakeSense) {
  make_part(5).write(path(0));
  expect_refused(StatusCode::kDataLoss, "'split.no' is 5, but 'split.count' is 3");
  make_part(0, 2000).write(path(0));
  expect_refused(StatusCode::kDataLoss, "'split.count' is 2000");
  GgufWriter part;
  part.add("split.count", "three");
  part.write(path(0));
  expect_refused(StatusCode::kDataLoss, "'split.count'");
}

TEST_F(SplitModelTest, APartInMemoryIsRefused) {
  const auto bytes = make_part(0).bytes();
  EXPECT_EQ(ModelFile::parse(bytes).error().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hearth
