#include "compress/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::shape_of;

// A file of `num_layers` layers of 512 inputs; only what a plan looks at.
std::vector<std::byte> model_bytes(std::uint32_t num_layers, bool tied, DType dtype = DType::kF16) {
  test::GgufWriter writer;
  writer.add("general.architecture", "llama");
  writer.add("llama.block_count", num_layers);
  const auto add = [&](const std::string& name, const Shape& shape, DType stored) {
    writer.add_tensor(name, stored, shape, std::vector<float>(shape.num_elements(), 0.25f));
  };
  add("token_embd.weight", shape_of({4, 512}), dtype);
  if (!tied) add("output.weight", shape_of({4, 512}), dtype);
  for (std::uint32_t i = 0; i < num_layers; ++i) {
    const std::string layer = fmt::format("blk.{}.", i);
    add(layer + "attn_norm.weight", shape_of({512}), DType::kF32);
    add(layer + "attn_q.weight", shape_of({2, 512}), dtype);
    add(layer + "attn_v.weight", shape_of({2, 512}), dtype);
    add(layer + "ffn_down.weight", shape_of({2, 512}), dtype);
    add(layer + "ffn_gate_inp.weight", shape_of({2, 512}), DType::kF32);
    add(layer + "ffn_up.weight", shape_of({2, 96}), dtype);
    add(layer + "ffn_up.bias", shape_of({2}), DType::kF16);
  }
  return writer.bytes();
}

std::map<std::string, std::string_view> planned(std::string_view recipe, bool tied,
                                                std::uint32_t num_layers = 16) {
  const auto bytes = model_bytes(num_layers, tied);
  const ModelFile file = ModelFile::parse(bytes).value();
  std::map<std::string, std::string_view> formats;
  const auto plan = plan_tensors(file, find_recipe(recipe).value(), false).value();
  for (const PlannedTensor& tensor : plan)
    formats[tensor.source->name] = dtype_info(tensor.dtype).name;
  return formats;
}

TEST(Recipe, MediumMixturesKeepHalfOfTheDelicateMatricesFiner) {
  const auto formats = planned("q4_k_m", false);
  EXPECT_EQ(formats.at("output.weight"), "Q6_K");
  EXPECT_EQ(formats.at("token_embd.weight"), "Q4_K");
  EXPECT_EQ(formats.at("blk.3.attn_q.weight"), "Q4_K");
  // The first and last eighth, and every third between.
  const std::vector<int> finer = {0, 1, 4, 7, 10, 13, 14, 15};
  for (int layer = 0; layer < 16; ++layer) {
    const bool is_finer = std::ranges::find(finer, layer) != finer.end();
    for (const char* part : {"attn_v", "ffn_down"}) {
      EXPECT_EQ(formats.at(fmt::format("blk.{}.{}.weight", layer, part)),
                is_finer ? "Q6_K" : "Q4_K")
          << layer << part;
    }
  }
  EXPECT_EQ(planned("q5_k_m", false).at("blk.3.attn_q.weight"), "Q5_K");
}

TEST(Recipe, ATiedEmbeddingIsTheOutputMatrix) {
  EXPECT_EQ(planned("q4_0", true).at("token_embd.weight"), "Q6_K");
  EXPECT_EQ(planned("q4_0", false).at("token_embd.weight"), "Q4_0");
  EXPECT_EQ(planned("q8_0", true).at("token_embd.weight"), "Q8_0");
}

TEST(Recipe, NormsRoutersAndVectorsStayFloats) {
  const auto formats = planned("q4_k_m", true);
  EXPECT_EQ(formats.at("blk.0.attn_norm.weight"), "F32");
  EXPECT_EQ(formats.at("blk.0.ffn_gate_inp.weight"), "F32");
  EXPECT_EQ(formats.at("blk.0.ffn_up.bias"), "F32");
}

TEST(Recipe, RowsThatAreNoWholeBlocksFallBack) {
  for (const auto& [recipe, fallback] : std::map<std::string, std::string>{{"q4_k_m", "Q5_0"},
                                                                           {"q5_k_m", "Q5_1"},
                                                                           {"q6_k", "Q8_0"},
                                                                           {"iq4_xs", "IQ4_NL"},
                                                                           {"q2_k", "IQ4_NL"},
                                                                           {"q4_0", "Q4_0"}}) {
    EXPECT_EQ(planned(recipe, true).at("blk.0.ffn_up.weight"), fallback) << recipe;
  }
}

TEST(Recipe, AQuantizedSourceNeedsPermission) {
  const auto bytes = model_bytes(2, true, DType::kQ8_0);
  const ModelFile file = ModelFile::parse(bytes).value();
  const Recipe recipe = find_recipe("q4_0").value();
  const auto refused = plan_tensors(file, recipe, false);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("is Q8_0 already"), std::string::npos);
  EXPECT_TRUE(plan_tensors(file, recipe, true).has_value());
  // Nothing is lost where nothing changes.
  EXPECT_TRUE(plan_tensors(file, find_recipe("q8_0").value(), false).has_value());
}

TEST(Recipe, UnknownNamesListWhatThereIs) {
  EXPECT_NE(find_recipe("q9").error().message().find("q8_0, q6_k"), std::string::npos);
}

}  // namespace
}  // namespace hearth
