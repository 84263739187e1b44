#include "engine/embedding_scheduler.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace hearth {

EmbeddingScheduler::EmbeddingScheduler(const EncoderLimits& limits) : limits_(limits) {
  batch_.reserve(limits_.max_batch_sequences);
}

bool EmbeddingScheduler::later(const Entry& a, const Entry& b) {
  return std::pair(a.served, a.number) > std::pair(b.served, b.number);
}

void EmbeddingScheduler::push(Entry entry) {
  queue_.push_back(std::move(entry));
  std::ranges::push_heap(queue_, later);
}

EmbeddingScheduler::Entry EmbeddingScheduler::pop() {
  std::ranges::pop_heap(queue_, later);
  Entry entry = std::move(queue_.back());
  queue_.pop_back();
  return entry;
}

void EmbeddingScheduler::add(std::shared_ptr<EmbeddingJob> job) {
  push({.job = std::move(job), .served = now_, .number = next_number_++});
}

std::span<const std::shared_ptr<EmbeddingJob>> EmbeddingScheduler::remove_leavers() {
  removed_.clear();
  const auto is_leaver = [](const Entry& entry) {
    return entry.job->ended() || entry.job->cancelled();
  };
  // A job may be cancelled while this looks: only what moved to the end counts.
  const auto leavers = std::ranges::partition(queue_, std::not_fn(is_leaver));
  if (leavers.empty()) return {};
  for (Entry& entry : leavers)
    removed_.push_back(std::move(entry.job));
  queue_.erase(leavers.begin(), leavers.end());
  std::ranges::make_heap(queue_, later);
  return removed_;
}

std::span<const std::shared_ptr<EmbeddingJob>> EmbeddingScheduler::remove_all() {
  removed_.clear();
  for (Entry& entry : queue_)
    removed_.push_back(std::move(entry.job));
  queue_.clear();
  return removed_;
}

std::span<EmbeddingScheduler::Item> EmbeddingScheduler::next_batch() {
  batch_.clear();
  std::size_t num_tokens_left = limits_.max_batch_tokens;
  while (!queue_.empty() && batch_.size() < limits_.max_batch_sequences && num_tokens_left > 0) {
    Entry entry = pop();
    const std::size_t length = entry.job->next_length();
    if (length > num_tokens_left) {  // First in the next batch, which it does fit in.
      passed_over_.push_back(std::move(entry));
      continue;
    }
    now_ = std::max(now_, entry.served);
    entry.served += length;
    num_tokens_left -= length;
    batch_.push_back({.job = entry.job, .input = entry.job->take_next(), .num_tokens = length});
    if (!entry.job->all_taken()) push(std::move(entry));
  }
  for (Entry& entry : passed_over_)
    push(std::move(entry));
  passed_over_.clear();
  std::ranges::sort(batch_, std::greater<>(), &Item::num_tokens);
  return batch_;
}

}  // namespace hearth
