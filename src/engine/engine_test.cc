#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>

#include "engine/engine_test_util.h"

namespace hearth::test {
namespace {

// An engine whose steps the test lets through one by one.
struct GatedEngine {
  explicit GatedEngine(const EngineOptions& options = small_engine_options(),
                       const Clock& clock = system_clock())
      : engine(options, {.on_forward = [this](const ForwardBatch&) { gate.pass(); }}, clock) {}
  ~GatedEngine() { gate.open(); }

  Gate gate;
  TestEngine engine;
};

TEST(EngineTest, AStopTokenEndsTheAnswerAndIsNotPartOfIt) {
  TestEngine engine(small_engine_options());
  GenerationRequest request = request_of(some_tokens(5), 50);
  request.ignore_eos = true;
  const Tokens free_run = engine.run(request).choices[0].tokens;
  ASSERT_EQ(free_run.size(), 50u);
  request.stop_token_ids = {free_run[20]};
  const Answer answer = engine.run(request);
  expect_answer(answer, request, engine.model());
  EXPECT_EQ(answer.choices[0].reason, FinishReason::kStop);
  EXPECT_EQ(answer.choices[0].stop_token, free_run[20]);
  const std::size_t num_tokens = free_run.size() + answer.choices[0].tokens.size();
  EXPECT_EQ(engine.metrics().request.inter_token_latency.count(), num_tokens - 2);
}

TEST(EngineTest, NoStopTokenBeforeMinTokens) {
  TestEngine engine(small_engine_options());
  GenerationRequest request = request_of(some_tokens(5), 50);
  for (std::int32_t id = 1; id < 60; ++id)
    request.stop_token_ids.push_back(id);
  request.min_tokens = 7;
  const Answer answer = engine.run(request);
  EXPECT_GE(answer.choices[0].tokens.size(), 7u);
  expect_answer(answer, request, engine.model());
}

TEST(EngineTest, AnAnswerEndsWithTheContext) {
  TestEngine engine(small_engine_options());
  GenerationRequest request = request_of(some_tokens(250), 4'000'000'000u);
  request.ignore_eos = true;
  const Answer answer = engine.run(request);
  EXPECT_EQ(answer.choices[0].tokens.size(), 6u);
  EXPECT_EQ(answer.choices[0].reason, FinishReason::kLength);
}

TEST(EngineTest, WithoutTokensWantedThePromptIsEvaluatedAlone) {
  TestEngine engine(small_engine_options());
  GenerationRequest request = request_of(some_tokens(256), 0);
  request.num_choices = 2;
  request.prompt_logprobs = true;
  const Answer answer = engine.run(request);
  EXPECT_TRUE(answer.finished());
  EXPECT_EQ(answer.prompt->logprobs.size(), 256u);
  for (const Answer::Choice& choice : answer.choices) {
    EXPECT_TRUE(choice.tokens.empty());
    EXPECT_EQ(choice.reason, FinishReason::kLength);
  }
}

TEST(EngineTest, LogprobsComeWithEveryToken) {
  TestEngine engine(small_engine_options());
  GenerationRequest request = request_of(some_tokens(5), 4);
  request.top_logprobs = 2;
  const Answer answer = engine.run(request);
  for (std::size_t idx = 0; idx < answer.choices[0].tokens.size(); ++idx) {
    ASSERT_TRUE(answer.choices[0].logprobs[idx].has_value());
    EXPECT_EQ(answer.choices[0].logprobs[idx]->chosen.id, answer.choices[0].tokens[idx]);
    EXPECT_EQ(answer.choices[0].logprobs[idx]->top.size(), 2u);
  }
}

TEST(EngineTest, RefusesBadRequestsAtTheDoorWithTheReason) {
  TestEngine engine(small_engine_options());
  const auto refusal = [&](const GenerationRequest& request) {
    const auto handle = engine->submit(request, {});
    return handle.has_value() ? Status() : handle.error();
  };
  EXPECT_EQ(refusal(request_of({})).code(), StatusCode::kInvalidArgument);
  const Status unknown_token = refusal(request_of({1, 64}));
  EXPECT_EQ(unknown_token.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(unknown_token.message(), "the prompt has token 64, but the vocabulary has 64 tokens");
  EXPECT_EQ(refusal(request_of({-1})).code(), StatusCode::kInvalidArgument);
  const Status too_long = refusal(request_of(some_tokens(256)));
  EXPECT_EQ(too_long.code(), StatusCode::kOutOfRange);
  EXPECT_NE(too_long.message().find("maximum context length is 256 tokens"), std::string::npos);
  GenerationRequest no_choices = request_of({1});
  no_choices.num_choices = 0;
  EXPECT_EQ(refusal(no_choices).code(), StatusCode::kInvalidArgument);
  GenerationRequest hot = request_of({1});
  hot.sampling.temperature = -1.0f;
  EXPECT_EQ(refusal(hot).code(), StatusCode::kInvalidArgument);

  const auto& rejected = engine.metrics().request.rejected;
  EXPECT_EQ(rejected[RejectionReason::kTooLong].value(), 1.0);
  EXPECT_EQ(rejected[RejectionReason::kInvalid].value(), 5.0);
  EXPECT_TRUE(engine->idle());
}

TEST(EngineTest, TheQueueHasABound) {
  EngineOptions options = small_engine_options();
  options.max_num_seqs = 1;
  options.max_queued_requests = 2;
  GatedEngine gated(options);
  std::vector<std::shared_ptr<GenerationHandle>> handles = {
      gated.engine.submit(request_of(some_tokens(4)))};
  gated.gate.await_arrival(1);  // It runs and has left the queue.
  handles.push_back(gated.engine.submit(request_of(some_tokens(4))));
  handles.push_back(gated.engine.submit(request_of(some_tokens(4))));
  const auto refused = gated.engine->submit(request_of(some_tokens(4)), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.error().message(),
            "the queue is full: 2 requests are waiting, and 2 are allowed");
  EXPECT_EQ(gated.engine.metrics().request.rejected[RejectionReason::kQueueFull].value(), 1.0);
  gated.gate.open();
  for (const auto& handle : handles)
    EXPECT_TRUE(collect(*handle).finished());
  EXPECT_TRUE(gated.engine.run(request_of(some_tokens(4))).finished());
}

TEST(EngineTest, CancellingAWaitingRequestMakesRoomInTheQueue) {
  EngineOptions options = small_engine_options();
  options.max_num_seqs = 1;
  options.max_queued_requests = 1;
  GatedEngine gated(options);
  const auto running = gated.engine.submit(request_of(some_tokens(4), 200));
  gated.gate.await_arrival(1);
  const auto waiting = gated.engine.submit(request_of(some_tokens(4)));
  waiting->cancel();
  gated.gate.let_one_pass();
  EXPECT_TRUE(collect(*waiting).cancelled());
  EXPECT_TRUE(gated.engine->submit(request_of(some_tokens(4)), {}).has_value());
}

TEST(EngineTest, CancelTakesEffectAfterTheStepInProgress) {
  GatedEngine gated;
  GenerationRequest request = request_of(some_tokens(4), 200);
  request.ignore_eos = true;
  const auto handle = gated.engine.submit(request);
  for (std::size_t step = 1; step <= 3; ++step) {
    gated.gate.await_arrival(step);
    if (step < 3) gated.gate.let_one_pass();
  }
  handle->cancel();
  handle->cancel();
  gated.gate.let_one_pass();
  const Answer answer = collect(*handle);
  EXPECT_TRUE(answer.cancelled());
  EXPECT_EQ(answer.choices[0].tokens.size(), 3u);
  EXPECT_EQ(gated.engine->status().kv_blocks_in_use, 0u);
  EXPECT_EQ(gated.engine.metrics().request.finished[FinishedReason::kCancelled].value(), 1.0);
}

TEST(EngineTest, DroppingTheHandleCancelsTheRequest) {
  GatedEngine gated;
  GenerationRequest request = request_of(some_tokens(4), 200);
  request.ignore_eos = true;
  auto handle = gated.engine.submit(request);
  gated.gate.await_arrival(1);
  handle.reset();
  const auto last = gated.engine.submit(request_of(some_tokens(3), 1));
  gated.gate.open();
  EXPECT_TRUE(collect(*last).finished());
  gated.engine.stop();
  EXPECT_EQ(gated.engine.metrics().request.finished[FinishedReason::kCancelled].value(), 1.0);
  EXPECT_LT(gated.engine.metrics().tokens.generation.value(), 5.0);
}

TEST(EngineTest, AnEndedChoiceStopsWhileTheOthersGoOn) {
  GatedEngine gated;
  GenerationRequest request = request_of(some_tokens(20), 30);
  request.num_choices = 3;
  request.ignore_eos = true;
  const auto handle = gated.engine.submit(request);
  for (std::size_t step = 1; step <= 5; ++step) {
    gated.gate.await_arrival(step);
    if (step < 5) gated.gate.let_one_pass();
  }
  handle->end_choice(1);
  handle->end_choice(1);
  handle->end_choice(7);  // There is no such choice.
  gated.gate.open();
  const Answer answer = collect(*handle, 3);
  EXPECT_TRUE(answer.finished());
  EXPECT_EQ(answer.choices[0].tokens, expected_choice(request, 0, gated.engine.model()).tokens);
  EXPECT_EQ(answer.choices[2].tokens, expected_choice(request, 2, gated.engine.model()).tokens);
  EXPECT_FALSE(answer.choices[1].reason.has_value());
  EXPECT_EQ(answer.choices[1].tokens.size(), 4u);
}

TEST(EngineTest, ARequestFinishesWhenAllItsChoicesAreEnded) {
  GatedEngine gated;
  GenerationRequest request = request_of(some_tokens(60), 30);
  request.num_choices = 2;
  const auto handle = gated.engine.submit(request);
  gated.gate.await_arrival(1);  // In the middle of the prompt: the second choice has not begun.
  handle->end_choice(0);
  handle->end_choice(1);
  gated.gate.open();
  const Answer answer = collect(*handle, 2);
  EXPECT_TRUE(answer.finished());
  EXPECT_TRUE(answer.choices[0].tokens.empty());
  EXPECT_TRUE(answer.choices[1].tokens.empty());
}

TEST(EngineTest, ANumericalErrorFailsItsRequestOnlyAndLeavesNothingInTheCache) {
  constexpr std::int32_t kPoison = 63;
  TestEngine engine(small_engine_options(), {.poison = kPoison, .on_forward = {}});
  Tokens bad_prompt = some_tokens(60);
  bad_prompt[50] = kPoison;
  GenerationRequest bad = request_of(bad_prompt);
  bad.num_choices = 2;
  GenerationRequest good = request_of(some_tokens(60, 1), 40);
  good.sampling.logit_bias = {{kPoison, -100.0f}};
  const auto good_handle = engine.submit(good);
  const auto bad_handle = engine.submit(bad);
  const Answer bad_answer = collect(*bad_handle, 2);
  EXPECT_EQ(bad_answer.failure().code(), StatusCode::kInternal);
  EXPECT_NE(bad_answer.failure().message().find("numerical_error"), std::string::npos);
  expect_answer(collect(*good_handle), good, engine.model());
  EXPECT_EQ(engine.metrics().engine.numerical_errors.value(), 1.0);
  EXPECT_EQ(engine.metrics().request.finished[FinishedReason::kError].value(), 2.0);

  const GenerationRequest same_beginning = request_of(some_tokens(60), 2);
  EXPECT_EQ(engine.run(same_beginning).prompt->cached_tokens, 0u);
}

TEST(EngineTest, ANumericalErrorInPromptLogprobsFailsTheRequest) {
  TestEngine engine(small_engine_options(), {.poison = 63, .on_forward = {}});
  GenerationRequest request = request_of({1, 63, 2, 3}, 0);
  request.prompt_logprobs = true;
  EXPECT_EQ(engine.run(request).failure().code(), StatusCode::kInternal);
}

TEST(EngineTest, ANumericalErrorFailsARequestThatWantsNoTokens) {
  TestEngine engine(small_engine_options(), {.poison = 63, .on_forward = {}});
  Tokens prompt = some_tokens(60);
  prompt.back() = 63;
  EXPECT_EQ(engine.run(request_of(prompt, 0)).failure().code(), StatusCode::kInternal);
  EXPECT_EQ(engine.run(request_of(some_tokens(60), 1)).prompt->cached_tokens, 0u);
}

TEST(EngineTest, StopFailsWhatIsLeftAndRefusesMore) {
  GatedEngine gated;
  const auto handle = gated.engine.submit(request_of(some_tokens(10), 50));
  gated.gate.await_arrival(1);
  gated.gate.open();
  gated.engine->stop();
  const auto refused = gated.engine->submit(request_of(some_tokens(10), 5), [] {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), StatusCode::kUnavailable);
  collect(*handle);  // Ends: every request gets its terminal event.
}

TEST(EngineTest, DrainRefusesNewRequestsAndFinishesOldOnes) {
  GatedEngine gated;
  const GenerationRequest request = request_of(some_tokens(10));
  const auto handle = gated.engine.submit(request);
  gated.gate.await_arrival(1);
  gated.engine->drain();
  EXPECT_FALSE(gated.engine->idle());
  const auto refused = gated.engine->submit(request, {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), StatusCode::kUnavailable);
  gated.gate.open();
  expect_answer(collect(*handle), request, gated.engine.model());
  EXPECT_TRUE(gated.engine->idle());
}

TEST(EngineTest, DestructionFailsWhatIsLeftAndHandlesOutliveIt) {
  EngineOptions options = small_engine_options();
  options.max_num_seqs = 1;
  GatedEngine gated(options);
  const auto running = gated.engine.submit(request_of(some_tokens(10), 200));
  const auto waiting = gated.engine.submit(request_of(some_tokens(10), 200));
  gated.gate.await_arrival(1);
  std::thread opener([&] { gated.gate.open(); });
  gated.engine.stop();
  opener.join();
  EXPECT_TRUE(collect(*waiting).terminal.has_value());
  EXPECT_TRUE(collect(*running).terminal.has_value());
  running->cancel();
  waiting->end_choice(0);
}

TEST(EngineTest, NotifiesOncePerBatchOfEventsThatFindsNonePending) {
  GatedEngine gated;
  std::atomic<int> num_calls = 0;
  GenerationRequest request = request_of(some_tokens(4), 3);
  request.ignore_eos = true;
  const auto handle = gated.engine.submit(request, [&] { ++num_calls; });
  gated.gate.let_one_pass();
  gated.gate.await_arrival(2);
  EXPECT_EQ(num_calls, 1);
  gated.gate.let_one_pass();
  gated.gate.await_arrival(3);
  EXPECT_EQ(num_calls, 1);  // Nobody has taken the first events yet.
  std::vector<GenerationEvent> events;
  EXPECT_FALSE(handle->poll(events));
  EXPECT_EQ(events.size(), 3u);
  gated.gate.open();
  while (!handle->wait(events)) {
  }
  EXPECT_TRUE(std::holds_alternative<RequestFinished>(events.back()));
  gated.engine.stop();
  EXPECT_EQ(num_calls, 2);
  EXPECT_TRUE(handle->poll(events));
  EXPECT_TRUE(handle->wait(events));
}

TEST(EngineTest, WhatAWrongChunkComputedIsNotShared) {
  TestEngine engine(small_engine_options(), {.poison = 63});
  Tokens prompt = some_tokens(100);
  prompt[3] = 63;
  const Answer answer = engine.run(request_of(prompt));
  EXPECT_EQ(answer.failure().code(), StatusCode::kInternal);
  engine.stop();
  const EngineMetrics& metrics = engine.metrics().engine;
  EXPECT_EQ(metrics.step_duration.count(), 1u) << "the first chunk shows it";
  EXPECT_EQ(engine.metrics().memory.kv_blocks[KvBlockState::kCached].value(), 0.0);
}

TEST(EngineTest, AStepWithoutMemoryFailsWhatRunsAndTheProcessGoesOn) {
  std::atomic<int> num_steps = 0;
  const auto on_forward = [&](const ForwardBatch&) {
    if (++num_steps == 5) throw std::bad_alloc();
  };
  EngineOptions options = small_engine_options();
  options.max_num_seqs = 2;
  TestEngine engine(options, {.on_forward = on_forward});
  std::vector<GenerationRequest> requests;
  std::vector<std::shared_ptr<GenerationHandle>> handles;
  for (std::uint32_t idx = 0; idx < 4; ++idx) {
    requests.push_back(request_of(some_tokens(10, idx), 20));
    requests.back().ignore_eos = true;
    handles.push_back(engine.submit(requests.back()));
  }
  std::size_t num_failed = 0;
  for (std::size_t idx = 0; idx < 4; ++idx) {
    const Answer answer = collect(*handles[idx]);
    if (answer.finished()) {
      expect_answer(answer, requests[idx], engine.model());
      continue;
    }
    EXPECT_EQ(answer.failure().code(), StatusCode::kResourceExhausted);
    EXPECT_LT(idx, 2u) << "it did not run";
    ++num_failed;
  }
  EXPECT_GE(num_failed, 1u);
  expect_answer(engine.run(requests[0]), requests[0], engine.model());
  EXPECT_EQ(engine->status().kv_blocks_in_use, 0u);
  EXPECT_EQ(engine.metrics().engine.numerical_errors.value(), 0.0);
}

TEST(EngineTest, WithoutMemoryForEverEveryRequestStillGetsItsEnd) {
  TestEngine engine(small_engine_options(),
                    {.on_forward = [](const ForwardBatch&) { throw std::bad_alloc(); }});
  std::vector<std::shared_ptr<GenerationHandle>> handles;
  for (std::uint32_t idx = 0; idx < 9; ++idx)
    handles.push_back(engine.submit(request_of(some_tokens(10, idx))));
  for (const auto& handle : handles)
    EXPECT_EQ(collect(*handle).failure().code(), StatusCode::kResourceExhausted);
}

TEST(EngineTest, IsUnhealthyWhenAStepDoesNotEnd) {
  EngineOptions options = small_engine_options();
  options.unhealthy_after = std::chrono::seconds(30);
  FakeClock clock;
  GatedEngine gated(options, clock);
  clock.advance(std::chrono::hours(1));
  EXPECT_TRUE(gated.engine->status().healthy);  // Idle for an hour is well.
  const auto handle = gated.engine.submit(request_of(some_tokens(10)));
  gated.gate.await_arrival(1);
  clock.advance(std::chrono::seconds(30));
  EXPECT_TRUE(gated.engine->status().healthy);
  clock.advance(std::chrono::seconds(1));
  EXPECT_FALSE(gated.engine->status().healthy);
  EXPECT_EQ(gated.engine->status().since_last_step, std::chrono::seconds(31));
  gated.gate.open();
  EXPECT_TRUE(collect(*handle).finished());
  EXPECT_TRUE(gated.engine->status().healthy);
}

TEST(EngineTest, MeasuresTheIntervalsOfARequest) {
  FakeClock clock;
  clock.advance(std::chrono::hours(1));
  GatedEngine gated(small_engine_options(), clock);
  GenerationRequest request = request_of(some_tokens(10), 3);
  request.ignore_eos = true;
  request.arrival = clock.now();
  clock.advance(std::chrono::seconds(2));  // Tokenizing.
  const auto handle = gated.engine.submit(request);
  for (std::size_t step = 1; step <= 3; ++step) {
    gated.gate.await_arrival(step);
    clock.advance(std::chrono::seconds(step == 1 ? 5 : 3));
    gated.gate.let_one_pass();
  }
  EXPECT_TRUE(collect(*handle).finished());
  const RequestMetrics& metrics = gated.engine.metrics().request;
  EXPECT_EQ(metrics.queue_time.sum(), 0.0);
  EXPECT_EQ(metrics.time_to_first_token.sum(), 7.0);
  EXPECT_EQ(metrics.prefill_time.sum(), 5.0);
  EXPECT_EQ(metrics.inter_token_latency.count(), 2u);
  EXPECT_EQ(metrics.inter_token_latency.sum(), 6.0);
  EXPECT_EQ(metrics.decode_time.sum(), 6.0);
  EXPECT_EQ(metrics.e2e_latency.sum(), 13.0);
  EXPECT_EQ(metrics.prompt_tokens.sum(), 10.0);
  EXPECT_EQ(metrics.generation_tokens.sum(), 3.0);
  EXPECT_EQ(metrics.finished[FinishedReason::kLength].value(), 1.0);
  EXPECT_EQ(gated.engine.metrics().engine.step_tokens.sum(), 12.0);
}

TEST(EngineTest, ContradictingOptionsStopTheStart) {
  const auto start = [](EngineOptions options) {
    Metrics metrics;
    const auto engine = Engine::start(std::make_unique<FakeModel>(FakeModelOptions{}), {kEos},
                                      options, metrics.of_model("fake"));
    return engine.has_value() ? Status() : engine.error();
  };
  EngineOptions options = small_engine_options();
  options.max_num_batched_tokens = 3;
  EXPECT_EQ(start(options).code(), StatusCode::kInvalidArgument);
  options = small_engine_options();
  options.max_model_len = 257;
  EXPECT_EQ(start(options).message(),
            "max_model_len is 257, but the model was made for 256 tokens");
  options = small_engine_options();
  options.block_size = 24;
  EXPECT_EQ(start(options).code(), StatusCode::kInvalidArgument);
  options = small_engine_options();
  options.max_num_seqs = 0;
  EXPECT_EQ(start(options).code(), StatusCode::kInvalidArgument);
  options = small_engine_options();
  options.kv_cache_bytes = fake_kv_bytes(15);
  EXPECT_EQ(start(options).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(start(small_engine_options()), Status());
}

TEST(EngineTest, NoMemoryIsTakenBeforeItIsKnownToFit) {
  bool reserved = false;
  const auto start = [&reserved](const EngineOptions& options) {
    Metrics metrics;
    auto model = std::make_unique<FakeModel>(
        FakeModelOptions{.on_reserve = [&reserved] { reserved = true; }});
    return Engine::start(std::move(model), {kEos}, options, metrics.of_model("fake")).has_value();
  };
  EngineOptions options = small_engine_options();
  options.kv_cache_bytes = fake_kv_bytes(15);
  EXPECT_FALSE(start(options));
  EXPECT_FALSE(reserved);
  EXPECT_TRUE(start(small_engine_options()));
  EXPECT_TRUE(reserved);
}

TEST(EngineTest, NobodyGetsWhatWasComputedWithLostWeights) {
  std::atomic<bool> is_lost = false;
  EngineOptions options = small_engine_options();
  options.weights_intact = [&is_lost] {
    return is_lost ? Status(StatusCode::kDataLoss, "the file 'x' is gone") : Status();
  };
  Metrics metrics;
  const auto engine = Engine::start(std::make_unique<FakeModel>(FakeModelOptions{}), {kEos},
                                    options, metrics.of_model("fake"));
  const GenerationRequest request = request_of(some_tokens(5, 0), 4);
  EXPECT_TRUE(collect(**(*engine)->submit(request, {}), 1).finished());
  is_lost = true;
  const auto handle = (*engine)->submit(request, {}).value();
  std::vector<GenerationEvent> events;
  while (!handle->wait(events)) {
  }
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(std::get<RequestFailed>(events[0]).status.message(), "the file 'x' is gone");
}

}  // namespace
}  // namespace hearth::test
