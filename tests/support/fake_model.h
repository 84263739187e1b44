// A model without weights whose logits are a hash of everything that went before, read back through
// the block tables: a wrong block, position or token, or a block that somebody else wrote to, gives
// a different answer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "models/model.h"

namespace hearth::test {

struct FakeModelOptions {
  std::size_t vocab_size = 64;
  std::size_t context_len = 256;
  // Logits depend on that many last tokens: with few, greedy answers repeat themselves.
  std::size_t memory = std::numeric_limits<std::size_t>::max();
  std::int32_t poison = -1;  // Once this token is in a sequence, its logits are not numbers.
  std::function<void(const ForwardBatch&)> on_forward = {};  // Called first in every step.
  std::function<void()> on_reserve = {};
};

// What the logits after a sequence are made of.
class FakeHistory {
 public:
  void add(std::uint64_t value) { hash_ = mix(hash_ + value * 0x9e3779b97f4a7c15ULL + 1); }
  // In [-6, 6).
  float logit(std::size_t id) const {
    const std::uint64_t bits = mix(hash_ ^ (id * 0xd1342543de82ef95ULL)) >> 40;
    return static_cast<float>(bits) * (12.0f / 16777216.0f) - 6.0f;
  }

 private:
  static std::uint64_t mix(std::uint64_t x) {  // The finaliser of splitmix64.
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  }
  std::uint64_t hash_ = 0;
};

// The logits after `tokens`, computed without any engine.
inline std::vector<float> fake_logits(std::span<const std::int32_t> tokens,
                                      const FakeModelOptions& model) {
  FakeHistory history;
  for (const std::int32_t token : tokens.last(std::min(tokens.size(), model.memory)))
    history.add(static_cast<std::uint64_t>(token));
  std::vector<float> logits(model.vocab_size);
  for (std::size_t id = 0; id < model.vocab_size; ++id)
    logits[id] = history.logit(id);
  return logits;
}

class FakeModel final : public Model {
 public:
  explicit FakeModel(FakeModelOptions options) : options_(std::move(options)) {
    config_.architecture = "fake";
    config_.num_layers = 1;
    config_.hidden_size = 2;
    config_.vocab_size = options_.vocab_size;
    config_.context_len = options_.context_len;
    config_.heads = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 2};
  }

  const ModelConfig& config() const override { return config_; }

  Status reserve(std::size_t max_tokens, std::size_t max_logit_rows,
                 std::size_t max_positions) override {
    if (options_.on_reserve) options_.on_reserve();
    max_tokens_ = max_tokens;
    max_positions_ = max_positions;
    logits_.resize(max_logit_rows * options_.vocab_size);
    return {};
  }

  ConstMatrixView forward(const ForwardBatch& batch, KvStorage& kv) override {
    if (options_.on_forward) options_.on_forward(batch);
    HEARTH_CHECK(!batch.tokens.empty() && batch.tokens.size() <= max_tokens_);
    HEARTH_CHECK(batch.positions.size() == batch.tokens.size());
    HEARTH_CHECK(batch.logit_rows.size() * options_.vocab_size <= logits_.size());
    std::size_t num_rows = 0;
    for (const SequenceRows& rows : batch.sequences) {
      HEARTH_CHECK(rows.first_row == num_rows && rows.num_rows > 0);
      HEARTH_CHECK(rows.first_position + rows.num_rows <= max_positions_);
      num_rows += rows.num_rows;
      store(batch, rows, kv);
    }
    HEARTH_CHECK(num_rows == batch.tokens.size());
    std::size_t sequence = 0;
    for (std::size_t idx = 0; idx < batch.logit_rows.size(); ++idx) {
      const auto row = static_cast<std::size_t>(batch.logit_rows[idx]);
      while (row >= batch.sequences[sequence].first_row + batch.sequences[sequence].num_rows) {
        ++sequence;
      }
      write_logits(batch.sequences[sequence], row, kv, &logits_[idx * options_.vocab_size]);
    }
    return {logits_.data(), batch.logit_rows.size(), options_.vocab_size, options_.vocab_size};
  }

  std::size_t num_parameters() const override { return 0; }
  std::size_t weight_bytes() const override { return 0; }
  std::size_t activation_bytes() const override { return logits_.size() * sizeof(float); }

 private:
  struct Slot {
    std::uint16_t* token;
    std::uint16_t* position;
  };

  static Slot slot(const SequenceRows& rows, std::size_t position, const KvStorage& kv) {
    const std::size_t block_size = kv.shape().block_size;
    const auto block = static_cast<std::size_t>(rows.block_table[position / block_size]);
    HEARTH_CHECK(block < kv.shape().num_blocks);
    const KvLayerView layer = kv.layer(0);
    const auto elements = [](std::byte* run) { return reinterpret_cast<std::uint16_t*>(run); };
    return {elements(layer.k + layer.key_offset(block, 0)) + position % block_size,
            elements(layer.v + layer.value_offset(block, 0)) +
                position % block_size * kv.shape().value_len()};
  }

  static void store(const ForwardBatch& batch, const SequenceRows& rows, const KvStorage& kv) {
    for (std::size_t idx = 0; idx < rows.num_rows; ++idx) {
      const std::size_t position = rows.first_position + idx;
      HEARTH_CHECK(batch.positions[rows.first_row + idx] == static_cast<std::int32_t>(position));
      const Slot target = slot(rows, position, kv);
      *target.token = static_cast<std::uint16_t>(batch.tokens[rows.first_row + idx]);
      *target.position = static_cast<std::uint16_t>(position);
    }
  }

  void write_logits(const SequenceRows& rows, std::size_t row, const KvStorage& kv,
                    float* out) const {
    const std::size_t last = rows.first_position + row - rows.first_row;
    FakeHistory history;
    bool poisoned = false;
    for (std::size_t position = 0; position <= last; ++position) {
      const Slot seen = slot(rows, position, kv);
      if (*seen.position != position) history.add(1'000'000 + position);
      if (last - position < options_.memory) history.add(*seen.token);
      poisoned |= static_cast<std::int32_t>(*seen.token) == options_.poison;
    }
    for (std::size_t id = 0; id < options_.vocab_size; ++id) {
      out[id] = poisoned ? std::numeric_limits<float>::quiet_NaN() : history.logit(id);
    }
  }

  FakeModelOptions options_;
  ModelConfig config_;
  std::size_t max_tokens_ = 0;
  std::size_t max_positions_ = 0;
  std::vector<float> logits_;
};

}  // namespace hearth::test
