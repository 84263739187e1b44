// For tests of models: golden data by transformers, and a model with the memory to run it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "models/model.h"

namespace hearth::test {

// Logits of the golden models lie within about +-10. Keys and values are stored in float16, which
// is the only rounding transformers does not do by itself.
inline constexpr float kLogitErrorBudget = 2e-2f;
// Where it was made to do that as well: what is left of a value that falls to the other side.
inline constexpr float kRoundedLogitErrorBudget = 4e-3f;

struct Golden {
  float logit_error_budget = kLogitErrorBudget;
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> greedy;
  std::vector<std::vector<float>> logits;  // [prompt, vocab_size]
};

inline std::vector<std::int32_t> ids_of(const json::Value& value) {
  std::vector<std::int32_t> ids;
  for (const json::Value& item : *value.as_array()) {
    std::int64_t id = 0;
    EXPECT_TRUE(item.to_int64(id));
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

inline Golden read_golden(const std::filesystem::path& path) {
  const auto text = read_text_file(path, 1u << 20);
  EXPECT_TRUE(text.has_value());
  const json::Value root = json::parse(*text).value();
  const json::Object& object = *root.as_object();
  Golden result;
  result.prompt = ids_of(*object.find("prompt"));
  result.greedy = ids_of(*object.find("greedy"));
  bool rounded = false;
  const json::Value* flag = object.find("float16_cache");
  if (flag != nullptr) rounded = *flag->as_bool();
  if (rounded) result.logit_error_budget = kRoundedLogitErrorBudget;
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

  explicit ModelHarness(ModelFile file, std::size_t num_threads = 2,
                        std::string_view kernels = "auto")
      : file_(std::move(file)),
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
    result.reserve(logits.rows);
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

  // The greedy continuation of a prompt, `num_tokens` long.
  std::vector<std::int32_t> continue_greedily(const std::vector<std::int32_t>& prompt,
                                              std::size_t num_tokens) {
    auto logits = evaluate(prompt, 16).back();
    std::vector<std::int32_t> greedy;
    while (greedy.size() < num_tokens) {
      greedy.push_back(
          static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin()));
      logits = step({{0, prompt.size() + greedy.size() - 1, {greedy.back()}}}).front();
    }
    return greedy;
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

}  // namespace hearth::test
