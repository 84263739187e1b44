#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "models/model_test_util.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::GgufWriter;
using test::ModelHarness;
using test::shape_of;
using Logits = std::vector<std::vector<float>>;

constexpr std::uint32_t kNumExperts = 5;

std::vector<float> floats_of(const TensorView& tensor) {
  std::vector<float> values(tensor.shape.num_elements());
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// A dense golden model whose feed-forward is every expert of a mixture with a random router, and
// whose matrices are in `dtype` where their rows are whole blocks.
std::vector<std::byte> as_mixture(const ModelFile& dense, std::uint32_t num_used, DType dtype) {
  GgufWriter writer;
  for (const MetadataEntry& entry : dense.metadata()) {
    if (const auto* text = std::get_if<std::string_view>(&entry.value)) {
      writer.add(entry.key, *text);
    } else if (const auto* integer = std::get_if<std::int64_t>(&entry.value)) {
      writer.add(entry.key, *integer);
    } else if (const auto* number = std::get_if<double>(&entry.value)) {
      writer.add(entry.key, *number);
    }
  }
  writer.add("llama.expert_count", kNumExperts);
  writer.add("llama.expert_used_count", num_used);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const TensorView& tensor : dense.tensors()) {
    const std::vector<float> values = floats_of(tensor);
    const bool whole = tensor.shape.row_len() % dtype_info(dtype).block_len == 0;
    const DType stored = tensor.shape.rank == 2 && whole ? dtype : DType::kF32;
    const std::size_t kind = tensor.name.find(".ffn_");
    if (kind == std::string::npos || tensor.shape.rank != 2) {
      writer.add_tensor(tensor.name, stored, tensor.shape, values);
      continue;
    }
    std::vector<float> stack;
    for (std::uint32_t i = 0; i < kNumExperts; ++i)
      stack.insert(stack.end(), values.begin(), values.end());
    std::string name = tensor.name;
    name.insert(name.rfind('.'), "_exps");
    const Shape shape = shape_of({kNumExperts, tensor.shape.dims[0], tensor.shape.dims[1]});
    writer.add_tensor(name, stored, shape, stack);
    if (!tensor.name.ends_with("ffn_gate.weight")) continue;
    const std::size_t width = tensor.shape.row_len();
    std::vector<float> router(kNumExperts * width);
    for (float& value : router)
      value = normal(random);
    writer.add_tensor(tensor.name.substr(0, kind) + ".ffn_gate_inp.weight", DType::kF32,
                      shape_of({kNumExperts, width}), router);
  }
  return writer.bytes();
}

ModelFile dense_model() {
  return ModelFile::open("tests/golden/models/llama-tied.gguf").value();
}

test::Golden dense_golden() {
  return test::read_golden("tests/golden/models/llama-tied.json");
}

Logits logits_of(const std::vector<std::byte>& bytes, std::size_t chunk_len,
                 std::string_view kernels = "auto") {
  return ModelHarness(ModelFile::parse(bytes).value(), 2, kernels)
      .evaluate(dense_golden().prompt, chunk_len);
}

// One expert, with a weight of exactly 1, is the dense model bit by bit.
TEST(Experts, OneOfManyEqualOnesIsTheDenseModel) {
  const auto bytes = as_mixture(dense_model(), 1, DType::kF32);
  const auto prompt = dense_golden().prompt;
  EXPECT_EQ(logits_of(bytes, prompt.size()),
            ModelHarness(dense_model()).evaluate(prompt, prompt.size()));
}

// Weights that add up to 1 but for rounding change as little.
TEST(Experts, SeveralEqualOnesDifferFromTheDenseModelByRoundingAlone) {
  const auto prompt = dense_golden().prompt;
  const Logits dense = ModelHarness(dense_model()).evaluate(prompt, prompt.size());
  for (const std::uint32_t num_used : {2u, 3u, kNumExperts}) {
    const auto bytes = as_mixture(dense_model(), num_used, DType::kF32);
    const Logits mixed = logits_of(bytes, prompt.size());
    for (std::size_t i = 0; i < dense.size(); ++i) {
      for (std::size_t j = 0; j < dense[i].size(); ++j)
        ASSERT_NEAR(mixed[i][j], dense[i][j], test::kRoundedLogitErrorBudget) << "position " << i;
    }
    ModelHarness harness(ModelFile::parse(bytes).value());
    const auto greedy = dense_golden().greedy;
    EXPECT_EQ(harness.continue_greedily(prompt, greedy.size()), greedy);
  }
}

TEST(Experts, RepackedOnesDoNotDependOnChunksAndKernels) {
  const auto bytes = as_mixture(dense_model(), 2, DType::kQ8_0);
  const Logits reference = logits_of(bytes, 40, "reference");
  for (const std::size_t chunk_len : {1u, 7u, 40u})
    EXPECT_EQ(logits_of(bytes, chunk_len), reference) << chunk_len;
}

// Of every kind of block that a step can be made of.
TEST(Experts, AStepAllocatesNothing) {
  constexpr std::size_t kTokens = 40;
  const std::vector<std::int32_t> tokens(kTokens, 9);
  std::vector<std::int32_t> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<std::int32_t> blocks = {2, 0, 1};
  const SequenceRows rows = {0, kTokens, 0, blocks.data()};
  const std::vector<std::int32_t> logit_rows = {0, 39};
  for (const std::string name :
       {"mixtral", "qwen2moe", "gemma3", "bloom", "gpt2", "falcon", "deepseek2", "deepseek3"}) {
    const ModelFile file = ModelFile::open("tests/golden/models/" + name + ".gguf").value();
    const auto device = make_cpu_device({.num_threads = 2}).value();
    const auto model = Model::load(file, *device).value();
    const HeadShape& heads = model->config().heads;
    auto kv = KvStorage::create({.num_layers = model->config().num_layers,
                                 .num_kv_heads = heads.num_kv_heads,
                                 .head_dim = heads.head_dim,
                                 .block_size = kKvPositionLanes,
                                 .num_blocks = blocks.size(),
                                 .value_dim = heads.value_dim})
                  .value();
    ASSERT_TRUE(model->reserve(kTokens, logit_rows.size(), kTokens).ok());
    const ForwardBatch batch = {tokens, positions, {&rows, 1}, logit_rows};
    const std::size_t before = test::total_allocations();
    model->forward(batch, kv);
    EXPECT_EQ(test::total_allocations(), before) << name;
  }
}

}  // namespace
}  // namespace hearth
