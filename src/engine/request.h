// What goes into the engine and what comes out of it: plain data, no JSON, no text.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "sampling/sampler.h"

namespace hearth {

struct GenerationRequest {
  std::string id;                    // For logs; unique per request.
  std::vector<std::int32_t> prompt;  // At least one token, all within the vocabulary.
  SamplingParams sampling;
  std::uint32_t num_choices = 1;  // Answers to this prompt, which they share.
  std::uint32_t max_tokens = 0;   // Per choice. 0 is allowed: only the prompt is evaluated.
  std::uint32_t min_tokens = 0;   // No end-of-generation or stop token before.
  bool ignore_eos = false;
  std::vector<std::int32_t> stop_token_ids;  // Besides the model's own end-of-generation tokens.
  std::optional<std::uint32_t>
      top_logprobs;              // Set: logprobs of chosen tokens and that many others.
  bool prompt_logprobs = false;  // The same for prompt tokens (switches the cache off).
  std::int32_t priority = 0;     // Lower ones are served first; equal ones in order of arrival.
  std::chrono::steady_clock::time_point arrival{};  // When the front end first saw it.
};

enum class FinishReason : std::uint8_t {
  kStop,    // An end-of-generation or stop token (not part of the answer).
  kLength,  // max_tokens or the end of the context.
};

// The prompt has been evaluated; comes once, before any token.
struct PromptDone {
  std::uint32_t cached_tokens = 0;  // Of the prompt, taken from the prefix cache.
  // With prompt_logprobs: one entry per prompt token, the first one empty (nothing precedes it).
  std::vector<std::optional<PositionLogprobs>> logprobs;
};

struct TokenGenerated {
  std::uint32_t choice = 0;
  std::int32_t id = 0;
  std::optional<PositionLogprobs> logprobs;
};

struct ChoiceFinished {
  std::uint32_t choice = 0;
  FinishReason reason = FinishReason::kStop;
  std::optional<std::int32_t> stop_token;  // The token that ended it, if one did.
};

// Terminal events: exactly one per request, always the last.
struct RequestFinished {};
struct RequestCancelled {};
struct RequestFailed {
  Status
      status;  // kInternal: numerical error; kUnavailable: shutting down; kResourceExhausted: ...
};

using GenerationEvent = std::variant<PromptDone, TokenGenerated, ChoiceFinished, RequestFinished,
                                     RequestCancelled, RequestFailed>;

}  // namespace hearth
