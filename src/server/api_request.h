// Bodies of API requests as typed values: everything checked, nothing left to interpret.
//
// Formats: OpenAI's chat completions and completions with vLLM's extensions, and vLLM's tokenize
// and detokenize. The parse functions are pure and safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "sampling/sampler.h"
#include "server/api_error.h"
#include "server/request_values.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

struct GenerationParams {
  SamplingParams sampling;  // With a seed of its own when the request has none.
  std::uint32_t num_choices = 1;
  std::optional<std::uint32_t> max_tokens;  // Unset: to the end of the context.
  std::uint32_t min_tokens = 0;
  bool ignore_eos = false;
  std::int32_t priority = 0;  // Lower ones are served first.
  std::vector<TokenId> stop_token_ids;
  std::vector<std::string> stop;
  bool include_stop = false;
  std::optional<std::uint32_t> top_logprobs;  // Set: send logprobs, with that many alternatives.
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
};

// What a chat template is asked to render.
struct ChatInput {
  json::Array messages;  // Contents joined to plain strings, role developer renamed to system.
  json::Object template_kwargs;
  bool add_generation_prompt = true;
  bool add_special_tokens = true;
};

struct ChatRequest {
  ChatInput input;
  GenerationParams params;
};

struct CompletionRequest {
  std::vector<PromptInput> prompts;  // At least one.
  bool echo = false;
  bool add_special_tokens = true;
  GenerationParams params;
};

struct TokenizeRequest {
  std::variant<std::string, ChatInput> input;
  bool add_special_tokens = true;
  bool return_texts = false;
};

struct DetokenizeRequest {
  std::vector<TokenId> tokens;
};

// `body` is an object (see parse_json_object). The model it names, as a model must be known before
// the rest can be checked: empty when it names none.
ApiResult<std::string> requested_model(const json::Value& body);

// `vocab_size` bounds every token id; `defaults` are for sampling fields that a request leaves out.
ApiResult<ChatRequest> parse_chat_request(const json::Value& body, std::size_t vocab_size,
                                          const SamplingParams& defaults = {});
ApiResult<CompletionRequest> parse_completion_request(const json::Value& body,
                                                      std::size_t vocab_size,
                                                      const SamplingParams& defaults = {});
ApiResult<TokenizeRequest> parse_tokenize_request(const json::Value& body);
ApiResult<DetokenizeRequest> parse_detokenize_request(const json::Value& body,
                                                      std::size_t vocab_size);

}  // namespace hearth
