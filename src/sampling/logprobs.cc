#include <array>
#include <cmath>
#include <limits>

#include "sampling/exp.h"
#include "sampling/logit_order.h"
#include "sampling/sampler.h"

namespace hearth {
namespace {

// log(sum of e^logit) over a row without NaN or +inf. Eight sums, so that their additions overlap;
// the order is fixed.
double log_sum_exp(const LogitRow& row) {
  constexpr std::size_t kLanes = 8;
  const std::span<const float> logits = row.logits();
  const double max = row.max();
  std::array<double, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += exp_nonpositive(logits[i + lane] - max);
    }
  }
  for (; i < logits.size(); ++i)
    sums[i % kLanes] += exp_nonpositive(logits[i] - max);
  double sum = 0.0;
  for (const double part : sums)
    sum += part;
  return max + std::log(sum);
}

// The keys of the first `count` tokens of the order, sorted.
std::vector<OrderKey> first_in_order(const LogitRow& row, std::size_t count) {
  std::vector<OrderKey> best;  // A heap with its last in order at the front.
  best.reserve(count + 1);
  for (std::size_t idx = 0; idx < row.num_blocks() && count > 0; ++idx) {
    if (best.size() == count && !row.block_reaches(idx, best.front())) continue;
    const LogitRow::Block block = row.block(idx);
    for (std::size_t i = 0; i < block.logits.size(); ++i) {
      const OrderKey key =
          order_key(block.logits[i], block.first_id + static_cast<std::int32_t>(i));
      if (best.size() == count && key < best.front()) continue;
      best.push_back(key);
      std::ranges::push_heap(best, std::greater{});
      if (best.size() <= count) continue;
      std::ranges::pop_heap(best, std::greater{});
      best.pop_back();
    }
  }
  std::ranges::sort_heap(best, std::greater{});
  return best;
}

std::uint32_t rank_of(const LogitRow& row, OrderKey chosen) {
  std::uint32_t rank = 0;
  for (std::size_t idx = 0; idx < row.num_blocks(); ++idx) {
    if (!row.block_reaches(idx, chosen)) continue;
    const LogitRow::Block block = row.block(idx);
    for (std::size_t i = 0; i < block.logits.size(); ++i) {
      const OrderKey key =
          order_key(block.logits[i], block.first_id + static_cast<std::int32_t>(i));
      rank += key > chosen ? 1 : 0;
    }
  }
  return rank;
}

}  // namespace

PositionLogprobs position_logprobs(std::span<const float> logits, std::int32_t chosen,
                                   std::size_t num_top) {
  HEARTH_CHECK(chosen >= 0 && static_cast<std::size_t>(chosen) < logits.size());
  LogitRow row(logits.size());
  const bool valid = row.assign(logits) && row.max() > -std::numeric_limits<float>::infinity();
  const double log_sum = valid ? log_sum_exp(row) : std::numeric_limits<double>::quiet_NaN();
  const auto entry = [&](std::int32_t id) {
    const float logit = logits[static_cast<std::size_t>(id)];
    return TokenLogprob{id, static_cast<float>(logit - log_sum)};
  };

  PositionLogprobs result;
  result.chosen = entry(chosen);
  result.rank = rank_of(row, order_key(logits[static_cast<std::size_t>(chosen)], chosen));
  for (const OrderKey key : first_in_order(row, std::min(num_top, logits.size()))) {
    result.top.push_back(entry(key_id(key)));
  }
  return result;
}

}  // namespace hearth
