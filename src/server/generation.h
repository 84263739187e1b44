// One API request while it is being answered: prompts to the engine, events to text, text to a
// sink.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_format.h"
#include "server/answer_sink.h"
#include "server/api_request.h"
#include "server/http_message.h"
#include "server/model_ref.h"
#include "server/prompt.h"
#include "tokenizer/detokenizer.h"

namespace hearth {

struct GenerationJob {
  ModelLease model;
  std::string model_name;  // As the request calls it.
  AnswerKind kind = AnswerKind::kChat;
  bool echo = false;
  std::vector<PreparedPrompt> prompts;  // Choice c of prompt p is the answer's choice p * n + c.
  GenerationParams params;
  std::chrono::steady_clock::time_point arrival{};
  std::chrono::milliseconds keep_alive{};  // Pause between signs of life before the first token.
};

// Lives on the exchange's executor, kept alive by the exchange until that ends. When the client
// goes the engine's work is cancelled. With the end of the answer ends the lease of the model,
// however long the client takes to read the rest.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // On the exchange's executor.
  static void start(GenerationJob job, const std::shared_ptr<HttpExchange>& exchange);

 private:
  struct Prompt {
    std::shared_ptr<GenerationHandle> handle;
    bool ended = false;
  };
  struct PendingToken {
    ScoredToken token;
    std::size_t start_byte = 0;  // Among the bytes of the choice's tokens.
  };
  struct Choice {
    explicit Choice(Detokenizer text) : detokenizer(std::move(text)) {}
    Detokenizer detokenizer;
    std::vector<PendingToken> pending;  // Logprobs of tokens whose text is held back.
    CodePointCounter offset;            // Of the tokens, prompt included if it is echoed.
    std::size_t token_bytes = 0;
    bool ended = false;
  };

  Generation(GenerationJob job, std::shared_ptr<HttpExchange> exchange);

  void submit_all();
  GenerationRequest engine_request(std::size_t prompt_idx) const;
  void watch_for_silence();
  void pump();
  void on_event(std::size_t prompt_idx, GenerationEvent& event);
  void on_prompt_done(std::size_t prompt_idx, PromptDone& event);
  void on_token(std::size_t choice_idx, TokenGenerated& event);
  void on_choice_finished(std::size_t choice_idx, const ChoiceFinished& event);
  void release(std::size_t choice_idx, std::string text, bool at_end);
  void end_choice(std::size_t choice_idx, FinishReason reason);
  void fail(const ApiError& error);
  void cancel();
  void let_go_of_model();

  GenerationJob job_;
  std::shared_ptr<HttpExchange> exchange_;
  std::string id_;
  std::unique_ptr<AnswerSink> sink_;
  std::vector<Prompt> prompts_;
  std::vector<Choice> choices_;
  std::vector<GenerationEvent> events_;
  Usage usage_;
  std::size_t num_prompts_left_ = 0;
  bool begun_ = false;  // The sink has been told.
  bool ended_ = false;
};

}  // namespace hearth
