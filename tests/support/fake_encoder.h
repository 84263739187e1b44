// An encoder without weights: its outputs are a hash of the tokens and their types, so that a
// result that went to the wrong text, or came from another batch's memory, shows.
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
#include "models/encoder.h"

namespace hearth::test {

struct FakeEncoderOptions {
  EncoderConfig config = {};
  EncoderLimits limits = {.max_batch_tokens = 64, .max_batch_sequences = 16};
  std::int32_t poison = -1;  // A sequence with this token gives numbers that are none.
  std::function<void(std::span<const EncoderInput>)> on_encode = {};  // Called first.
};

// A model of vectors of 8 numbers over 300 tokens; texts of up to 32.
inline EncoderConfig fake_encoder_config() {
  EncoderConfig config;
  config.architecture = "bert";
  config.max_tokens = 32;
  config.width = 8;
  config.vocab_size = 300;
  config.num_token_types = 2;
  return config;
}

// Output `column` for a sequence, in [-2, 2).
inline float fake_output(std::span<const std::int32_t> tokens,
                         std::span<const std::int32_t> token_types, std::size_t column) {
  std::uint64_t hash = column + 1;
  const auto mix = [&hash](std::int32_t value) {
    hash = (hash ^ static_cast<std::uint32_t>(value)) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 29;
  };
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    mix(tokens[i]);
    mix(token_types.empty() ? 0 : token_types[i]);
  }
  return static_cast<float>(hash >> 40) * (4.0f / 16777216.0f) - 2.0f;
}

class FakeEncoder final : public Encoder {
 public:
  explicit FakeEncoder(FakeEncoderOptions options) : options_(std::move(options)) {}

  const EncoderConfig& config() const override { return options_.config; }
  const EncoderLimits& limits() const override { return options_.limits; }

  void encode(std::span<const EncoderInput> inputs, MatrixView out) override {
    if (options_.on_encode) options_.on_encode(inputs);
    check_limits(inputs, out);
    for (std::size_t row = 0; row < inputs.size(); ++row) {
      const bool is_poisoned =
          std::ranges::find(inputs[row].tokens, options_.poison) != inputs[row].tokens.end();
      for (std::size_t column = 0; column < out.cols; ++column) {
        out.row(row)[column] =
            is_poisoned ? std::numeric_limits<float>::quiet_NaN()
                        : fake_output(inputs[row].tokens, inputs[row].token_types, column);
      }
    }
  }

  std::size_t num_parameters() const override { return 1; }
  std::size_t weight_bytes() const override { return 1; }
  std::size_t activation_bytes() const override { return 1; }

 private:
  void check_limits(std::span<const EncoderInput> inputs, MatrixView out) const {
    std::size_t num_tokens = 0;
    for (const EncoderInput& input : inputs) {
      HEARTH_CHECK(!input.tokens.empty() && input.tokens.size() <= config().max_tokens);
      num_tokens += input.tokens.size();
    }
    HEARTH_CHECK(num_tokens <= limits().max_batch_tokens);
    HEARTH_CHECK(!inputs.empty() && inputs.size() <= limits().max_batch_sequences);
    HEARTH_CHECK(out.rows == inputs.size() && out.cols == config().width);
  }

  const FakeEncoderOptions options_;
};

}  // namespace hearth::test
