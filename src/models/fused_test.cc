// Projections that lie in one tensor are what they would be in tensors of their own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "models/model_test_util.h"
#include "tensor/quantize.h"
#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::GgufWriter;
using test::shape_of;

struct Part {
  std::string_view name;
  std::size_t rows;
};

std::vector<float> floats_of(const TensorView& tensor) {
  std::vector<float> values(tensor.shape.num_elements());
  dequantize_row(tensor.dtype, tensor.data, values);
  return values;
}

// The Phi-3 golden model in Q8_0; with its fused tensors cut up, if asked for.
std::vector<std::byte> phi3_in_blocks(bool split) {
  const ModelFile file = ModelFile::open("tests/golden/models/phi3.gguf").value();
  GgufWriter writer;
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
    const std::size_t width = tensor.shape.row_len();
    const bool blocks = tensor.shape.rank == 2 && width % 32 == 0;
    const DType dtype = blocks ? DType::kQ8_0 : DType::kF32;
    const std::vector<float> values = floats_of(tensor);
    const std::size_t qkv = tensor.name.find("attn_qkv");
    const std::size_t up = tensor.name.find("ffn_up");
    if (!split || (qkv == std::string::npos && up == std::string::npos)) {
      writer.add_tensor(tensor.name, dtype, tensor.shape, values);
      continue;
    }
    const std::vector<Part> parts =
        up == std::string::npos ? std::vector<Part>{{"attn_q", 32}, {"attn_k", 16}, {"attn_v", 16}}
                                : std::vector<Part>{{"ffn_gate", 48}, {"ffn_up", 48}};
    const std::string prefix = tensor.name.substr(0, up == std::string::npos ? qkv : up);
    std::size_t first = 0;
    for (const Part& part : parts) {
      writer.add_tensor(fmt::format("{}{}.weight", prefix, part.name), dtype,
                        shape_of({part.rows, width}),
                        std::span(values).subspan(first * width, part.rows * width));
      first += part.rows;
    }
  }
  return writer.bytes();
}

std::vector<std::vector<float>> logits_of(const std::vector<std::byte>& bytes) {
  const auto prompt = test::read_golden("tests/golden/models/phi3.json").prompt;
  return test::ModelHarness(ModelFile::parse(bytes).value()).evaluate(prompt, prompt.size());
}

TEST(FusedProjections, OfABlockFormatGiveTheBitsOfSeparateOnes) {
  EXPECT_EQ(logits_of(phi3_in_blocks(false)), logits_of(phi3_in_blocks(true)));
}

TEST(FusedProjections, CountTheSameParametersAndBytes) {
  const auto fused = phi3_in_blocks(false);
  const auto separate = phi3_in_blocks(true);
  const test::ModelHarness a(ModelFile::parse(fused).value());
  const test::ModelHarness b(ModelFile::parse(separate).value());
  EXPECT_EQ(a.model().num_parameters(), b.model().num_parameters());
  EXPECT_EQ(a.model().weight_bytes(), b.model().weight_bytes());
}

}  // namespace
}  // namespace hearth
