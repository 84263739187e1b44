#include "eval/importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/cpu_device.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using ::testing::ElementsAre;

constexpr Shape kWhole = {.dims = {4, 2, 1, 1}, .rank = 2};
constexpr Shape kHalf = {.dims = {2, 2, 1, 1}, .rank = 2};

// What is written of a tensor whose two halves were multiplied with a row of inputs each.
std::vector<float> squares_of_halves(const std::vector<float>& first,
                                     const std::vector<float>& second) {
  const std::vector<float> weights(8, 1.0f);
  test::GgufWriter writer;
  writer.add_tensor("x.weight", DType::kF32, kWhole, weights);
  const auto bytes = writer.bytes();
  const ModelFile model = ModelFile::parse(bytes).value();
  const auto inner = make_cpu_device({.num_threads = 1}).value();
  RecordingDevice device(*inner);
  device.reserve({.max_tokens = 1, .max_features = 2, .max_head_dim = 1});
  const auto all = std::as_bytes(std::span(weights));
  std::vector<std::unique_ptr<WeightMatrix>> halves;
  for (const auto& [inputs, data] : {std::pair(&first, all.first(16)), {&second, all.last(16)}}) {
    halves.push_back(device.prepare_weight({"x.weight", DType::kF32, kHalf, data}).value());
    std::vector<float> out(2);
    const LinearOutput output = {.weight = halves.back().get(),
                                 .out = MatrixView{out.data(), 1, 2, 2}};
    device.linear(ConstMatrixView{inputs->data(), 1, 2, 2}, {&output, 1});
  }
  const test::TempDirectory folder;
  const auto path = folder.path() / "x.gguf";
  EXPECT_TRUE(write_importance(device, model, {.dataset = "text"}, path).ok());
  const ModelFile written = ModelFile::open(path).value();
  const TensorView* sums = written.find_tensor("x.weight.in_sum2");
  std::vector<float> squares(sums->shape.num_elements());
  std::memcpy(squares.data(), sums->data.data(), sums->data.size());
  return squares;
}

TEST(Importance, PartsOfAFusedTensorHaveItsInput) {
  EXPECT_THAT(squares_of_halves({1.0f, 3.0f}, {1.0f, 3.0f}), ElementsAre(1.0f, 9.0f));
}

TEST(Importance, PartsWithInputsOfTheirOwnCountAlike) {
  EXPECT_THAT(squares_of_halves({1.0f, 3.0f}, {3.0f, 1.0f}), ElementsAre(5.0f, 5.0f));
}

}  // namespace
}  // namespace hearth
