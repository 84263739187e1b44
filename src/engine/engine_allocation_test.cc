#include <gtest/gtest.h>

#include "engine/engine_test_util.h"
#include "tests/support/allocation_counter.h"

namespace hearth::test {
namespace {

TEST(EngineAllocationTest, ADecodeStepAllocatesNothing) {
  Gate gate;
  std::vector<std::size_t> counts;  // At the start of each step.
  counts.reserve(1000);
  const auto on_forward = [&](const ForwardBatch&) {
    counts.push_back(thread_allocations());
    gate.pass();
  };
  EngineOptions options = small_engine_options();
  options.kv_cache_bytes = 0;
  // Two answers go round in circles, which is guessed.
  TestEngine engine(options, {.context_len = 8000, .memory = 1, .on_forward = on_forward});
  std::vector<std::shared_ptr<GenerationHandle>> handles;
  for (std::uint32_t idx = 0; idx < 4; ++idx) {
    GenerationRequest request = request_of(some_tokens(10, idx), 7000);
    request.ignore_eos = true;
    request.sampling.temperature = idx % 2 == 0 ? 0.9f : 0.0f;
    request.sampling.top_p = 0.9f;
    request.sampling.top_k = 20;
    request.sampling.frequency_penalty = idx % 2 == 0 ? 0.2f : 0.0f;
    handles.push_back(engine.submit(request));
  }
  // A consumer that keeps up.
  std::vector<GenerationEvent> events;
  events.reserve(40'000);
  constexpr std::size_t kLastStep = 200;
  for (std::size_t step = 1; step <= kLastStep; ++step) {
    gate.await_arrival(step);
    for (const auto& handle : handles)
      EXPECT_FALSE(handle->poll(events));
    gate.let_one_pass();
  }
  gate.await_arrival(kLastStep + 1);
  constexpr std::size_t kWarm =
      20;  // By then every sequence decodes and every buffer has its size.
  EXPECT_EQ(counts[kLastStep] - counts[kWarm], 0u);
  EXPECT_GT(engine.metrics().engine.accepted_draft_tokens.value(), 1000.0);
  EXPECT_GT(counts[kWarm] - counts[0], 0u) << "nothing is counted at all";
  gate.open();
  for (const auto& handle : handles) {
    while (!handle->wait(events)) {
    }
  }
}

}  // namespace
}  // namespace hearth::test
