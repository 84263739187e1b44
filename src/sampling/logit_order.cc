#include "sampling/logit_order.h"

#include "base/status.h"

namespace hearth {

LogitRow::LogitRow(std::size_t size) {
  block_max_.reserve(num_blocks(size));
}

bool LogitRow::assign(std::span<const float> logits) {
  HEARTH_CHECK(!logits.empty());
  logits_ = logits;
  block_max_.resize(num_blocks(logits.size()));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::int32_t smallest = std::numeric_limits<std::int32_t>::max();
  std::int32_t largest = std::numeric_limits<std::int32_t>::min();
  std::size_t best_block = 0;
  for (std::size_t idx = 0; idx < block_max_.size(); ++idx) {
    std::int32_t block_largest = std::numeric_limits<std::int32_t>::min();
    for (const float logit : block(idx).logits) {
      const std::int32_t bits = monotonic_bits(logit);
      block_largest = std::max(block_largest, bits);
      smallest = std::min(smallest, bits);
    }
    block_max_[idx] = from_monotonic_bits(block_largest);
    if (block_largest > largest) best_block = idx;
    largest = std::max(largest, block_largest);
  }
  const Block best = block(best_block);
  const auto found = std::ranges::find(best.logits, largest, monotonic_bits);
  argmax_ = best.first_id + static_cast<std::int32_t>(found - best.logits.begin());
  return largest < monotonic_bits(kInfinity) && smallest >= monotonic_bits(-kInfinity);
}

OrderKey LogitRow::reached_by(std::size_t count) {
  if (count > block_max_.size()) return kKeepAll;
  ordered_max_.assign(block_max_.begin(), block_max_.end());
  const auto nth = ordered_max_.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::ranges::nth_element(ordered_max_, nth, std::greater{});
  return last_key(*nth);
}

LogitRow::Block LogitRow::block(std::size_t idx) const {
  const std::size_t first = idx * kBlockLen;
  return {static_cast<std::int32_t>(first),
          logits_.subspan(first, std::min(kBlockLen, logits_.size() - first))};
}

OrderKey OrderSelector::halve(std::span<Candidate> candidates, std::uint64_t target) {
  HEARTH_CHECK(!candidates.empty());
  while (candidates.size() > 1) {
    const std::size_t half = candidates.size() / 2;
    std::ranges::nth_element(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(half),
                             std::greater{}, &Candidate::key);
    std::uint64_t upper = 0;
    for (const Candidate& candidate : candidates.first(half))
      upper += candidate.measure;
    if (upper >= target) {
      candidates = candidates.first(half);
    } else {
      target -= upper;
      candidates = candidates.subspan(half);
    }
  }
  return candidates.front().key;
}

}  // namespace hearth
