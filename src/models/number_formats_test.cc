// Models whose matrices are in any of the number formats, also those that nothing here writes.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device.h"
#include "models/model.h"
#include "models/model_test_util.h"
#include "tests/support/random_blocks.h"
#include "tests/support/tiny_llama.h"

namespace hearth {
namespace {

using ::testing::HasSubstr;

class NumberFormatTest : public ::testing::TestWithParam<DTypeInfo> {
 protected:
  NumberFormatTest() : bytes_(test::tiny_llama_bytes({.dtype = GetParam().dtype, .tied = false})) {}

  // Makes a scale of one block a NaN.
  void spoil(std::string_view tensor_name, std::size_t block) {
    const auto file = ModelFile::parse(bytes_).value();
    const TensorView* tensor = file.find_tensor(tensor_name);
    ASSERT_NE(tensor, nullptr);
    const auto offset = static_cast<std::size_t>(tensor->data.data() - bytes_.data());
    const std::size_t block_bytes = GetParam().block_bytes;
    test::spoil_scale(GetParam().dtype,
                      std::span(bytes_).subspan(offset + block * block_bytes, block_bytes), 0,
                      /*infinite=*/false);
  }

  Status load_status() const {
    const auto file = ModelFile::parse(bytes_).value();
    const auto device = make_cpu_device({}).value();
    const auto model = Model::load(file, *device);
    return model.has_value() ? Status() : model.error();
  }

  std::vector<std::byte> bytes_;
};

TEST_P(NumberFormatTest, AModelInItGivesFiniteLogits) {
  test::ModelHarness harness(ModelFile::parse(bytes_).value());
  for (const auto& row : harness.evaluate({5, 80, 260, 7}, 3)) {
    for (const float logit : row)
      ASSERT_TRUE(std::isfinite(logit));
  }
}

TEST_P(NumberFormatTest, AScaleThatIsNotFiniteIsRefusedWithTensorAndBlock) {
  const std::vector<std::byte> sound = bytes_;
  for (const std::string name :
       {"token_embd.weight", "blk.1.ffn_down.weight", "blk.0.attn_k.weight", "output.weight"}) {
    bytes_ = sound;
    spoil(name, 21);
    const Status status = load_status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(status.message(),
                HasSubstr(fmt::format("'{}' holds a NaN or an infinity in block 21 ({})", name,
                                      GetParam().name)));
  }
}

std::vector<DTypeInfo> block_formats() {
  std::vector<DTypeInfo> formats;
  std::ranges::copy_if(all_dtypes(), std::back_inserter(formats),
                       [](const DTypeInfo& info) { return info.block_len > 1; });
  return formats;
}

INSTANTIATE_TEST_SUITE_P(Formats, NumberFormatTest, ::testing::ValuesIn(block_formats()),
                         [](const auto& case_info) { return std::string(case_info.param.name); });

}  // namespace
}  // namespace hearth
