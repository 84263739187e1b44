#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/engine_test_util.h"

namespace hearth::test {
namespace {

std::size_t draft_len(Acceptance& acceptance, double num_rows, std::size_t room = 16) {
  StepEstimate step{.rows = num_rows, .tokens = num_rows};
  return acceptance.draft_len(step, room);
}

TEST(AcceptanceTest, GrowsToAllThereIsRoomForWhileGuessesAreRight) {
  Acceptance acceptance;
  std::size_t last = draft_len(acceptance, 1);
  EXPECT_GT(last, 0u);
  EXPECT_LT(last, 8u) << "bets too much on what it does not know";
  for (int turn = 0; turn < 20; ++turn) {
    acceptance.record(last, last);
    const std::size_t length = draft_len(acceptance, 1);
    EXPECT_GE(length, last);
    last = length;
  }
  EXPECT_EQ(last, 16u);
  EXPECT_EQ(draft_len(acceptance, 1, 3), 3u);
  EXPECT_EQ(draft_len(acceptance, 1, 0), 0u);
}

TEST(AcceptanceTest, StopsAfterMissesAndTriesAgainRarely) {
  Acceptance acceptance;
  std::size_t num_guesses = 0;
  for (int step = 0; step < 1000; ++step) {
    const std::size_t length = draft_len(acceptance, 1);
    if (length > 0) acceptance.record(length, 0);
    num_guesses += length;
  }
  EXPECT_LT(num_guesses, 30u);
  EXPECT_GT(num_guesses, 12u);
  // And is back soon when guesses become right.
  for (int step = 0; step < 200; ++step) {
    const std::size_t length = draft_len(acceptance, 1);
    if (length > 0) acceptance.record(length, length);
  }
  EXPECT_EQ(draft_len(acceptance, 1), 16u);
}

TEST(AcceptanceTest, ALargeStepNeedsBetterGuesses) {
  Acceptance acceptance;
  for (int turn = 0; turn < 30; ++turn)
    acceptance.record(4, 3);
  EXPECT_GT(draft_len(acceptance, 1), draft_len(acceptance, 4));
  EXPECT_GT(draft_len(acceptance, 4), draft_len(acceptance, 12));
  EXPECT_EQ(draft_len(acceptance, 64), 0u);
}

TEST(AcceptanceTest, TheGuessesOfOneMakeThoseOfTheNextDearer) {
  Acceptance acceptance;
  for (int turn = 0; turn < 5; ++turn)
    acceptance.record(4, 3);
  StepEstimate step{.rows = 2, .tokens = 2};
  const std::size_t first = acceptance.draft_len(step, 16);
  EXPECT_EQ(step.rows, 2 + static_cast<double>(first));
  std::size_t last = first;
  for (int idx = 0; idx < 6; ++idx)
    last = acceptance.draft_len(step, 16);
  EXPECT_LT(last, first);
}

// Greedy on a model that looks back at one token: after a while its answers go round in circles.
const FakeModelOptions kCircular = {.context_len = 1024, .memory = 1};

GenerationRequest circular_request(std::uint32_t max_tokens = 200) {
  GenerationRequest request = request_of(some_tokens(10), max_tokens);
  request.ignore_eos = true;
  return request;
}

EngineOptions roomy_options() {
  EngineOptions options = small_engine_options();
  options.kv_cache_bytes = 0;  // Nothing is ever evicted.
  return options;
}

TEST(SpeculationTest, SavesSteps) {
  TestEngine engine(roomy_options(), kCircular);
  const Answer answer = engine.run(circular_request());
  expect_answer(answer, circular_request(), kCircular);
  engine.stop();
  const EngineMetrics& metrics = engine.metrics().engine;
  EXPECT_LT(metrics.step_duration.count(), 60u);
  EXPECT_EQ(
      static_cast<double>(metrics.step_duration.count()) + metrics.accepted_draft_tokens.value(),
      200.0);
  EXPECT_EQ(engine.metrics().tokens.generation.value(), 200.0);
  EXPECT_EQ(engine.metrics().request.inter_token_latency.count(), 199u);
}

TEST(SpeculationTest, OffMeansOneStepPerToken) {
  EngineOptions options = roomy_options();
  options.speculation = SpeculationMethod::kOff;
  TestEngine engine(options, kCircular);
  engine.run(circular_request());
  engine.stop();
  EXPECT_EQ(engine.metrics().engine.step_duration.count(), 200u);
  EXPECT_EQ(engine.metrics().engine.draft_tokens.value(), 0.0);
}

TEST(SpeculationTest, NothingFollowsAStopTokenAmongRightGuesses) {
  TestEngine engine(roomy_options(), kCircular);
  GenerationRequest request = circular_request();
  const Tokens free_run = engine.run(request).choices[0].tokens;
  double num_tokens = 200.0;
  for (std::uint32_t min_tokens = 100; min_tokens < 120; ++min_tokens) {
    request.stop_token_ids = {free_run[150]};
    request.min_tokens = min_tokens;
    const Answer answer = engine.run(request);
    expect_answer(answer, request, kCircular);
    EXPECT_EQ(answer.choices[0].reason, FinishReason::kStop);
    num_tokens += static_cast<double>(answer.choices[0].tokens.size());
    EXPECT_EQ(engine.metrics().tokens.generation.value(), num_tokens);
  }
}

TEST(SpeculationTest, AnswersEndExactlyAtTheirLimitAndTheContexts) {
  TestEngine engine(roomy_options(), kCircular);
  for (std::uint32_t max_tokens = 60; max_tokens < 90; ++max_tokens)
    expect_answer(engine.run(circular_request(max_tokens)), circular_request(max_tokens),
                  kCircular);
  EngineOptions options = roomy_options();
  options.max_model_len = 100;
  TestEngine tight(options, kCircular);
  EXPECT_EQ(tight.run(circular_request(4'000'000)).choices[0].tokens.size(), 90u);
}

TEST(SpeculationTest, WhatWrongGuessesLeftIsNeverReused) {
  // Prompts that go on like the answers before them, so that everything is asked of the cache.
  TestEngine engine(roomy_options(), {.context_len = 1024, .memory = 2});
  GenerationRequest request = request_of(some_tokens(10), 60);
  request.ignore_eos = true;
  request.sampling.logit_bias = {{7, 20.0f}, {8, 20.0f}, {9, 20.0f}};
  double num_cached = 0.0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    request.sampling.temperature = seed % 4 == 0 ? 0.0f : 1.0f;
    request.sampling.seed = seed;
    const Answer answer = engine.run(request);
    expect_answer(answer, request, engine.model());
    if (seed % 2 == 1) continue;
    GenerationRequest follow_up = request;
    const Tokens& tokens = answer.choices[0].tokens;
    follow_up.prompt.insert(follow_up.prompt.end(), tokens.begin(), tokens.end());
    const Answer next = engine.run(follow_up);
    expect_answer(next, follow_up, engine.model());
    num_cached += next.prompt->cached_tokens;
  }
  const EngineMetrics& metrics = engine.metrics().engine;
  EXPECT_GT(metrics.draft_tokens.value(), metrics.accepted_draft_tokens.value() + 100.0);
  EXPECT_EQ(num_cached, 20 * 64.0);
}

TEST(SpeculationTest, ACancelledAnswerLeavesNothingBehind) {
  Gate gate;
  FakeModelOptions model = kCircular;
  model.on_forward = [&](const ForwardBatch&) { gate.pass(); };
  TestEngine engine(roomy_options(), model);
  auto handle = engine.submit(circular_request(900));
  for (std::size_t step = 1; step <= 40; ++step) {  // Deep in its circle.
    gate.await_arrival(step);
    gate.let_one_pass();
  }
  gate.await_arrival(41);
  handle->cancel();
  gate.open();
  EXPECT_TRUE(collect(*handle).cancelled());
  expect_answer(engine.run(circular_request()), circular_request(), kCircular);
  EXPECT_EQ(engine->status().kv_blocks_in_use, 0u);
}

}  // namespace
}  // namespace hearth::test
