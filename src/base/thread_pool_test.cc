#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu_limit.h"

namespace hearth {
namespace {

class ThreadPoolTest : public ::testing::TestWithParam<std::size_t> {};

TEST_P(ThreadPoolTest, RunsEveryTaskExactlyOnce) {
  ThreadPool pool(GetParam());
  for (std::size_t num_tasks : {0U, 1U, 2U, 3U, 7U, 64U, 1000U}) {
    std::vector<std::atomic<int>> calls(num_tasks);
    pool.run(num_tasks, [&](std::size_t task_idx, std::size_t worker_idx) {
      ASSERT_LT(worker_idx, pool.num_threads());
      calls[task_idx].fetch_add(1);
    });
    for (std::size_t i = 0; i < num_tasks; ++i)
      EXPECT_EQ(calls[i].load(), 1) << i;
  }
}

TEST_P(ThreadPoolTest, WritesOfTasksAreVisibleToTheCaller) {
  ThreadPool pool(GetParam());
  std::vector<std::size_t> values(97);
  for (std::size_t round = 1; round <= 2000; ++round) {
    pool.run(values.size(), [&](std::size_t idx, std::size_t) { values[idx] += idx * round; });
  }
  constexpr std::size_t kRoundSum = 2000 * 2001 / 2;
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], i * kRoundSum);
}

TEST_P(ThreadPoolTest, AWorkerIndexIsUsedByOneTaskAtATime) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<bool>> busy(pool.num_threads());
  std::atomic<bool> overlapped{false};
  for (int round = 0; round < 200; ++round) {
    pool.run(16, [&](std::size_t, std::size_t worker_idx) {
      if (busy[worker_idx].exchange(true)) overlapped = true;
      busy[worker_idx] = false;
    });
  }
  EXPECT_FALSE(overlapped);
}

// Every fork finds the workers in another state: spinning, about to park or parked.
TEST_P(ThreadPoolTest, LosesNoWakeUpWhateverTheGapBetweenForks) {
  ThreadPool pool(GetParam());
  std::atomic<std::size_t> total{0};
  std::size_t expected = 0;
  for (std::size_t round = 0; round < 300; ++round) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(round % 100);
    while (std::chrono::steady_clock::now() < until)
      std::this_thread::yield();
    pool.run(4, [&](std::size_t idx, std::size_t) { total += idx; });
    expected += 6;
  }
  EXPECT_EQ(total.load(), expected);
}

// All tasks of a job wait for each other, so that the job ends only if every worker is woken.
TEST_P(ThreadPoolTest, EveryWorkerTakesPart) {
  ThreadPool pool(GetParam());
  const std::size_t num_threads = pool.num_threads();
  for (int round = 0; round < 20; ++round) {
    std::atomic<std::size_t> arrived{0};
    pool.run(num_threads, [&](std::size_t, std::size_t) {
      arrived.fetch_add(1);
      while (arrived.load() < num_threads)
        std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), num_threads);
  }
}

TEST_P(ThreadPoolTest, CanBeDestroyedAtAnyMoment) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(GetParam());
    if (round % 2 == 0) pool.run(3, [](std::size_t, std::size_t) {});
  }
}

TEST_P(ThreadPoolTest, CallersMayChangeBetweenRuns) {
  ThreadPool pool(GetParam());
  std::atomic<int> calls{0};
  for (int round = 0; round < 10; ++round) {
    std::thread([&] { pool.run(5, [&](std::size_t, std::size_t) { ++calls; }); }).join();
  }
  EXPECT_EQ(calls.load(), 50);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, ::testing::Values(1, 2, 3, 8));

TEST(AvailableCpusTest, HonoursTheAffinityMask) {
  cpu_set_t original;
  ASSERT_EQ(sched_getaffinity(0, sizeof(original), &original), 0);
  EXPECT_GE(ThreadPool::available_cpus(), 1U);
  EXPECT_LE(ThreadPool::available_cpus(), static_cast<std::size_t>(CPU_COUNT(&original)));
  int first = 0;
  while (!CPU_ISSET(first, &original))
    ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(ThreadPool::available_cpus(), 1U);
  ASSERT_EQ(sched_setaffinity(0, sizeof(original), &original), 0);
}

class CgroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(::testing::TempDir()) / (std::string("cgroup_") + info->name());
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& content) {
    const auto full = root_ / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << content;
  }

  std::filesystem::path root_;
};

TEST_F(CgroupTest, NoFilesMeanNoLimit) {
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/\n"), std::nullopt);
  EXPECT_EQ(cgroup_cpu_quota(root_, ""), std::nullopt);
  EXPECT_EQ(cgroup_cpu_quota(root_, "nonsense"), std::nullopt);
}

TEST_F(CgroupTest, VersionTwoTakesTheSmallestQuotaOnTheWayUp) {
  write("a/b/cpu.max", "max 100000\n");
  write("a/cpu.max", "150000 100000\n");
  write("cpu.max", "400000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/a/b\n"), 1.5);
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/\n"), 4.0);
}

TEST_F(CgroupTest, VersionTwoInsideAContainerReadsTheMountItself) {
  write("cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/not/visible/here\n"), 0.5);
}

TEST_F(CgroupTest, VersionOneReadsQuotaAndPeriod) {
  write("cpu,cpuacct/box/cpu.cfs_quota_us", "200000\n");
  write("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "5:memory:/box\n4:cpu,cpuacct:/box\n"), 2.0);
  write("cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "4:cpu,cpuacct:/box\n"), std::nullopt);
}

TEST_F(CgroupTest, GarbageIsNoLimit) {
  write("cpu.max", "abc def\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/\n"), std::nullopt);
  write("cpu.max", "-5 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_, "0::/\n"), std::nullopt);
}

}  // namespace
}  // namespace hearth
