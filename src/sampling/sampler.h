// From logits to the next token, in one documented order:
//
//   1. repetition penalty        (tokens of prompt and answer)
//   2. frequency and presence penalties (tokens of the answer)
//   3. logit bias
//   4. bans: end-of-generation tokens before min_tokens or under ignore_eos
//   5. temperature (0: take the largest logit, lowest id on a tie, and stop here)
//   6. top-k, then top-p, then min-p, each over what the one before left
//   7. one draw with the request's own random stream
//
// Log-probabilities always come from the unmodified logits. Probabilities are 42-bit fixed-point
// numbers relative to the largest, so that sums are exact and the same seed gives the same tokens
// on every machine. A sampler belongs to one choice of one request; nothing is shared between
// samplers, so an answer cannot depend on its company. Not thread-safe, but different samplers may
// run on different threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hearth {

// Smaller ones would vanish or overflow in the arithmetic.
inline constexpr double kMinTopP = 1e-6;
inline constexpr double kMinRepetitionPenalty = 0.01;

struct SamplingParams {
  float temperature = 1.0f;         // >= 0
  float top_p = 1.0f;               // [kMinTopP, 1]
  std::uint32_t top_k = 0;          // 0: off
  float min_p = 0.0f;               // [0, 1]
  float frequency_penalty = 0.0f;   // [-2, 2]
  float presence_penalty = 0.0f;    // [-2, 2]
  float repetition_penalty = 1.0f;  // [kMinRepetitionPenalty, 10]; 1: off
  std::vector<std::pair<std::int32_t, float>> logit_bias = {};  // (token id, [-100, 100])
  std::uint64_t seed = 0;  // The front end draws one when the request has none.
};

// kInvalidArgument when a field is outside the limits above, or logit_bias names a token outside
// the vocabulary or the same one twice. Names the field, its limits and the value.
Status check_sampling_params(const SamplingParams& params, std::size_t vocab_size);

struct TokenLogprob {
  std::int32_t id = 0;
  float logprob = 0.0f;
};

// Of one position: the chosen (or given) token and the `top` most probable ones, best first.
struct PositionLogprobs {
  TokenLogprob chosen;
  std::uint32_t rank = 0;  // Of the chosen token: 0 is the most probable.
  std::vector<TokenLogprob> top;
};

class Sampler {
 public:
  // `choice` makes the n choices of one request differ. `prompt` is only read here. `params` passed
  // check_sampling_params() and all ids are within the vocabulary. Keeps 4 bytes per vocabulary
  // entry each for a modified copy of the logits and, with penalties, for counts.
  Sampler(const SamplingParams& params, std::uint32_t choice, std::size_t vocab_size,
          std::span<const std::int32_t> prompt);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // Picks the next token and remembers it. `logits` [vocab_size] are not changed; -inf bans a
  // token. `banned` ids cannot be picked. kInternal ("numerical_error") when a logit is NaN or +inf
  // or nothing can be picked; then nothing is remembered. Allocates nothing after the first call.
  Result<std::int32_t> sample(std::span<const float> logits, std::span<const std::int32_t> banned);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Log-softmax of `logits` at `chosen`, and the num_top most probable tokens (ties: lowest id
// first). Sums run in double precision. A NaN or +inf among the logits makes every log-probability
// NaN.
PositionLogprobs position_logprobs(std::span<const float> logits, std::int32_t chosen,
                                   std::size_t num_top);

}  // namespace hearth
