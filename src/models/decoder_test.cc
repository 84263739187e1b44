#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "models/model.h"

namespace hearth {
namespace {

// Logits of the golden models lie within about +-10. Keys and values are stored in float16, which
// is the only rounding transformers does not do.
constexpr float kLogitErrorBudget = 2e-2f;

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path("tests/golden/models") / name;
}

struct Golden {
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> greedy;
  std::vector<std::vector<float>> logits;  // [prompt, vocab_size]
};

std::vector<std::int32_t> ids_of(const json::Value& value) {
  std::vector<std::int32_t> ids;
  for (const json::Value& item : *value.as_array()) {
    std::int64_t id = 0;
    EXPECT_TRUE(item.to_int64(id));
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

Golden read_golden(const std::string& name) {
  const auto text = read_text_file(golden(name + ".json"), 1u << 20);
  EXPECT_TRUE(text.has_value());
  const json::Value root = json::parse(*text).value();
  const json::Object& object = *root.as_object();
  Golden result;
  result.prompt = ids_of(*object.find("prompt"));
  result.greedy = ids_of(*object.find("greedy"));
  for (const json::Value& row : *object.find("logits")->as_array()) {
    auto& out = result.logits.emplace_back();
    for (const json::Value& item : *row.as_array()) {
      double logit = 0;
      EXPECT_TRUE(item.to_double(logit));
      out.push_back(static_cast<float>(logit));
    }
  }
  return result;
}

// One model with its own KV memory; sequences use disjoint, deliberately scattered blocks.
class ModelHarness {
 public:
  static constexpr std::size_t kBlockSize = kKvPositionLanes;
  static constexpr std::size_t kBlocksPerSequence = 4;
  static constexpr std::size_t kNumSequences = 3;
  static constexpr std::size_t kMaxTokens = kBlockSize * kBlocksPerSequence;

  explicit ModelHarness(const std::string& name, std::size_t num_threads = 2,
                        std::string_view kernels = "auto")
      : file_(ModelFile::open(golden(name + ".gguf")).value()),
        device_(make_cpu_device({num_threads, kernels}).value()),
        model_(Model::load(file_, *device_).value()),
        kv_(KvStorage::create(kv_shape()).value()) {
    EXPECT_TRUE(model_->reserve(kMaxTokens, kMaxTokens, kMaxTokens).ok());
    for (std::size_t s = 0; s < kNumSequences; ++s) {
      auto& table = tables_.emplace_back();
      for (std::size_t b = 0; b < kBlocksPerSequence; ++b) {
        table.push_back(
            static_cast<std::int32_t>((b * 3 + 2) % kBlocksPerSequence * kNumSequences + s));
      }
    }
  }

  struct Part {
    std::size_t sequence;
    std::size_t first_position;
    std::vector<std::int32_t> tokens;
  };

  // One step over the parts; logits of every row, in row order.
  std::vector<std::vector<float>> step(const std::vector<Part>& parts) {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> positions;
    std::vector<SequenceRows> rows;
    for (const Part& part : parts) {
      rows.push_back(
          {tokens.size(), part.tokens.size(), part.first_position, tables_[part.sequence].data()});
      for (std::size_t i = 0; i < part.tokens.size(); ++i) {
        tokens.push_back(part.tokens[i]);
        positions.push_back(static_cast<std::int32_t>(part.first_position + i));
      }
    }
    std::vector<std::int32_t> logit_rows(tokens.size());
    std::iota(logit_rows.begin(), logit_rows.end(), 0);
    const ConstMatrixView logits = model_->forward({tokens, positions, rows, logit_rows}, kv_);
    std::vector<std::vector<float>> result;
    for (std::size_t i = 0; i < logits.rows; ++i) {
      result.emplace_back(logits.row(i), logits.row(i) + logits.cols);
    }
    return result;
  }

  // Logits of every token of a sequence evaluated in chunks of the given length.
  std::vector<std::vector<float>> evaluate(const std::vector<std::int32_t>& tokens,
                                           std::size_t chunk_len) {
    std::vector<std::vector<float>> result;
    for (std::size_t first = 0; first < tokens.size(); first += chunk_len) {
      const std::size_t last = std::min(tokens.size(), first + chunk_len);
      const auto begin = tokens.begin();
      auto logits = step({{0,
                           first,
                           {begin + static_cast<std::ptrdiff_t>(first),
                            begin + static_cast<std::ptrdiff_t>(last)}}});
      std::ranges::move(logits, std::back_inserter(result));
    }
    return result;
  }

  const Model& model() const { return *model_; }

 private:
  KvShape kv_shape() const {
    const ModelConfig& config = model_->config();
    return {config.num_layers, config.heads.num_kv_heads, config.heads.head_dim, kBlockSize,
            kBlocksPerSequence * kNumSequences};
  }

  ModelFile file_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Model> model_;
  KvStorage kv_;
  std::vector<std::vector<std::int32_t>> tables_;
};

class GoldenModel : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenModel, LogitsAgreeWithTransformers) {
  const Golden expected = read_golden(GetParam());
  ModelHarness harness(GetParam());
  const auto logits = harness.evaluate(expected.prompt, expected.prompt.size());
  ASSERT_EQ(logits.size(), expected.logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    for (std::size_t j = 0; j < logits[i].size(); ++j) {
      ASSERT_NEAR(logits[i][j], expected.logits[i][j], kLogitErrorBudget)
          << "position " << i << ", token " << j;
    }
  }
}

TEST_P(GoldenModel, GreedyContinuationEqualsTransformers) {
  const Golden expected = read_golden(GetParam());
  ModelHarness harness(GetParam());
  auto logits = harness.evaluate(expected.prompt, 16).back();
  std::vector<std::int32_t> greedy;
  while (greedy.size() < expected.greedy.size()) {
    greedy.push_back(static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin()));
    const std::size_t position = expected.prompt.size() + greedy.size() - 1;
    logits = harness.step({{0, position, {greedy.back()}}}).front();
  }
  EXPECT_EQ(greedy, expected.greedy);
}

TEST_P(GoldenModel, ChunkingChangesNoBit) {
  const Golden expected = read_golden(GetParam());
  const auto whole = ModelHarness(GetParam()).evaluate(expected.prompt, expected.prompt.size());
  for (const std::size_t chunk_len : {1u, 3u, 8u, 17u}) {
    EXPECT_EQ(ModelHarness(GetParam()).evaluate(expected.prompt, chunk_len), whole)
        << "chunks of " << chunk_len;
  }
}

TEST_P(GoldenModel, ThreadsAndKernelsChangeNoBit) {
  const Golden expected = read_golden(GetParam());
  const auto reference = ModelHarness(GetParam(), 1, "reference").evaluate(expected.prompt, 40);
  for (const KernelSetInfo& set : kernel_sets()) {
    if (!set.supported) continue;
    EXPECT_EQ(ModelHarness(GetParam(), 3, set.name).evaluate(expected.prompt, 40), reference)
        << set.name;
  }
}

TEST_P(GoldenModel, CompanyChangesNoBit) {
  const Golden expected = read_golden(GetParam());
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

INSTANTIATE_TEST_SUITE_P(Families, GoldenModel,
                         ::testing::Values("llama-tied", "llama-untied-bias", "llama-wide-heads",
                                           "llama-rope-linear", "llama-rope-llama3",
                                           "llama-rope-yarn", "qwen2"),
                         [](const auto& case_info) {
                           std::string name = case_info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

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
