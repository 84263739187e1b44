// The promise that an answer depends on its request alone: every test compares with what the model
// and the sampler give without an engine.
#include <gtest/gtest.h>

#include <random>

#include "engine/engine_test_util.h"

namespace hearth::test {
namespace {

std::vector<GenerationRequest> random_requests(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  const auto pick = [&](std::size_t bound) { return random() % bound; };
  std::vector<GenerationRequest> requests;
  for (std::size_t idx = 0; idx < count; ++idx) {
    // A beginning that others have too, and an end of its own.
    Tokens prompt = some_tokens(pick(120), static_cast<std::uint32_t>(pick(3)));
    const Tokens own = some_tokens(1 + pick(40), static_cast<std::uint32_t>(100 + pick(20)));
    prompt.insert(prompt.end(), own.begin(), own.end());
    GenerationRequest request = request_of(prompt, static_cast<std::uint32_t>(1 + pick(60)));
    request.id = fmt::format("request {}", idx);
    request.num_choices = static_cast<std::uint32_t>(1 + pick(3));
    request.sampling.seed = pick(1000);
    request.sampling.temperature = pick(2) == 0 ? 0.0f : 0.9f;
    request.sampling.top_p = pick(2) == 0 ? 1.0f : 0.9f;
    request.sampling.frequency_penalty = pick(2) == 0 ? 0.0f : 0.5f;
    request.sampling.repetition_penalty = pick(4) == 0 ? 1.1f : 1.0f;
    if (pick(3) == 0) {  // Few tokens left to choose from, so that chance repeats itself.
      for (std::int32_t id = 7; id < 10; ++id)
        request.sampling.logit_bias.emplace_back(id, 20.0f);
    }
    request.ignore_eos = pick(2) == 0;
    request.min_tokens = static_cast<std::uint32_t>(pick(10));
    if (pick(3) == 0) request.stop_token_ids = {5, 6};
    if (pick(4) == 0) request.top_logprobs = 2;
    request.prompt_logprobs = pick(6) == 0;
    requests.push_back(std::move(request));
  }
  return requests;
}

struct Setting {
  std::size_t max_num_seqs = 4;
  std::size_t max_num_batched_tokens = 32;
  std::size_t num_blocks = 64;
  bool prefix_cache = true;
  std::size_t num_threads = 1;  // That pick tokens.
  std::size_t memory = 1000;    // Of the model; see FakeModelOptions.
  std::size_t max_draft_tokens = 16;
};

class InvarianceTest : public ::testing::TestWithParam<Setting> {};

TEST_P(InvarianceTest, AnswersDoNotDependOnCompanyChunksCacheOrPreemption) {
  const Setting setting = GetParam();
  EngineOptions options = small_engine_options();
  options.max_num_seqs = setting.max_num_seqs;
  options.max_num_batched_tokens = setting.max_num_batched_tokens;
  options.kv_cache_bytes = fake_kv_bytes(setting.num_blocks);
  options.prefix_cache = setting.prefix_cache;
  ThreadPool threads(setting.num_threads);
  options.host_threads = &threads;
  options.max_draft_tokens = setting.max_draft_tokens;
  TestEngine engine(options, {.memory = setting.memory});
  const std::vector<GenerationRequest> requests = random_requests(60, 7);
  std::vector<std::shared_ptr<GenerationHandle>> handles;
  for (const GenerationRequest& request : requests)
    handles.push_back(engine.submit(request));
  for (std::size_t idx = 0; idx < requests.size(); ++idx) {
    const Answer answer = collect(*handles[idx], requests[idx].num_choices);
    expect_answer(answer, requests[idx], engine.model());
  }
  EXPECT_TRUE(engine->idle());
  EXPECT_EQ(engine->status().kv_blocks_in_use, 0u);
  const EngineMetrics& metrics = engine.metrics().engine;
  if (setting.max_num_batched_tokens > setting.max_num_seqs) {
    EXPECT_GT(metrics.accepted_draft_tokens.value(), 0.0);
    EXPECT_GT(metrics.draft_tokens.value(), metrics.accepted_draft_tokens.value());
  } else {
    EXPECT_EQ(metrics.draft_tokens.value(), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Settings, InvarianceTest,
    ::testing::Values(
        Setting{}, Setting{.max_num_seqs = 1, .max_num_batched_tokens = 1},
        Setting{.max_num_seqs = 4, .max_num_batched_tokens = 5},
        Setting{.max_num_seqs = 16, .max_num_batched_tokens = 512, .num_threads = 3},
        Setting{.max_num_seqs = 16, .max_num_batched_tokens = 64, .num_blocks = 17},
        Setting{.max_num_seqs = 8, .num_blocks = 20, .prefix_cache = false},
        Setting{.prefix_cache = false}, Setting{.memory = 1}, Setting{.memory = 3},
        Setting{.max_num_seqs = 1, .max_num_batched_tokens = 30, .memory = 1},
        Setting{.max_num_batched_tokens = 5, .memory = 1, .max_draft_tokens = 64},
        Setting{.max_num_seqs = 16,
                .max_num_batched_tokens = 512,
                .num_blocks = 17,
                .num_threads = 3,
                .memory = 1},
        Setting{.num_blocks = 17, .prefix_cache = false, .memory = 1, .max_draft_tokens = 1}));

TEST(InvarianceTest, PreemptionHappensAndDoesNotChangeAStream) {
  EngineOptions options = small_engine_options();
  options.kv_cache_bytes = fake_kv_bytes(16);
  TestEngine engine(options);
  std::vector<GenerationRequest> requests;
  std::vector<std::shared_ptr<GenerationHandle>> handles;
  for (std::uint32_t idx = 0; idx < 4; ++idx) {
    requests.push_back(request_of(some_tokens(40, idx), 150));
    requests.back().ignore_eos = true;
    requests.back().sampling.temperature = 0.8f;
    handles.push_back(engine.submit(requests.back()));
  }
  for (std::uint32_t idx = 0; idx < 4; ++idx) {
    expect_answer(collect(*handles[idx]), requests[idx], engine.model());
  }
  EXPECT_GT(engine.metrics().engine.preemptions.value(), 0.0);
}

TEST(InvarianceTest, ASecondRunComesFromTheCacheWithTheSameAnswer) {
  TestEngine engine(small_engine_options());
  const GenerationRequest request = request_of(some_tokens(70));
  const Answer first = engine.run(request);
  EXPECT_EQ(first.prompt->cached_tokens, 0u);
  const Answer second = engine.run(request);
  EXPECT_EQ(second.prompt->cached_tokens, 64u);
  expect_answer(first, request, engine.model());
  expect_answer(second, request, engine.model());
  EXPECT_EQ(engine.metrics().tokens.prompt.value(), 140.0);
  EXPECT_EQ(engine.metrics().tokens.prompt_cached.value(), 64.0);
  EXPECT_EQ(engine.metrics().tokens.prefix_cache_hits.value(), 64.0);
  EXPECT_EQ(engine.metrics().tokens.prefix_cache_queries.value(), 140.0);
}

TEST(InvarianceTest, PromptLogprobsAreTheSameInChunksOfAnySize) {
  const Tokens prompt = some_tokens(90);
  for (const std::size_t budget : {4u, 33u, 512u}) {
    EngineOptions options = small_engine_options();
    options.max_num_batched_tokens = budget;
    TestEngine engine(options);
    GenerationRequest request = request_of(prompt, 3);
    request.prompt_logprobs = true;
    request.top_logprobs = 3;
    const Answer answer = engine.run(request);
    expect_answer(answer, request, engine.model());
    ASSERT_EQ(answer.prompt->logprobs.size(), prompt.size());
    EXPECT_FALSE(answer.prompt->logprobs[0].has_value());
    for (std::size_t idx = 1; idx < prompt.size(); ++idx) {
      const auto logits = fake_logits(std::span(prompt).first(idx), engine.model());
      const PositionLogprobs expected = position_logprobs(logits, prompt[idx], 3);
      ASSERT_TRUE(answer.prompt->logprobs[idx].has_value());
      EXPECT_EQ(answer.prompt->logprobs[idx]->chosen.id, prompt[idx]);
      EXPECT_EQ(answer.prompt->logprobs[idx]->chosen.logprob, expected.chosen.logprob);
      EXPECT_EQ(answer.prompt->logprobs[idx]->rank, expected.rank);
      EXPECT_EQ(answer.prompt->logprobs[idx]->top.size(), 3u);
    }
  }
}

}  // namespace
}  // namespace hearth::test
