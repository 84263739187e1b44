#include "engine/memory_budget.h"

#include <gtest/gtest.h>

#include <fstream>

namespace hearth {
namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kGiB = 1024 * kMiB;

// A machine with files of its own.
class MemoryLimitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(::testing::TempDir()) / (std::string("memory_") + info->name());
    std::filesystem::remove_all(root_);
    write("proc/meminfo",
          "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  std::filesystem::path root_;
};

TEST_F(MemoryLimitTest, WithoutControlGroupsItIsTheMachine) {
  const MemoryLimit limit = detect_memory_limit(root_).value();
  EXPECT_EQ(limit.total_bytes, 16 * kGiB);
  EXPECT_EQ(limit.available_bytes, 8 * kGiB);
  EXPECT_FALSE(limit.is_container);
}

TEST_F(MemoryLimitTest, TakesTheSmallestLimitOnTheWayUp) {
  write("proc/self/cgroup", "0::/pod/container\n");
  write("sys/fs/cgroup/pod/container/memory.max", "max\n");
  write("sys/fs/cgroup/pod/memory.max", "4294967296\n");
  write("sys/fs/cgroup/memory.max", "8589934592\n");
  const MemoryLimit limit = detect_memory_limit(root_).value();
  EXPECT_EQ(limit.total_bytes, 4 * kGiB);
  EXPECT_TRUE(limit.is_container);
}

TEST_F(MemoryLimitTest, ReadsVersionOneAndIgnoresItsNumberForNoLimit) {
  write("proc/self/cgroup", "7:memory:/box\n3:cpu,cpuacct:/box\n");
  write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(detect_memory_limit(root_)->is_container);
  write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1073741824\n");
  EXPECT_EQ(detect_memory_limit(root_)->total_bytes, kGiB);
}

TEST_F(MemoryLimitTest, AMachineThatDoesNotTellIsAnError) {
  write("proc/meminfo", "nonsense\n");
  EXPECT_EQ(detect_memory_limit(root_).error().code(), StatusCode::kUnavailable);
}

TEST(MemoryLimitOfThisMachineTest, IsReadable) {
  const auto limit = detect_memory_limit();
  ASSERT_TRUE(limit.has_value());
  EXPECT_GT(limit->total_bytes, 0u);
  EXPECT_GT(limit->available_bytes, 0u);
}

// 1 MiB per block of 16 tokens.
MemoryRequest request() {
  return {.limit = {.total_bytes = 10 * kGiB, .available_bytes = 10 * kGiB, .is_container = true},
          .weight_bytes = 3 * kGiB,
          .activation_bytes = kGiB,
          .kv = {.num_layers = 32, .num_kv_heads = 8, .head_dim = 64, .block_size = 16},
          .max_model_len = 4096,
          .max_num_seqs = 64,
          .kv_cache_bytes = 0};
}

TEST(PlanMemoryTest, TheCacheGetsTheStatedPartMinusTheRest) {
  ASSERT_EQ(request().kv.bytes_per_block(), kMiB);
  EXPECT_EQ(plan_memory(request())->num_kv_blocks, 4 * 1024u);
  EXPECT_EQ(plan_memory(request())->kv_cache_bytes, 4 * kGiB);
  MemoryRequest machine = request();
  machine.limit.is_container = false;
  EXPECT_EQ(plan_memory(machine)->kv_cache_bytes, kGiB);
}

TEST(PlanMemoryTest, NeverMoreThanIsFreeNow) {
  MemoryRequest busy = request();
  busy.limit.available_bytes = 2 * kGiB;
  EXPECT_EQ(plan_memory(busy)->num_kv_blocks, 1638u);
}

TEST(PlanMemoryTest, NeverMoreThanAllSequencesCanUse) {
  MemoryRequest small = request();
  small.max_num_seqs = 2;
  EXPECT_EQ(plan_memory(small)->num_kv_blocks, 512u);
  small.kv_cache_bytes = 3 * kGiB;
  EXPECT_EQ(plan_memory(small)->num_kv_blocks, 512u);
}

TEST(PlanMemoryTest, AGivenSizeIsUsedAsGiven) {
  MemoryRequest given = request();
  given.kv_cache_bytes = 300 * kMiB + 1;
  EXPECT_EQ(plan_memory(given)->num_kv_blocks, 300u);
}

TEST(PlanMemoryTest, WhatDoesNotFitIsRefusedWithAWayOut) {
  MemoryRequest large = request();
  large.max_model_len = 131072;
  const Status status = plan_memory(large).error();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "one sequence of 131072 tokens needs 8192.0 MiB of KV cache, but 4096.0 MiB are left "
            "for the KV cache beside 3072.0 MiB of weights and 1024.0 MiB of activations (10240.0 "
            "MiB in all, 10240.0 MiB available); set --max-model-len to at most 65536");
  large.weight_bytes = 9 * kGiB;
  EXPECT_NE(plan_memory(large).error().message().find("smaller model"), std::string::npos);
  large.kv_cache_bytes = kMiB;
  EXPECT_EQ(plan_memory(large).error().message(),
            "one sequence of 131072 tokens needs 8192.0 MiB of KV cache, but the KV cache is set "
            "to 1.0 MiB; set --max-model-len to at most 16");
}

TEST(PlanMemoryTest, EstimatesRoundUpToBlocks) {
  EXPECT_EQ(kv_blocks_for(request().kv, 17, 3), 6u);
  EXPECT_EQ(kv_bytes_for(request().kv, 16, 1), kMiB);
}

}  // namespace
}  // namespace hearth
