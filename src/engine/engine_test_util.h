// What the engine's tests share: an engine on a fake model, the answers it must give, and a
// collector.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "metrics/metrics.h"
#include "sampling/sampler.h"
#include "tests/support/fake_model.h"

namespace hearth::test {

using Tokens = std::vector<std::int32_t>;

inline constexpr std::int32_t kEos = 0;

// Everything one request gave.
struct Answer {
  struct Choice {
    Tokens tokens;
    std::vector<std::optional<PositionLogprobs>> logprobs;
    std::optional<FinishReason> reason;
    std::optional<std::int32_t> stop_token;
  };
  std::optional<PromptDone> prompt;
  std::vector<Choice> choices;
  std::optional<GenerationEvent> terminal;

  // Fails the test on an event out of order.
  void add(GenerationEvent event) {
    ASSERT_FALSE(terminal.has_value()) << "an event after the terminal one";
    if (auto* done = std::get_if<PromptDone>(&event)) {
      ASSERT_FALSE(prompt.has_value()) << "the prompt was done before";
      prompt = std::move(*done);
    } else if (auto* token = std::get_if<TokenGenerated>(&event)) {
      ASSERT_TRUE(prompt.has_value()) << "a token before the prompt was done";
      Choice& choice = choices.at(token->choice);
      ASSERT_FALSE(choice.reason.has_value()) << "a token after the end of its choice";
      choice.tokens.push_back(token->id);
      choice.logprobs.push_back(std::move(token->logprobs));
    } else if (const auto* finished = std::get_if<ChoiceFinished>(&event)) {
      Choice& choice = choices.at(finished->choice);
      ASSERT_FALSE(choice.reason.has_value()) << "a choice finished twice";
      choice.reason = finished->reason;
      choice.stop_token = finished->stop_token;
    } else {
      terminal = std::move(event);
    }
  }

  bool finished() const {
    return terminal.has_value() && std::holds_alternative<RequestFinished>(*terminal);
  }
  bool cancelled() const {
    return terminal.has_value() && std::holds_alternative<RequestCancelled>(*terminal);
  }
  Status failure() const {
    const auto* failed = terminal.has_value() ? std::get_if<RequestFailed>(&*terminal) : nullptr;
    return failed == nullptr ? Status() : failed->status;
  }
};

// Waits for the end of a request.
inline Answer collect(GenerationHandle& handle, std::uint32_t num_choices = 1) {
  Answer answer;
  answer.choices.resize(num_choices);
  std::vector<GenerationEvent> events;
  bool ended = false;
  while (!ended) {
    ended = handle.wait(events);
    for (GenerationEvent& event : events)
      answer.add(std::move(event));
    events.clear();
  }
  EXPECT_TRUE(answer.terminal.has_value());
  return answer;
}

// What one choice of a request must generate on the fake model: no engine involved.
inline Answer::Choice expected_choice(const GenerationRequest& request, std::uint32_t choice,
                                      const FakeModelOptions& model) {
  Answer::Choice expected;
  Sampler sampler(request.sampling, choice, model.vocab_size, request.prompt);
  Tokens tokens = request.prompt;
  const auto stops = [&](std::int32_t token) {
    return (token == kEos && !request.ignore_eos) ||
           std::ranges::find(request.stop_token_ids, token) != request.stop_token_ids.end();
  };
  while (expected.tokens.size() < request.max_tokens && tokens.size() < model.context_len) {
    Tokens banned;
    for (std::int32_t id = 0; id < static_cast<std::int32_t>(model.vocab_size); ++id) {
      const bool too_early = stops(id) && expected.tokens.size() < request.min_tokens;
      if (too_early || (id == kEos && request.ignore_eos)) banned.push_back(id);
    }
    const std::vector<float> logits = fake_logits(tokens, model);
    const std::int32_t token = sampler.sample(logits, banned).value();
    if (stops(token)) {
      expected.reason = FinishReason::kStop;
      expected.stop_token = token;
      return expected;
    }
    tokens.push_back(token);
    expected.tokens.push_back(token);
    expected.logprobs.emplace_back();
    if (!request.top_logprobs.has_value()) continue;
    expected.logprobs.back() = position_logprobs(logits, token, *request.top_logprobs);
  }
  expected.reason = FinishReason::kLength;
  return expected;
}

// Bit by bit.
inline bool equal_logprobs(const Answer::Choice& left, const Answer::Choice& right) {
  const auto same = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.id == b.id && a.logprob == b.logprob;
  };
  return std::ranges::equal(left.logprobs, right.logprobs, [&](const auto& a, const auto& b) {
    if (!a.has_value() || !b.has_value()) return a.has_value() == b.has_value();
    return same(a->chosen, b->chosen) && a->rank == b->rank &&
           std::ranges::equal(a->top, b->top, same);
  });
}

inline void expect_answer(const Answer& answer, const GenerationRequest& request,
                          const FakeModelOptions& model) {
  EXPECT_TRUE(answer.finished()) << request.id << ": " << answer.failure().to_string();
  EXPECT_TRUE(answer.prompt.has_value()) << request.id;
  for (std::uint32_t idx = 0; idx < answer.choices.size(); ++idx) {
    const Answer::Choice expected = expected_choice(request, idx, model);
    EXPECT_EQ(answer.choices[idx].tokens, expected.tokens) << request.id << " choice " << idx;
    EXPECT_TRUE(equal_logprobs(answer.choices[idx], expected)) << request.id << " choice " << idx;
    EXPECT_EQ(answer.choices[idx].reason, expected.reason) << request.id << " choice " << idx;
    EXPECT_EQ(answer.choices[idx].stop_token, expected.stop_token) << request.id;
  }
}

// Holds the engine thread at the start of a step until it is opened.
class Gate {
 public:
  // To be called by the engine thread.
  void pass() {
    std::unique_lock lock(mutex_);
    ++num_arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_ || num_permits_ > 0; });
    if (!is_open_) --num_permits_;
  }
  // Blocks until the engine thread has come to the gate `count` times in all.
  void await_arrival(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_arrived_ >= count; });
  }
  void let_one_pass() {
    const std::lock_guard lock(mutex_);
    ++num_permits_;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t num_arrived_ = 0;
  std::size_t num_permits_ = 0;
  bool is_open_ = false;
};

// An engine on a fake model, and what is needed to look into it.
class TestEngine {
 public:
  explicit TestEngine(const EngineOptions& options, FakeModelOptions model = {},
                      const Clock& clock = system_clock())
      : model_(std::move(model)) {
    auto started =
        Engine::start(std::make_unique<FakeModel>(model_), {kEos}, options, metrics_, clock);
    HEARTH_CHECK(started.has_value());
    engine_ = *std::move(started);
  }

  std::shared_ptr<GenerationHandle> submit(const GenerationRequest& request,
                                           Engine::Notify notify = {}) {
    auto handle = engine_->submit(request, std::move(notify));
    HEARTH_CHECK(handle.has_value());
    return *std::move(handle);
  }
  Answer run(const GenerationRequest& request) {
    return collect(*submit(request), request.num_choices);
  }

  // The end of a request is seen before the engine has come to rest.
  void stop() { engine_.reset(); }

  Engine& operator*() { return *engine_; }
  Engine* operator->() { return engine_.get(); }
  const ModelMetrics& metrics() const { return metrics_; }
  const FakeModelOptions& model() const { return model_; }

 private:
  Metrics all_metrics_;
  const ModelMetrics& metrics_ = all_metrics_.of_model("fake");
  FakeModelOptions model_;
  std::unique_ptr<Engine> engine_;
};

// Memory for `num_blocks` blocks of the fake model.
inline std::size_t fake_kv_bytes(std::size_t num_blocks, std::size_t block_size = 16) {
  return num_blocks * block_size * 2 * 2 * sizeof(std::uint16_t);
}

inline EngineOptions small_engine_options() {
  EngineOptions options;
  options.max_num_seqs = 4;
  options.max_num_batched_tokens = 32;
  options.max_queued_requests = 64;
  options.kv_cache_bytes = fake_kv_bytes(64);
  return options;
}

inline GenerationRequest request_of(Tokens prompt, std::uint32_t max_tokens = 12) {
  GenerationRequest request;
  request.id = "test";
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0.0f;
  return request;
}

// `length` tokens that differ from seed to seed.
inline Tokens some_tokens(std::size_t length, std::uint32_t seed = 0) {
  Tokens tokens(length);
  std::uint32_t state = 12345 + 977 * seed;
  for (std::int32_t& token : tokens) {
    state = state * 1664525u + 1013904223u;
    token = static_cast<std::int32_t>(1 + (state >> 16) % 60);
  }
  return tokens;
}

}  // namespace hearth::test
