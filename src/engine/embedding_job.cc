#include "engine/embedding_job.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace hearth {

EmbeddingJob::EmbeddingJob(EmbeddingRequest request, std::size_t width, TimePoint queued,
                           Notify notify)
    : request_(std::move(request)),
      queued_(queued),
      notify_(std::move(notify)),
      result_bytes_(request_.inputs.size() * width * sizeof(float)),
      order_(request_.inputs.size()),
      rows_(request_.inputs.size() * width) {
  for (const EmbeddingInput& input : request_.inputs)
    num_tokens_ += input.tokens.size();
  num_tokens_left_ = num_tokens_;
  std::iota(order_.begin(), order_.end(), 0u);
  std::ranges::sort(order_, std::greater<>(), [this](std::uint32_t idx) {
    return std::pair(input(idx).tokens.size(), ~idx);  // Of equal ones the first.
  });
}

bool EmbeddingJob::take_result(EmbeddingResult& out) {
  if (!result_.has_value()) return false;
  out = *std::move(result_);
  result_.reset();
  handed_out_ = true;
  return true;
}

std::optional<EmbeddingResult> EmbeddingJob::poll() {
  const std::lock_guard lock(mutex_);
  EmbeddingResult out;
  if (!take_result(out)) return std::nullopt;
  return out;
}

EmbeddingResult EmbeddingJob::wait() {
  std::unique_lock lock(mutex_);
  HEARTH_CHECK(!handed_out_);
  arrived_.wait(lock, [this] { return result_.has_value(); });
  EmbeddingResult out;
  HEARTH_CHECK(take_result(out));
  return out;
}

bool EmbeddingJob::store(std::uint32_t idx, std::span<const float> row) {
  std::ranges::copy(row, rows_.begin() + static_cast<std::ptrdiff_t>(idx * row.size()));
  num_tokens_left_ -= input(idx).tokens.size();
  return ++num_stored_ == order_.size();
}

void EmbeddingJob::end(Status status) {
  HEARTH_CHECK(!ended_);
  ended_ = true;
  EmbeddingResult result{.status = std::move(status), .rows = {}};
  if (result.status.ok()) result.rows = std::move(rows_);
  {
    const std::lock_guard lock(mutex_);
    result_ = std::move(result);
  }
  arrived_.notify_all();
  if (notify_) notify_();
}

}  // namespace hearth
