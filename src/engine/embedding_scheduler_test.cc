#include "engine/embedding_scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace hearth {
namespace {

using testing::ElementsAre;

std::shared_ptr<EmbeddingJob> job_of(const std::vector<std::size_t>& lengths) {
  EmbeddingRequest request;
  for (const std::size_t length : lengths)
    request.inputs.push_back({.tokens = std::vector<std::int32_t>(length, 1), .token_types = {}});
  return std::make_shared<EmbeddingJob>(std::move(request), 1, EmbeddingJob::TimePoint{},
                                        EmbeddingJob::Notify{});
}

std::vector<std::size_t> lengths_of(std::span<const EmbeddingScheduler::Item> batch) {
  std::vector<std::size_t> lengths;
  for (const auto& item : batch)
    lengths.push_back(item.num_tokens);
  return lengths;
}

std::vector<std::uint32_t> inputs_of(std::span<const EmbeddingScheduler::Item> batch,
                                     const std::shared_ptr<EmbeddingJob>& job) {
  std::vector<std::uint32_t> inputs;
  for (const auto& item : batch) {
    if (item.job == job) inputs.push_back(item.input);
  }
  return inputs;
}

TEST(EmbeddingSchedulerTest, TakesLongTextsFirstAndNamesThemByTheirPlace) {
  EmbeddingScheduler scheduler({.max_batch_tokens = 10, .max_batch_sequences = 8});
  const auto job = job_of({2, 7, 3, 1});
  scheduler.add(job);
  const auto first = scheduler.next_batch();
  EXPECT_THAT(lengths_of(first), ElementsAre(7, 3));
  EXPECT_THAT(inputs_of(first, job), ElementsAre(1, 2));
  EXPECT_TRUE(scheduler.has_work());
  EXPECT_THAT(inputs_of(scheduler.next_batch(), job), ElementsAre(0, 3));
  EXPECT_FALSE(scheduler.has_work());
  EXPECT_THAT(lengths_of(scheduler.next_batch()), ElementsAre());
}

TEST(EmbeddingSchedulerTest, KeepsBothLimitsOfABatch) {
  EmbeddingScheduler scheduler({.max_batch_tokens = 100, .max_batch_sequences = 3});
  scheduler.add(job_of(std::vector<std::size_t>(7, 2)));
  EXPECT_EQ(scheduler.next_batch().size(), 3u);
  EXPECT_EQ(scheduler.next_batch().size(), 3u);
  EXPECT_EQ(scheduler.next_batch().size(), 1u);
}

TEST(EmbeddingSchedulerTest, ASingleTextBesideALongListIsInTheNextBatch) {
  EmbeddingScheduler scheduler({.max_batch_tokens = 40, .max_batch_sequences = 64});
  const auto list = job_of(std::vector<std::size_t>(1000, 10));
  scheduler.add(list);
  EXPECT_EQ(scheduler.next_batch().size(), 4u);
  for (int round = 0; round < 20; ++round) {
    const auto single = job_of({10});
    scheduler.add(single);
    const auto batch = scheduler.next_batch();
    EXPECT_EQ(inputs_of(batch, single).size(), 1u) << round;
    EXPECT_EQ(inputs_of(batch, list).size(), 3u) << round;  // And the list is not starved.
  }
}

TEST(EmbeddingSchedulerTest, ListsShareByTokensNotByTexts) {
  EmbeddingScheduler scheduler({.max_batch_tokens = 60, .max_batch_sequences = 64});
  const auto long_texts = job_of(std::vector<std::size_t>(50, 20));
  const auto short_texts = job_of(std::vector<std::size_t>(500, 2));
  scheduler.add(long_texts);
  scheduler.add(short_texts);
  std::size_t num_long = 0, num_short = 0;
  for (int i = 0; i < 20; ++i) {
    const auto batch = scheduler.next_batch();
    num_long += 20 * inputs_of(batch, long_texts).size();
    num_short += 2 * inputs_of(batch, short_texts).size();
  }
  EXPECT_NEAR(static_cast<double>(num_long), static_cast<double>(num_short), 40.0);
}

TEST(EmbeddingSchedulerTest, ATextThatDoesNotFitIsFirstInTheNextBatch) {
  EmbeddingScheduler scheduler({.max_batch_tokens = 32, .max_batch_sequences = 64});
  scheduler.add(job_of({20, 20}));
  scheduler.add(job_of({30, 1}));
  scheduler.add(job_of({5, 5}));
  EXPECT_THAT(lengths_of(scheduler.next_batch()), ElementsAre(20, 5, 5));
  EXPECT_THAT(lengths_of(scheduler.next_batch()), ElementsAre(30, 1));
  EXPECT_THAT(lengths_of(scheduler.next_batch()), ElementsAre(20));
}

TEST(EmbeddingSchedulerTest, CancelledJobsLeaveWithoutDisturbingTheOthers) {
  EmbeddingScheduler scheduler({.max_batch_tokens = 8, .max_batch_sequences = 64});
  std::vector<std::shared_ptr<EmbeddingJob>> jobs;
  for (std::size_t i = 0; i < 9; ++i) {
    jobs.push_back(job_of({1 + i % 4, 1}));
    scheduler.add(jobs.back());
  }
  EXPECT_TRUE(scheduler.remove_leavers().empty());
  for (const std::size_t i : {0u, 4u, 8u})
    jobs[i]->cancel();
  EXPECT_EQ(scheduler.remove_leavers().size(), 3u);
  EXPECT_TRUE(scheduler.remove_leavers().empty());
  std::size_t num_texts = 0;
  while (scheduler.has_work()) {
    for (const auto& item : scheduler.next_batch()) {
      EXPECT_FALSE(item.job->cancelled());
      ++num_texts;
    }
  }
  EXPECT_EQ(num_texts, 12u);
}

}  // namespace
}  // namespace hearth
