#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <future>
#include <new>

namespace hearth {
namespace {

TEST(WorkerPoolTest, ATaskThatThrowsIsReportedAndTheWorkerGoesOn) {
  std::promise<std::string> failure;
  std::promise<void> next;
  WorkerPool pool(1, 8);
  const auto unexpected = [](const std::exception&) { ADD_FAILURE(); };
  ASSERT_TRUE(pool.try_post([] { throw std::bad_alloc(); },
                            [&](const std::exception& e) { failure.set_value(e.what()); }));
  ASSERT_TRUE(pool.try_post([&] { next.set_value(); }, unexpected));
  EXPECT_EQ(failure.get_future().get(), std::bad_alloc().what());
  next.get_future().get();
}

TEST(WorkerPoolTest, RefusesWhatItCannotQueue) {
  std::promise<void> started;
  std::promise<void> go_on;
  WorkerPool pool(1, 1);
  const auto unexpected = [](const std::exception&) { ADD_FAILURE(); };
  ASSERT_TRUE(pool.try_post(
      [&] {
        started.set_value();
        go_on.get_future().get();
      },
      unexpected));
  started.get_future().get();
  EXPECT_TRUE(pool.try_post([] {}, unexpected));
  EXPECT_FALSE(pool.try_post([] {}, unexpected));
  go_on.set_value();
}

}  // namespace
}  // namespace hearth
