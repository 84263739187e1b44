#include "engine/active_request.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hearth {
namespace {

double seconds(std::chrono::steady_clock::duration interval) {
  return std::chrono::duration<double>(interval).count();
}

bool contains(const std::vector<std::int32_t>& ids, std::int32_t id) {
  return std::ranges::find(ids, id) != ids.end();
}

}  // namespace

ActiveRequest::ActiveRequest(const RequestContext& context, GenerationRequest request,
                             std::shared_ptr<RequestChannel> channel)
    : context_(context),
      request_(std::move(request)),
      channel_(std::move(channel)),
      stop_tokens_(request_.stop_token_ids),
      choices_(request_.num_choices),
      num_open_choices_(request_.num_choices) {
  for (const std::int32_t eos : context_.eos_tokens) {
    if (contains(request_.stop_token_ids, eos)) continue;
    if (request_.ignore_eos) {
      banned_.push_back(eos);
    } else {
      stop_tokens_.push_back(eos);
    }
  }
  banned_before_min_ = banned_;
  banned_before_min_.insert(banned_before_min_.end(), stop_tokens_.begin(), stop_tokens_.end());
  max_tokens_ =
      std::min<std::size_t>(request_.max_tokens, context_.max_model_len - request_.prompt.size());
}

ActiveRequest::~ActiveRequest() {
  HEARTH_CHECK(id_ == 0 || has_ended_);
}

void ActiveRequest::accepted(RequestId id, TimePoint now) {
  id_ = id;
  queued_ = now;
  // A front end that does not say when the request arrived has it arrive here.
  if (request_.arrival == TimePoint{}) request_.arrival = now;
}

SchedulerRequest ActiveRequest::scheduler_request() const {
  return {.id = id_,
          .prompt = request_.prompt,
          .num_choices = request_.num_choices,
          .max_tokens = max_tokens_,
          .prompt_logits = request_.prompt_logprobs,
          .priority = request_.priority};
}

void ActiveRequest::admitted(TimePoint now) {
  first_scheduled_ = now;
  events_.reserve((2 + context_.max_draft_tokens) * choices_.size() + 2);
  const ModelMetrics& metrics = *context_.metrics;
  metrics.request.queue_time.observe(seconds(now - queued_));
  metrics.request.prompt_tokens.observe(static_cast<double>(request_.prompt.size()));
  metrics.tokens.prompt.increment(static_cast<double>(request_.prompt.size()));
  if (!context_.prefix_cache || request_.prompt_logprobs) return;  // Nothing is looked up.
  metrics.tokens.prefix_cache_queries.increment(static_cast<double>(request_.prompt.size()));
}

void ActiveRequest::add_cached_tokens(std::size_t num_tokens) {
  cached_tokens_ += num_tokens;
  const ModelMetrics& metrics = *context_.metrics;
  metrics.tokens.prompt_cached.increment(static_cast<double>(num_tokens));
  metrics.tokens.prefix_cache_hits.increment(static_cast<double>(num_tokens));
}

Status ActiveRequest::add_prompt_logits(ConstMatrixView logits) {
  if (!request_.prompt_logprobs || prompt_done_) return {};
  const std::size_t prompt_len = request_.prompt.size();
  if (prompt_logprobs_.empty()) {
    prompt_logprobs_.reserve(prompt_len);
    prompt_logprobs_.emplace_back();
  }
  for (std::size_t idx = 0; idx < logits.rows && prompt_logprobs_.size() < prompt_len; ++idx) {
    const std::int32_t next = request_.prompt[prompt_logprobs_.size()];
    const std::span row(logits.row(idx), context_.vocab_size);
    PositionLogprobs logprobs = position_logprobs(row, next, request_.top_logprobs.value_or(0));
    if (std::isnan(logprobs.chosen.logprob)) {
      return make_status(StatusCode::kInternal,
                         "numerical_error: the logits of prompt position {} are not numbers",
                         prompt_logprobs_.size() - 1);
    }
    prompt_logprobs_.emplace_back(std::move(logprobs));
  }
  return {};
}

void ActiveRequest::complete_prompt() {
  if (request_.prompt_logprobs) HEARTH_CHECK(prompt_logprobs_.size() == request_.prompt.size());
  prompt_done_ = true;
  events_.emplace_back(PromptDone{.cached_tokens = static_cast<std::uint32_t>(cached_tokens_),
                                  .logprobs = std::move(prompt_logprobs_)});
}

SampleTask ActiveRequest::sample_task(std::uint32_t choice_idx) {
  Choice& choice = choices_[choice_idx];
  HEARTH_CHECK(choice.is_open && !wants_no_tokens());
  if (!choice.sampler.has_value()) {
    choice.sampler.emplace(request_.sampling, choice_idx, context_.vocab_size, request_.prompt);
  }
  SampleTask task;
  task.id = {id_, choice_idx};
  task.sampler = &*choice.sampler;
  task.banned = banned_;
  task.banned_early = banned_before_min_;
  task.num_early =
      request_.min_tokens - std::min<std::size_t>(request_.min_tokens, choice.num_tokens);
  task.stop_tokens = stop_tokens_;
  task.top_logprobs = request_.top_logprobs;
  return task;
}

std::size_t ActiveRequest::accept_tokens(SampleTask& task, TimePoint now) {
  Choice& choice = choices_[task.id.choice];
  const std::size_t num_before = choice.num_tokens;
  std::optional<FinishedReason> end;
  for (PickedToken& pick : task.picks.first(task.num_picked)) {
    HEARTH_CHECK(!end.has_value());
    end = accept_token(task.id.choice, pick);
  }
  const std::size_t num_accepted = choice.num_tokens - num_before;
  if (num_accepted > 0) record_tokens(choice, num_accepted, now);
  if (end.has_value()) close_choice(choice, *end);
  return num_accepted;
}

std::optional<FinishedReason> ActiveRequest::accept_token(std::uint32_t choice_idx,
                                                          PickedToken& pick) {
  if (contains(stop_tokens_, pick.id)) {  // Not part of the answer, nor measured as a token of it.
    events_.emplace_back(ChoiceFinished{choice_idx, FinishReason::kStop, pick.id});
    return FinishedReason::kStop;
  }
  context_.metrics->tokens.generation.increment();
  events_.emplace_back(TokenGenerated{choice_idx, pick.id, std::move(pick.logprobs)});
  if (++choices_[choice_idx].num_tokens < max_tokens_) return std::nullopt;
  events_.emplace_back(ChoiceFinished{choice_idx, FinishReason::kLength, std::nullopt});
  return FinishedReason::kLength;
}

// Tokens of one step share the time since the last one: they came as fast as that on average.
void ActiveRequest::record_tokens(Choice& choice, std::size_t count, TimePoint now) {
  const RequestMetrics& metrics = context_.metrics->request;
  if (!has_token_) {
    has_token_ = true;
    metrics.time_to_first_token.observe(seconds(now - request_.arrival));
    metrics.prefill_time.observe(seconds(now - first_scheduled_.value()));
  }
  if (choice.first_token == TimePoint{}) {
    choice.first_token = choice.last_token = now;
    --count;
  }
  const double interval =
      seconds(now - choice.last_token) / static_cast<double>(std::max<std::size_t>(count, 1));
  for (std::size_t idx = 0; idx < count; ++idx)
    metrics.inter_token_latency.observe(interval);
  choice.last_token = now;
}

void ActiveRequest::close_choice(Choice& choice, FinishedReason reason) {
  choice.is_open = false;
  --num_open_choices_;
  const RequestMetrics& metrics = context_.metrics->request;
  metrics.finished[reason].increment();
  metrics.generation_tokens.observe(static_cast<double>(choice.num_tokens));
  if (choice.first_token != TimePoint{}) {
    metrics.decode_time.observe(seconds(choice.last_token - choice.first_token));
  }
}

void ActiveRequest::end_choice(std::uint32_t choice_idx) {
  if (choices_[choice_idx].is_open) close_choice(choices_[choice_idx], FinishedReason::kStop);
}

void ActiveRequest::finish_without_tokens() {
  for (std::uint32_t idx = 0; idx < choices_.size(); ++idx) {
    if (!choices_[idx].is_open) continue;
    events_.emplace_back(ChoiceFinished{idx, FinishReason::kLength, std::nullopt});
    close_choice(choices_[idx], FinishedReason::kLength);
  }
}

void ActiveRequest::end(GenerationEvent terminal, TimePoint now) {
  HEARTH_CHECK(is_terminal(terminal) && !has_ended_);
  has_ended_ = true;
  const RequestMetrics& metrics = context_.metrics->request;
  const auto num_open = static_cast<double>(std::ranges::count_if(choices_, &Choice::is_open));
  if (std::holds_alternative<RequestCancelled>(terminal)) {
    metrics.finished[FinishedReason::kCancelled].increment(num_open);
  } else if (std::holds_alternative<RequestFailed>(terminal)) {
    metrics.finished[FinishedReason::kError].increment(num_open);
  }
  metrics.e2e_latency.observe(seconds(now - request_.arrival));
  events_.emplace_back(std::move(terminal));
}

}  // namespace hearth
