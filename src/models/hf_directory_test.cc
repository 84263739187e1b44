#include "models/hf_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "models/model_test_util.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using test::Golden;
using test::ModelHarness;
using test::read_golden;
using test::TempDirectory;
using ::testing::HasSubstr;

// As kLogitErrorBudget; of the models here one lies just above it. Where transformers rounds its
// keys and values to float16 too, all differences fall below 1e-4.
constexpr float kHfLogitErrorBudget = 3e-2f;

std::filesystem::path hf(const std::string& name) {
  return std::filesystem::path("tests/golden/hf") / name;
}

std::filesystem::path gguf(const std::string& name) {
  return std::filesystem::path("tests/golden/models") / (name + ".gguf");
}

Golden golden_of(const std::string& name) {
  const auto own = hf(name) / "golden.json";
  if (std::filesystem::exists(own)) return read_golden(own);
  return read_golden(std::filesystem::path("tests/golden/models") / (name + ".json"));
}

// The rope cases keep their configuration alone; their weights are those of llama-tied.
class HfCase {
 public:
  explicit HfCase(const std::string& name) {
    std::filesystem::copy(hf("llama-tied"), directory_.path(), kOverwrite);
    std::filesystem::copy(hf(name), directory_.path(), kOverwrite);
  }
  explicit HfCase(const HfCase&) = delete;

  std::filesystem::path path() const { return directory_.path(); }
  ModelFile open() const { return open_hf_directory(path()).value(); }

 private:
  static constexpr auto kOverwrite =
      std::filesystem::copy_options::overwrite_existing | std::filesystem::copy_options::recursive;
  TempDirectory directory_;
};

class HfGoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  HfGoldenModel() : case_(GetParam()), expected_(golden_of(GetParam())) {}

  HfCase case_;
  Golden expected_;
};

TEST_P(HfGoldenModel, LogitsAgreeWithTransformers) {
  const auto logits =
      ModelHarness(case_.open()).evaluate(expected_.prompt, expected_.prompt.size());
  ASSERT_EQ(logits.size(), expected_.logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    for (std::size_t j = 0; j < logits[i].size(); ++j) {
      ASSERT_NEAR(logits[i][j], expected_.logits[i][j], kHfLogitErrorBudget)
          << "position " << i << ", token " << j;
    }
  }
}

TEST_P(HfGoldenModel, GreedyContinuationEqualsTransformers) {
  EXPECT_EQ(ModelHarness(case_.open()).continue_greedily(expected_.prompt, expected_.greedy.size()),
            expected_.greedy);
}

INSTANTIATE_TEST_SUITE_P(Families, HfGoldenModel,
                         ::testing::Values("llama-tied", "llama-bf16", "llama-rope-linear",
                                           "llama-rope-llama3", "llama-rope-yarn", "mistral-f16",
                                           "qwen2"),
                         [](const auto& case_info) {
                           std::string name = case_info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

std::vector<std::vector<float>> logits_of(ModelFile file) {
  return ModelHarness(std::move(file)).evaluate(golden_of("qwen2").prompt, 40);
}

TEST(HfDirectory, GivesTheBitsOfAGgufFileOfTheSameWeights) {
  EXPECT_EQ(logits_of(open_hf_directory(hf("qwen2")).value()),
            logits_of(ModelFile::open(gguf("qwen2")).value()));
}

// Llama's GGUF files hold the rotated pairs of Q and K side by side, so that the products of
// attention are added up in another order.
TEST(HfDirectory, DiffersFromAPermutedGgufFileByRoundingAlone) {
  const auto here = logits_of(open_hf_directory(hf("llama-tied")).value());
  const auto there = logits_of(ModelFile::open(gguf("llama-tied")).value());
  for (std::size_t i = 0; i < here.size(); ++i) {
    for (std::size_t j = 0; j < here[i].size(); ++j) {
      ASSERT_NEAR(here[i][j], there[i][j], 1e-3f) << "position " << i << ", token " << j;
    }
  }
}

TEST(HfDirectory, ShardsGiveTheBitsOfOneFile) {
  const ModelFile file = open_hf_directory(hf("qwen2-sharded")).value();
  EXPECT_EQ(file.format(), "safetensors in 3 shards");
  EXPECT_EQ(logits_of(open_hf_directory(hf("qwen2-sharded")).value()),
            logits_of(open_hf_directory(hf("qwen2")).value()));
}

}  // namespace
}  // namespace hearth
