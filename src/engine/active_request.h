// One accepted request while it waits and runs: its samplers, its rules of when to stop, its events
// and its measurements. Used by one thread at a time: the submitting one until it is queued, then
// the engine's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/model_runner.h"
#include "engine/request.h"
#include "engine/request_channel.h"
#include "kernels/device.h"
#include "metrics/metrics.h"

namespace hearth {

// What a request needs to know about the engine it runs in. The engine owns it and outlives
// requests.
struct RequestContext {
  std::size_t max_model_len = 0;
  std::size_t vocab_size = 0;
  std::size_t max_draft_tokens = 0;  // Of one sequence in one step.
  bool prefix_cache = true;
  std::vector<std::int32_t> eos_tokens;
  const ModelMetrics* metrics = nullptr;
};

class ActiveRequest {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  ActiveRequest(const RequestContext& context, GenerationRequest request,
                std::shared_ptr<RequestChannel> channel);
  // Its terminal event has been delivered, or it was never accepted.
  ~ActiveRequest();

  void accepted(RequestId id, TimePoint now);
  RequestId id() const { return id_; }
  SchedulerRequest scheduler_request() const;
  const GenerationRequest& request() const { return request_; }

  // First scheduled.
  void admitted(TimePoint now);
  bool was_admitted() const { return first_scheduled_.has_value(); }

  // So many more tokens of the prompt came from the prefix cache.
  void add_cached_tokens(std::size_t num_tokens);

  // Logits [num_rows, vocab_size] of consecutive positions from the prompt's first on, over all
  // steps; ignored where no prompt token follows, or when none were asked for. kInternal on numbers
  // that are none.
  Status add_prompt_logits(ConstMatrixView logits);
  // The prompt is evaluated.
  void complete_prompt();
  // True when no tokens are wanted: the prompt was all.
  bool wants_no_tokens() const { return request_.max_tokens == 0; }

  // What it takes to pick the next tokens of a choice: all but what the step knows.
  SampleTask sample_task(std::uint32_t choice);
  // The picked tokens, in order: events, and perhaps the end of the choice. Returns how many became
  // part of the answer.
  std::size_t accept_tokens(SampleTask& task, TimePoint now);
  bool is_open(std::uint32_t choice) const { return choices_[choice].is_open; }
  // No more tokens of this choice are wanted; no event says so.
  void end_choice(std::uint32_t choice);
  // Ends all choices of a request that wants_no_tokens().
  void finish_without_tokens();
  bool all_choices_ended() const { return num_open_choices_ == 0; }

  // The terminal event. It still has to be delivered.
  void end(GenerationEvent terminal, TimePoint now);
  // Hands events over to the consumer.
  void deliver() { channel_->deliver(events_); }

 private:
  struct Choice {
    std::optional<Sampler> sampler;
    std::size_t num_tokens = 0;
    bool is_open = true;
    TimePoint first_token{};
    TimePoint last_token{};
  };

  // The event of it; why it ends the choice, if it does.
  std::optional<FinishedReason> accept_token(std::uint32_t choice_idx, PickedToken& pick);
  void record_tokens(Choice& choice, std::size_t count, TimePoint now);
  void close_choice(Choice& choice, FinishedReason reason);

  const RequestContext& context_;
  GenerationRequest request_;
  std::shared_ptr<RequestChannel> channel_;
  RequestId id_ = 0;

  std::vector<std::int32_t> stop_tokens_;        // End a choice.
  std::vector<std::int32_t> banned_;             // Always.
  std::vector<std::int32_t> banned_before_min_;  // While fewer than min_tokens were generated.
  std::size_t max_tokens_ = 0;                   // Per choice, within the context.

  std::vector<Choice> choices_;
  std::size_t num_open_choices_ = 0;
  std::size_t cached_tokens_ = 0;
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs_;
  std::vector<GenerationEvent> events_;  // Not delivered yet.

  TimePoint queued_{};
  std::optional<TimePoint> first_scheduled_;
  bool prompt_done_ = false;
  bool has_token_ = false;
  bool has_ended_ = false;
};

}  // namespace hearth
