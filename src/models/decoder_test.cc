#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "models/architectures.h"
#include "models/model_test_util.h"

namespace hearth {
namespace {

using test::Golden;
using test::read_golden;

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path("tests/golden/models") / name;
}

Golden golden_of(const std::string& name) {
  return read_golden(golden(name + ".json"));
}

class ModelHarness : public test::ModelHarness {
 public:
  explicit ModelHarness(const std::string& name, std::size_t num_threads = 2,
                        std::string_view kernels = "auto")
      : test::ModelHarness(ModelFile::open(golden(name + ".gguf")).value(), num_threads, kernels) {}
};

class GoldenModel : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenModel, LogitsAgreeWithTransformers) {
  const Golden expected = golden_of(GetParam());
  ModelHarness harness(GetParam());
  const auto logits = harness.evaluate(expected.prompt, expected.prompt.size());
  ASSERT_EQ(logits.size(), expected.logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    for (std::size_t j = 0; j < logits[i].size(); ++j) {
      ASSERT_NEAR(logits[i][j], expected.logits[i][j], expected.logit_error_budget)
          << "position " << i << ", token " << j;
    }
  }
}

TEST_P(GoldenModel, GreedyContinuationEqualsTransformers) {
  const Golden expected = golden_of(GetParam());
  ModelHarness harness(GetParam());
  EXPECT_EQ(harness.continue_greedily(expected.prompt, expected.greedy.size()), expected.greedy);
}

TEST_P(GoldenModel, ChunkingChangesNoBit) {
  const Golden expected = golden_of(GetParam());
  const auto whole = ModelHarness(GetParam()).evaluate(expected.prompt, expected.prompt.size());
  for (const std::size_t chunk_len : {1u, 3u, 8u, 17u}) {
    EXPECT_EQ(ModelHarness(GetParam()).evaluate(expected.prompt, chunk_len), whole)
        << "chunks of " << chunk_len;
  }
}

TEST_P(GoldenModel, ThreadsAndKernelsChangeNoBit) {
  const Golden expected = golden_of(GetParam());
  const auto reference = ModelHarness(GetParam(), 1, "reference").evaluate(expected.prompt, 40);
  for (const KernelSetInfo& set : kernel_sets()) {
    if (!set.supported) continue;
    EXPECT_EQ(ModelHarness(GetParam(), 3, set.name).evaluate(expected.prompt, 40), reference)
        << set.name;
  }
}

TEST_P(GoldenModel, CompanyChangesNoBit) {
  const Golden expected = golden_of(GetParam());
  const auto alone = ModelHarness(GetParam()).evaluate(expected.prompt, expected.prompt.size());

  ModelHarness harness(GetParam());
  const std::vector<std::int32_t> other = {5, 9, 2, 44, 17};
  const std::vector<std::int32_t> head(expected.prompt.begin(), expected.prompt.begin() + 11);
  const std::vector<std::int32_t> tail(expected.prompt.begin() + 11, expected.prompt.end());
  harness.step({{1, 0, other}, {0, 0, head}, {2, 0, {7}}});
  const auto together = harness.step({{2, 1, {8}}, {0, 11, tail}, {1, 5, {3}}});
  for (std::size_t i = 0; i < tail.size(); ++i) {
    EXPECT_EQ(together[1 + i], alone[11 + i]) << "position " << 11 + i;
  }
}

TEST_P(GoldenModel, ActivationsTakeWhatWasForeseen) {
  const ModelHarness harness(GetParam());
  constexpr std::size_t kMax = ModelHarness::kMaxTokens;
  EXPECT_EQ(activation_bytes_for(harness.model().config(), {kMax, kMax, kMax}),
            harness.model().activation_bytes());
}

INSTANTIATE_TEST_SUITE_P(
    Families, GoldenModel,
    ::testing::Values("llama-tied", "llama-untied-bias", "llama-wide-heads", "llama-rope-linear",
                      "llama-rope-llama3", "llama-rope-yarn", "qwen2", "bloom", "bloom-six-heads",
                      "falcon", "falcon-two-norms", "gemma", "gemma2", "gemma3", "gpt2", "granite",
                      "granitemoe", "mixtral", "phi3", "phi3-short", "phi3-long", "phimoe",
                      "phimoe-long", "qwen2moe", "qwen3", "qwen3moe", "smollm3", "chatglm",
                      "cohere2", "command-r", "ernie4_5", "exaone", "exaone4", "glm4", "gptneox",
                      "gptneox-serial", "hunyuan", "internlm2", "olmo", "olmo2", "olmo3", "olmoe",
                      "phi2", "seed_oss", "stablelm", "stablelm-parallel", "starcoder",
                      "starcoder2", "gpt-oss", "arcee", "command-r-plus", "gptj", "minicpm", "mpt",
                      "nemotron", "opt", "stablelm-head-norms", "jais2", "cwm", "helium",
                      "deepseek2", "deepseek2-lite", "deepseek3"),
    [](const auto& case_info) {
      std::string name = case_info.param;
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST(Architectures, EachHasAGoldenModel) {
  std::set<std::string, std::less<>> proven;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/models")) {
    if (entry.path().extension() != ".gguf") continue;
    const ModelFile file = ModelFile::open(entry.path()).value();
    proven.emplace(file.find_text("general.architecture").value().value());
  }
  for (const Architecture& row : architectures())
    EXPECT_TRUE(proven.contains(row.name)) << row.name;
}

TEST(Decoder, CountsParametersAndBytes) {
  const ModelHarness harness("llama-tied");
  const std::size_t per_layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48 + 2 * 32;
  EXPECT_EQ(harness.model().num_parameters(), 64 * 32 + 2 * per_layer + 32);
  EXPECT_GE(harness.model().weight_bytes(), harness.model().num_parameters() * 4);
  constexpr std::size_t kMax = ModelHarness::kMaxTokens;
  const std::size_t activations = harness.model().activation_bytes();
  EXPECT_GT(activations, 0u);
  EXPECT_EQ(activation_bytes_for(harness.model().config(), {kMax, kMax, kMax}), activations);
}

}  // namespace
}  // namespace hearth
