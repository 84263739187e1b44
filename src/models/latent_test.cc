// Latent attention and the mixtures that come with it, beyond what the golden models show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "models/model.h"
#include "models/model_config.h"
#include "models/weights.h"
#include "tensor/quantize.h"
#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::GgufWriter;
using test::shape_of;
using ::testing::HasSubstr;

ModelFile golden(const std::string& name) {
  return ModelFile::open("tests/golden/models/" + name + ".gguf").value();
}

// The metadata of a golden model with one key changed, and its tensors.
std::vector<std::byte> with_key(const ModelFile& file, const std::string& key,
                                std::uint32_t value) {
  GgufWriter writer;
  for (const MetadataEntry& entry : file.metadata()) {
    if (entry.key == key) continue;
    if (const auto* text = std::get_if<std::string_view>(&entry.value)) {
      writer.add(entry.key, *text);
    } else if (const auto* integer = std::get_if<std::int64_t>(&entry.value)) {
      writer.add(entry.key, *integer);
    } else if (const auto* number = std::get_if<double>(&entry.value)) {
      writer.add(entry.key, *number);
    } else if (const auto* flag = std::get_if<bool>(&entry.value)) {
      writer.add(entry.key, *flag);
    }
  }
  writer.add(key, value);
  for (const TensorView& tensor : file.tensors()) {
    std::vector<float> values(tensor.shape.num_elements());
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    writer.add_tensor(tensor.name, DType::kF32, tensor.shape, values);
  }
  return writer.bytes();
}

struct BadKey {
  std::string name;
  std::string key;
  std::uint32_t value;
  std::string message;
};

class RefusedLatent : public ::testing::TestWithParam<BadKey> {};

TEST_P(RefusedLatent, NamesTheKey) {
  const auto bytes = with_key(golden("deepseek3"), GetParam().key, GetParam().value);
  const auto config = read_model_config(ModelFile::parse(bytes).value());
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error().message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RefusedLatent,
    ::testing::Values(
        BadKey{"KeyLength", "deepseek2.attention.key_length", 31u,
               "deepseek2.attention.key_length is 31; by the latent's length it is 32"},
        BadKey{"ValueLength", "deepseek2.attention.value_length", 12u,
               "attention.value_length is 12; by the latent's length it is 24"},
        BadKey{"RopeAsLongAsKeys", "deepseek2.rope.dimension_count", 24u,
               "key_length_mla (24) must be more than deepseek2.rope.dimension_count (24)"},
        BadKey{"OddRope", "deepseek2.rope.dimension_count", 7u, "by the latent's length it is 31"},
        BadKey{"HugeHeads", "deepseek2.attention.head_count", 1u << 24, "exceed the limit"},
        BadKey{"NoLatent", "deepseek2.attention.kv_lora_rank", 0u, "kv_lora_rank is 0"},
        BadKey{"Gate", "deepseek2.expert_gating_func", 3u,
               "deepseek2.expert_gating_func is 3; 1 (softmax) and 2 (sigmoid) are supported"},
        BadKey{"GroupsDoNotDivide", "deepseek2.expert_group_count", 3u,
               "deepseek2.expert_group_count (3) does not suit deepseek2.expert_count (8)"},
        BadKey{"GroupsOfOne", "deepseek2.expert_group_count", 8u, "expert_group_count (8)"},
        BadKey{"ManyGroups", "deepseek2.expert_group_count", 65u, "at most 64 are supported"},
        BadKey{"TooFewGroupsUsed", "deepseek2.expert_group_used_count", 1u,
               "deepseek2.expert_group_used_count (1) does not suit"},
        BadKey{"TooManyGroupsUsed", "deepseek2.expert_group_used_count", 5u,
               "deepseek2.expert_group_used_count (5) does not suit"},
        BadKey{"HugeSharedExperts", "deepseek2.expert_shared_count", 4096u << 12, "4096"},
        BadKey{"Temperature", "deepseek2.attention.temperature_scale", 1u,
               "temperature_scale is not supported"}),
    [](const auto& test) { return test.param.name; });

TEST(LatentConfig, TellsWhatIsCachedFromWhatHeadsHave) {
  for (const std::string name : {"deepseek2", "deepseek2-lite", "deepseek3"}) {
    const ModelConfig config = read_model_config(golden(name)).value();
    EXPECT_EQ(config.heads.num_kv_heads, 1u);
    EXPECT_EQ(config.heads.head_dim, 32u);
    EXPECT_EQ(config.heads.value_len(), 24u);
    EXPECT_EQ(config.latent.key_dim, 16u);
    EXPECT_EQ(config.latent.value_dim, 12u);
    EXPECT_EQ(config.attention_width(), 4u * 12u);
  }
}

TEST(LatentConfig, FilesThatDoNotSayHaveSigmoidsWhereExpertsAreChosenWithABias) {
  const auto gate_of = [](const std::string& name) {
    const auto bytes = with_key(golden(name), "deepseek2.expert_gating_func", 0);
    return read_model_config(ModelFile::parse(bytes).value())->experts.gate;
  };
  EXPECT_EQ(gate_of("deepseek3"), ExpertGate::kSigmoid);
  EXPECT_EQ(gate_of("deepseek2"), ExpertGate::kSoftmax);
}

TEST(LatentConfig, AModelWhoseEveryLayerIsDenseHasNoExperts) {
  const auto bytes = with_key(golden("deepseek3"), "deepseek2.leading_dense_block_count", 2);
  const ModelConfig config = read_model_config(ModelFile::parse(bytes).value()).value();
  EXPECT_FALSE(config.has_experts(1));
}

// Two heads of three keys and two values over latents of 64.
TEST(SplitBands, GivesEachBandsMatricesInEveryKindOfFormat) {
  constexpr std::size_t kHeads = 2;
  constexpr std::size_t kRank = 64;
  const SplitBands bands = {.in_features = kRank, .transposed_rows = 3, .plain_rows = 2};
  std::vector<float> values(kHeads * 5 * kRank);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i * i % 101) / 25.0f - 2.0f;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    GgufWriter writer;
    writer.add_tensor("t", dtype, shape_of({kHeads * 5, kRank}), values);
    const auto bytes = writer.bytes();
    const ModelFile file = ModelFile::parse(bytes).value();
    const auto device = make_cpu_device({.num_threads = 2}).value();
    WeightBinder binder(file, *device);
    std::vector<std::unique_ptr<WeightMatrix>> keys(kHeads);
    std::vector<std::unique_ptr<WeightMatrix>> plain(kHeads);
    AnonymousMapping made;
    binder.split_bands("t", bands, {keys, plain, &made});
    ASSERT_TRUE(binder.finish().ok());

    std::vector<float> stored(values.size());
    const TensorView* tensor = file.find_tensor("t");
    const std::size_t row_bytes = tensor->data.size() / (kHeads * 5);
    for (std::size_t row = 0; row < kHeads * 5; ++row) {
      dequantize_row(dtype, tensor->data.subspan(row * row_bytes, row_bytes),
                     std::span(stored).subspan(row * kRank, kRank));
    }
    for (std::size_t head = 0; head < kHeads; ++head) {
      ASSERT_EQ(keys[head]->out_features(), kRank);
      ASSERT_EQ(plain[head]->out_features(), 2u);
      for (std::int32_t i = 0; i < 64; ++i) {
        std::vector<float> row(3);
        device->embed(*keys[head], {&i, 1}, {row.data(), 1, 3, 3});
        for (std::size_t key = 0; key < 3; ++key)
          EXPECT_EQ(row[key], stored[(head * 5 + key) * kRank + static_cast<std::size_t>(i)]);
      }
      const std::int32_t second = 1;
      std::vector<float> row(kRank);
      device->embed(*plain[head], {&second, 1}, {row.data(), 1, kRank, kRank});
      EXPECT_EQ(row, std::vector<float>(stored.begin() + static_cast<int>((head * 5 + 4) * kRank),
                                        stored.begin() + static_cast<int>((head * 5 + 5) * kRank)));
    }
  }
}

}  // namespace
}  // namespace hearth
