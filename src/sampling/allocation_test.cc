#include <gtest/gtest.h>

#include "sampling/sampler.h"
#include "tests/support/allocation_counter.h"

namespace hearth {
namespace {

TEST(Sampler, AllocatesNothingAfterTheFirstToken) {
  constexpr std::size_t kVocabSize = 20000;
  const std::vector<std::int32_t> banned = {3};
  const SamplingParams params{.temperature = 1.5f,
                              .top_p = 0.97f,
                              .top_k = 3000,
                              .min_p = 1e-4f,
                              .frequency_penalty = 0.5f,
                              .repetition_penalty = 1.1f,
                              .logit_bias = {{5, 1.0f}}};
  Sampler sampler(params, 0, kVocabSize, {});
  std::vector<float> logits(kVocabSize);
  for (std::size_t step = 0; step < 20; ++step) {
    // Rows of different shape, so that every kind of scratch is used to a different extent.
    for (std::size_t id = 0; id < kVocabSize; ++id) {
      logits[id] = static_cast<float>((id * 7919 + step * 104729) % 1000) /
                   static_cast<float>(50 + step * 100);
    }
    const std::size_t before = test::thread_allocations();
    ASSERT_TRUE(sampler.sample(logits, banned).has_value());
    if (step > 0) {
      EXPECT_EQ(test::thread_allocations(), before) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace hearth
