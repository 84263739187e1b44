// From what a request asks to token ids, within the context of the model.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/api_request.h"
#include "server/model_ref.h"

namespace hearth {

struct PreparedPrompt {
  std::vector<TokenId> ids;
  std::string text;           // As the client gave it, or the text of its ids.
  std::size_t num_added = 0;  // Ids at the front that are not in `text` (BOS).
};

struct PromptOptions {
  // Refuse a text that is certain not to fit into the model's context before it is tokenized, which
  // for megabytes takes seconds. The error is check_prompt_length()'s, with a lower bound of the
  // tokens. For prompts that are to be answered; the ids of a longer text may still be asked for.
  bool must_fit = false;
  // For the owner to end the work early, from any thread (the client left, the server shuts down):
  // within milliseconds the answer is then a 503. Left out: never.
  std::stop_token stop = {};
};

// Renders and tokenizes a chat. Text of the messages never becomes a special token.
ApiResult<PreparedPrompt> prepare_chat(const ModelRef& model, const ChatInput& input,
                                       const PromptOptions& options = {});

// Tokenizes a text prompt; here special tokens in the text count as such, since the caller writes
// the whole prompt. BOS is not doubled if the text begins with it.
ApiResult<PreparedPrompt> prepare_text(const ModelRef& model, const PromptInput& input,
                                       bool add_special_tokens, const PromptOptions& options = {});

// 400 when the prompt is empty, or leaves no room for an answer of at least one token (unless
// max_tokens is 0).
ApiResult<void> check_prompt_length(const ModelRef& model, const PreparedPrompt& prompt,
                                    const GenerationParams& params);

}  // namespace hearth
