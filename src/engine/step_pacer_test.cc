#include "engine/step_pacer.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();

TEST(StepPacerTest, AllowsWhatTheMachineComputesInTheTargetTime) {
  StepPacer pacer(100ms);
  EXPECT_EQ(pacer.max_tokens(), kAny);
  pacer.note(500, 250ms);
  EXPECT_EQ(pacer.max_tokens(), 200u);
  for (int step = 0; step < 40; ++step)
    pacer.note(100, 100ms);
  EXPECT_NEAR(static_cast<double>(pacer.max_tokens()), 100.0, 1.0);
}

TEST(StepPacerTest, OneSlowStepDoesNotDecide) {
  StepPacer pacer(100ms);
  pacer.note(400, 100ms);
  pacer.note(400, 10s);
  EXPECT_GT(pacer.max_tokens(), 290u);
}

TEST(StepPacerTest, LearnsNothingFromShortSteps) {
  StepPacer pacer(100ms);
  pacer.note(1, 50ms);
  pacer.note(100, 0s);
  EXPECT_EQ(pacer.max_tokens(), kAny);
}

TEST(StepPacerTest, WithoutATargetThereIsNoBound) {
  StepPacer pacer(0s);
  pacer.note(500, 1s);
  EXPECT_EQ(pacer.max_tokens(), kAny);
}

}  // namespace
}  // namespace hearth
