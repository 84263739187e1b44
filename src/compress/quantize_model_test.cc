#include "compress/quantize_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/tensor_quantizer.h"
#include "tensor/quantize.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"
#include "tests/support/tiny_llama.h"

namespace hearth {
namespace {

using test::shape_of;

class QuantizeModelTest : public ::testing::Test {
 protected:
  QuantizeReport to_file(const ModelFile& source, const QuantizeOptions& options,
                         std::size_t num_threads = 2) {
    ThreadPool threads(num_threads);
    return quantize_to_file(source, path_, options, threads).value();
  }

  static QuantizeOptions options_for(std::string_view recipe) {
    return {.recipe = find_recipe(recipe).value(), .imatrix = nullptr, .on_progress = {}};
  }

  test::TempDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "small.gguf";
};

TEST_F(QuantizeModelTest, AFileKeepsEverythingButItsWeights) {
  const auto bytes = test::tiny_llama_bytes({.hidden_size = 256, .feed_forward_size = 320});
  const ModelFile source = ModelFile::parse(bytes).value();
  const QuantizeReport report = to_file(source, options_for("q4_k_m"));
  const ModelFile result = ModelFile::open(path_).value();
  for (const MetadataEntry& entry : source.metadata()) {
    ASSERT_NE(result.find(entry.key), nullptr) << entry.key;
    EXPECT_EQ(*result.find(entry.key), entry.value) << entry.key;
  }
  EXPECT_EQ(result.find_uint32("general.file_type").value(), 15u);
  ASSERT_EQ(result.tensors().size(), source.tensors().size());
  std::uint64_t bytes_written = 0;
  for (std::size_t i = 0; i < source.tensors().size(); ++i) {
    EXPECT_EQ(result.tensors()[i].name, source.tensors()[i].name);
    EXPECT_EQ(result.tensors()[i].shape, source.tensors()[i].shape);
    bytes_written += result.tensors()[i].data.size();
  }
  EXPECT_EQ(report.target_bytes, bytes_written);
  EXPECT_EQ(report.fallbacks,
            (Fallbacks{{{DType::kQ4_K, DType::kQ5_0}, 1}, {{DType::kQ6_K, DType::kQ8_0}, 1}}));
}

TEST_F(QuantizeModelTest, ThreadsDoNotChangeAByte) {
  const auto bytes = test::tiny_llama_bytes({.hidden_size = 256});
  const ModelFile source = ModelFile::parse(bytes).value();
  to_file(source, options_for("q4_k_m"), 1);
  const MappedFile one = MappedFile::open(path_).value();
  to_file(source, options_for("q4_k_m"), 3);
  EXPECT_TRUE(std::ranges::equal(one.bytes(), MappedFile::open(path_).value().bytes()));
}

TEST_F(QuantizeModelTest, MemoryHoldsTheBitsOfTheFile) {
  const auto bytes = test::tiny_llama_bytes({.tied = false, .num_layers = 1, .hidden_size = 256});
  ThreadPool threads(2);
  for (const std::string_view recipe : {"q8_0", "q4_0", "q4_k_m", "q6_k", "bf16"}) {
    to_file(ModelFile::parse(bytes).value(), options_for(recipe));
    const ModelFile file = ModelFile::open(path_).value();
    const ModelFile memory =
        quantize_in_memory(ModelFile::parse(bytes).value(), options_for(recipe), threads).value();
    ASSERT_EQ(memory.tensors().size(), file.tensors().size());
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
      const TensorView& here = memory.tensors()[i];
      const TensorView& there = file.tensors()[i];
      EXPECT_EQ(here.dtype, there.dtype);
      EXPECT_TRUE(std::ranges::equal(here.data, there.data)) << recipe << " " << here.name;
    }
    EXPECT_EQ(memory.find_text("general.name").value(), "tiny random llama");
    std::size_t size = 0;
    for (const TensorView& tensor : memory.tensors())
      size += tensor.data.size();
    EXPECT_EQ(bytes_on_load(ModelFile::parse(bytes).value(), recipe).value(), size);
  }
}

TEST_F(QuantizeModelTest, AQuantizedFormatSurvivesWhatChangesNothing) {
  const auto bytes = test::tiny_llama_bytes({.dtype = DType::kQ8_0});
  const ModelFile source = ModelFile::parse(bytes).value();
  to_file(source, options_for("q8_0"));
  const ModelFile result = ModelFile::open(path_).value();
  for (std::size_t i = 0; i < source.tensors().size(); ++i)
    EXPECT_TRUE(std::ranges::equal(source.tensors()[i].data, result.tensors()[i].data));
}

TEST_F(QuantizeModelTest, AnImatrixChangesTheTensorsItKnows) {
  const auto bytes = test::tiny_llama_bytes({.hidden_size = 256});
  const ModelFile source = ModelFile::parse(bytes).value();
  to_file(source, options_for("q4_0"));
  const ModelFile plain = ModelFile::open(path_).value();
  std::vector<float> values(256, 1.0f);
  values[5] = 100.0f;
  const Imatrix imatrix("test", {{"blk.0.attn_q.weight", values}});
  QuantizeOptions options = options_for("q4_0");
  options.imatrix = &imatrix;
  const QuantizeReport report = to_file(source, options);
  const ModelFile weighted = ModelFile::open(path_).value();
  EXPECT_EQ(report.num_without_importance, 14u);
  for (std::size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorView& tensor = weighted.tensors()[i];
    EXPECT_EQ(!std::ranges::equal(plain.tensors()[i].data, tensor.data),
              tensor.name == "blk.0.attn_q.weight")
        << tensor.name;
  }
}

TEST_F(QuantizeModelTest, AnErrorMidwayLeavesNoFile) {
  const auto bytes = test::tiny_llama_bytes();
  const ModelFile source = ModelFile::parse(bytes).value();
  QuantizeOptions options = options_for("q8_0");
  options.on_progress = [](const QuantizeProgress& progress) {
    return progress.tensor_idx < 3 ? Status() : Status(StatusCode::kCancelled, "enough");
  };
  ThreadPool threads(2);
  EXPECT_EQ(quantize_to_file(source, path_, options, threads).error().code(),
            StatusCode::kCancelled);
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

// What is read from pages that are gone are zeros.
TEST_F(QuantizeModelTest, ASourceThatIsCutMeanwhileIsNotPassedOn) {
  const auto source_path = directory_.path() / "source.gguf";
  test::write_bytes(source_path, test::tiny_llama_bytes({}));
  const ModelFile source = ModelFile::open(source_path).value();
  QuantizeOptions options = options_for("q8_0");
  options.on_progress = [&](const QuantizeProgress&) {
    std::filesystem::resize_file(source_path, 4096);
    return Status();
  };
  ThreadPool threads(1);
  const auto report = quantize_to_file(source, path_, options, threads);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST(ConvertRows, BadValuesAreRefusedWithTheTensorsName) {
  ThreadPool threads(2);
  const auto convert = [&](float bad, DType dtype) {
    std::vector<float> values(256 * 8, 0.5f);
    values[1234] = bad;
    const TensorView tensor = {.name = "blk.0.bad",
                               .dtype = DType::kF32,
                               .shape = shape_of({8, 256}),
                               .data = std::as_bytes(std::span(values))};
    std::vector<std::byte> out(8 * row_bytes(dtype, 256));
    return convert_rows(tensor, {0, 8}, {.dtype = dtype}, threads, out);
  };
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_K, DType::kF16, DType::kBF16, DType::kF32}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const Status status = convert(bad, dtype);
      EXPECT_EQ(status.code(), StatusCode::kDataLoss) << dtype_info(dtype).name;
      EXPECT_NE(status.message().find("'blk.0.bad'"), std::string::npos);
    }
  }
  EXPECT_EQ(convert(1e6f, DType::kQ4_0).code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(convert(1e6f, DType::kBF16).ok());
}

TEST(ConvertRows, WhatIsCopiedHasNoLimit) {
  ThreadPool threads(1);
  const std::vector<std::int32_t> values = {1, 100000, -100000, 7};
  const TensorView tensor = {.name = "blk.0.table",
                             .dtype = DType::kI32,
                             .shape = shape_of({4}),
                             .data = std::as_bytes(std::span(values))};
  std::vector<std::byte> out(tensor.data.size());
  ASSERT_TRUE(convert_rows(tensor, {0, 1}, {.dtype = DType::kI32}, threads, out).ok());
  EXPECT_TRUE(std::ranges::equal(out, tensor.data));
}

// Each matrix of a stack has importances of its own.
TEST(ConvertRows, StacksAreWeightedMatrixByMatrix) {
  ThreadPool threads(2);
  std::vector<float> values(2 * 3 * 32);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::sin(static_cast<float>(i) * 1.7f);
  std::vector<float> importance(2 * 32, 1.0f);
  for (std::size_t i = 0; i < 8; ++i)
    importance[32 + i] = 50.0f;
  const TensorView stack = {.name = "stack",
                            .dtype = DType::kF32,
                            .shape = shape_of({2, 3, 32}),
                            .data = std::as_bytes(std::span(values))};
  const std::size_t row = row_bytes(DType::kQ4_0, 32);
  std::vector<std::byte> out(6 * row);
  ASSERT_TRUE(convert_rows(stack, {0, 6}, {DType::kQ4_0, importance}, threads, out).ok());
  for (std::size_t i = 0; i < 6; ++i) {
    std::vector<std::byte> expected(row);
    quantize_weight_row(DType::kQ4_0, std::span(values).subspan(i * 32, 32),
                        std::span(importance).subspan(i / 3 * 32, 32), expected);
    EXPECT_TRUE(std::ranges::equal(expected, std::span(out).subspan(i * row, row))) << i;
  }
}

}  // namespace
}  // namespace hearth
