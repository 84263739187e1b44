#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/clock.h"
#include "base/utf8.h"
#include "server/random_id.h"

namespace hearth {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

// A chat answer is a text of its own: where the vocabulary marks the begin of a text by a space,
// that space is not part of it.
bool begins_texts_with_space(const Tokenizer& tokenizer) {
  constexpr std::string_view kSpaceMark = "\xe2\x96\x81";
  const std::vector<TokenId> ids =
      tokenizer.encode("a", /*add_special=*/false, SpecialText::kPlain);
  return !ids.empty() && tokenizer.piece(ids.front()).starts_with(kSpaceMark);
}

}  // namespace

void Generation::start(GenerationJob job, const std::shared_ptr<HttpExchange>& exchange) {
  const std::shared_ptr<Generation> generation(new Generation(std::move(job), exchange));
  exchange->on_disconnect([generation] {
    generation->cancel();
    // Not now: the client may be found to have gone in the middle of an event.
    generation->exchange_->post([generation] { generation->let_go_of_model(); });
  });
  if (!generation->ended_) generation->submit_all();
}

Generation::Generation(GenerationJob job, std::shared_ptr<HttpExchange> exchange)
    : job_(std::move(job)), exchange_(std::move(exchange)), num_prompts_left_(job_.prompts.size()) {
  const bool is_chat = job_.kind == AnswerKind::kChat;
  const GenerationParams& params = job_.params;
  const std::size_t num_choices = job_.prompts.size() * params.num_choices;
  id_ = (is_chat ? "chatcmpl-" : "cmpl-") + random_hex(24);
  AnswerFormat format({.kind = job_.kind,
                       .id = id_,
                       .created = std::chrono::system_clock::to_time_t(system_clock().wall_now()),
                       .model = job_.model_name,
                       .fingerprint = job_.model->fingerprint(),
                       .with_logprobs = params.top_logprobs.has_value()},
                      *job_.model->tokenizer);
  sink_ = make_answer_sink(std::move(format),
                           {.num_choices = num_choices,
                            .stream = params.stream,
                            .include_usage = params.include_usage,
                            .continuous_usage = params.continuous_usage},
                           exchange_);
  const DetokenizerOptions detokenizer{
      .stop = params.stop,
      .include_stop_in_output = params.include_stop,
      .render_control = false,
      .skip_leading_space = is_chat && begins_texts_with_space(*job_.model->tokenizer)};
  choices_.reserve(num_choices);
  for (std::size_t i = 0; i < num_choices; ++i)
    choices_.emplace_back(Detokenizer(*job_.model->tokenizer, detokenizer));
  for (const PreparedPrompt& prompt : job_.prompts)
    usage_.prompt_tokens += prompt.ids.size();
}

GenerationRequest Generation::engine_request(std::size_t prompt_idx) const {
  const GenerationParams& params = job_.params;
  const PreparedPrompt& prompt = job_.prompts[prompt_idx];
  GenerationRequest request;
  request.id = prompt_idx == 0 ? id_ : fmt::format("{}-{}", id_, prompt_idx);
  request.prompt = prompt.ids;
  request.sampling = params.sampling;
  request.num_choices = params.num_choices;
  // More than the context has room for means: to its end.
  const std::size_t room = job_.model->engine->max_model_len() -
                           std::min(prompt.ids.size(), job_.model->engine->max_model_len());
  const auto longest = static_cast<std::uint32_t>(std::min<std::size_t>(room, UINT32_MAX));
  request.max_tokens = std::min(params.max_tokens.value_or(longest), longest);
  request.min_tokens = params.min_tokens;
  request.ignore_eos = params.ignore_eos;
  request.priority = params.priority;
  request.stop_token_ids = params.stop_token_ids;
  request.top_logprobs = params.top_logprobs;
  request.prompt_logprobs = job_.echo && params.top_logprobs.has_value();
  request.arrival = job_.arrival;
  return request;
}

void Generation::submit_all() {
  for (std::size_t i = 0; i < job_.prompts.size(); ++i) {
    // Events come on the engine thread. The weak reference keeps the engine from owning its
    // consumer, which owns the engine's handle.
    auto notify = [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self) self->exchange_->post([self] { self->pump(); });
    };
    auto handle = job_.model->engine->submit(engine_request(i), std::move(notify));
    if (!handle) {
      fail(to_api_error(handle.error()));
      let_go_of_model();
      return;
    }
    prompts_.push_back({.handle = *std::move(handle)});
  }
  if (job_.params.stream) watch_for_silence();
  pump();
}

void Generation::watch_for_silence() {
  exchange_->after(job_.keep_alive, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->begun_ || self->ended_) return;
    self->sink_->keep_alive();
    self->watch_for_silence();
  });
}

void Generation::pump() {
  for (std::size_t i = 0; i < prompts_.size() && !ended_; ++i) {
    if (prompts_[i].ended) continue;
    events_.clear();
    prompts_[i].handle->poll(events_);
    for (GenerationEvent& event : events_) {
      if (ended_) break;
      on_event(i, event);
    }
  }
  if (ended_) {
    let_go_of_model();
  } else {
    sink_->flush();
  }
}

void Generation::on_event(std::size_t prompt_idx, GenerationEvent& event) {
  const std::size_t first_choice = prompt_idx * job_.params.num_choices;
  std::visit(
      Overloaded{
          [&](PromptDone& done) { on_prompt_done(prompt_idx, done); },
          [&](TokenGenerated& token) { on_token(first_choice + token.choice, token); },
          [&](ChoiceFinished& done) { on_choice_finished(first_choice + done.choice, done); },
          [&](RequestFinished&) {
            prompts_[prompt_idx].ended = true;
            if (--num_prompts_left_ > 0) return;
            ended_ = true;
            sink_->finish(usage_);
          },
          [&](RequestCancelled&) {
            fail(unavailable("unavailable",
                             "The request was cancelled: the server is shutting down."));
          },
          [&](RequestFailed& failed) { fail(to_api_error(failed.status)); },
      },
      event);
}

void Generation::on_prompt_done(std::size_t prompt_idx, PromptDone& event) {
  usage_.cached_tokens += event.cached_tokens;
  if (!std::exchange(begun_, true)) sink_->begin(usage_);
  if (!job_.echo) return;
  const PreparedPrompt& prompt = job_.prompts[prompt_idx];
  CodePointCounter offset;
  std::vector<ScoredToken> tokens;
  for (std::size_t i = 0; i < event.logprobs.size() && i < prompt.ids.size(); ++i) {
    tokens.push_back({.id = prompt.ids[i],
                      .text_offset = offset.count(),
                      .logprobs = std::move(event.logprobs[i])});
    if (i < prompt.num_added) continue;
    offset.push(job_.model->tokenizer->token_bytes(prompt.ids[i], /*render_control=*/true));
  }
  const std::string text = utf8::sanitize(prompt.text);
  for (std::uint32_t i = 0; i < job_.params.num_choices; ++i) {
    const std::size_t choice_idx = prompt_idx * job_.params.num_choices + i;
    choices_[choice_idx].offset = offset;
    sink_->text(choice_idx, text, tokens, usage_);
  }
}

void Generation::on_token(std::size_t choice_idx, TokenGenerated& event) {
  Choice& choice = choices_[choice_idx];
  if (choice.ended) return;  // On its way when the choice was ended.
  ++usage_.completion_tokens;
  if (event.logprobs) {
    const std::string bytes =
        job_.model->tokenizer->token_bytes(event.id, /*render_control=*/false);
    choice.pending.push_back({.token = {.id = event.id,
                                        .text_offset = choice.offset.count(),
                                        .logprobs = std::move(event.logprobs)},
                              .start_byte = choice.token_bytes});
    choice.offset.push(bytes);
    choice.token_bytes += bytes.size();
  }
  release(choice_idx, choice.detokenizer.push(event.id), /*at_end=*/false);
  if (!choice.detokenizer.matched_stop()) return;
  const std::size_t prompt_idx = choice_idx / job_.params.num_choices;
  prompts_[prompt_idx].handle->end_choice(event.choice);
  end_choice(choice_idx, FinishReason::kStop);
}

void Generation::on_choice_finished(std::size_t choice_idx, const ChoiceFinished& event) {
  Choice& choice = choices_[choice_idx];
  if (choice.ended) return;
  release(choice_idx, choice.detokenizer.finish(), /*at_end=*/true);
  end_choice(choice_idx, event.reason);
}

// Passes text on together with the tokens that begin in it. Tokens behind a found stop string never
// go out.
void Generation::release(std::size_t choice_idx, std::string text, bool at_end) {
  Choice& choice = choices_[choice_idx];
  std::vector<ScoredToken> tokens;
  std::size_t num_released = 0;
  for (PendingToken& pending : choice.pending) {
    if (!at_end && pending.start_byte >= choice.detokenizer.num_bytes_released()) break;
    tokens.push_back(std::move(pending.token));
    ++num_released;
  }
  choice.pending.erase(choice.pending.begin(),
                       choice.pending.begin() + static_cast<std::ptrdiff_t>(num_released));
  if (text.empty() && tokens.empty()) return;
  sink_->text(choice_idx, std::move(text), std::move(tokens), usage_);
}

void Generation::end_choice(std::size_t choice_idx, FinishReason reason) {
  choices_[choice_idx].ended = true;
  sink_->end_choice(choice_idx, reason, usage_);
}

void Generation::fail(const ApiError& error) {
  cancel();
  sink_->fail(error);
}

// Only handles and texts are left then, which need nothing of it.
void Generation::let_go_of_model() {
  job_.model.reset();
}

void Generation::cancel() {
  ended_ = true;
  for (Prompt& prompt : prompts_)
    prompt.handle->cancel();
}

}  // namespace hearth
