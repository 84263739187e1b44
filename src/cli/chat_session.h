// A conversation with a loaded model, for `hearth run`.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "cli/interrupt.h"
#include "engine/served_model.h"

namespace hearth {

struct AnswerOptions {
  SamplingParams sampling;
  std::uint32_t max_tokens = 0;  // 0: up to the end of the context.
};

// How an answer went, for those who ask.
struct AnswerStats {
  std::size_t prompt_tokens = 0;
  std::size_t cached_tokens = 0;
  std::size_t answer_tokens = 0;
  double prompt_seconds = 0.0;  // Until the first token.
  double answer_seconds = 0.0;  // From the first to the last.
};

struct Answer {
  AnswerStats stats;
  bool interrupted = false;  // Ctrl-C stopped it; what came before stays.
};

// Borrows the model and the interrupt. Not thread-safe.
class ChatSession {
 public:
  ChatSession(const ServedModel& model, Interrupt& interrupt)
      : model_(model), interrupt_(interrupt) {}

  AnswerOptions options;

  // Replaces the system message; empty: none. Keeps the rest of the conversation.
  void set_system(std::string text) { system_ = std::move(text); }
  // Forgets the conversation, but not the system message.
  void clear() { turns_.clear(); }

  // Answers `text` after all that was said before and streams the answer to standard output. After
  // an error the conversation is as it was before.
  Result<Answer> say(const std::string& text);
  // Continues `text` itself, without template and conversation.
  Result<Answer> complete(const std::string& text);

 private:
  struct Generated;
  Result<Generated> answer_conversation();
  Result<Generated> generate(std::vector<TokenId> prompt);

  const ServedModel& model_;
  Interrupt& interrupt_;
  std::string system_;
  json::Array turns_;
};

}  // namespace hearth
