#include "tests/support/allocation_counter.h"

#include <gtest/gtest.h>

#include <new>
#include <thread>

namespace hearth::test {
namespace {

// Calls the operator itself, which a compiler may not leave out as it may a new-expression.
void take_and_give_back(std::size_t bytes) {
  ::operator delete(::operator new(bytes));
}

TEST(AllocationCounter, TellsThreadsApart) {
  const std::size_t here = thread_allocations();
  take_and_give_back(1000);
  EXPECT_EQ(thread_allocations(), here + 1);

  const std::size_t all = total_allocations();
  std::size_t there = 0;
  std::thread([&] {
    there = thread_allocations();
    take_and_give_back(1000);
    there = thread_allocations() - there;
  }).join();
  EXPECT_EQ(there, 1U);
  EXPECT_GE(total_allocations(), all + 1);
}

TEST(AllocationCounter, KnowsWhatIsInUseAndTheMostThereWas) {
  const std::size_t live = live_bytes();
  void* memory = ::operator new(4000);
  EXPECT_GE(live_bytes(), live + 4000);
  ::operator delete(memory);
  EXPECT_EQ(live_bytes(), live);
  reset_peak_bytes();
  take_and_give_back(5000);
  EXPECT_GE(peak_bytes(), live_bytes() + 5000);
}

}  // namespace
}  // namespace hearth::test
