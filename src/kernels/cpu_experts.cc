// What a mixture of experts needs beside matrix products. Plain loops for every kernel set: the
// rows are short, and the wide additions use the set's own.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "kernels/cpu_device.h"

namespace hearth {
namespace {

void to_sigmoids(std::span<float> values) {
  for (float& value : values)
    value = 1.0f / (1.0f + std::exp(-value));
}

// What a row's experts are ranked by: softmax keeps the order of logits.
struct Ranks {
  std::span<const float> scores;
  const float* bias = nullptr;
  std::size_t group_len = 0;
  std::uint64_t open_groups = ~std::uint64_t{0};

  float of(std::size_t expert) const {
    return bias != nullptr ? scores[expert] + bias[expert] : scores[expert];
  }
  bool is_open(std::size_t expert) const { return (open_groups >> (expert / group_len) & 1) != 0; }
};

// The first of the best experts from `begin` to `end` that are not among `taken`; -1 for none. With
// NaN it is some of them, all the same.
std::int32_t best_expert(const Ranks& ranks, std::size_t begin, std::size_t end,
                         std::span<const std::int32_t> taken) {
  std::int32_t best = -1;
  float best_rank = 0.0f;
  for (std::size_t i = begin; i < end; ++i) {
    const auto expert = static_cast<std::int32_t>(i);
    if (!ranks.is_open(i) || std::ranges::find(taken, expert) != taken.end()) continue;
    const float rank = ranks.of(i);
    if (best < 0 || rank > best_rank) {
      best = expert;
      best_rank = rank;
    }
  }
  return best;
}

float group_rank(const Ranks& ranks, std::size_t group, std::size_t group_best) {
  const std::size_t begin = group * ranks.group_len;
  const std::size_t end = begin + ranks.group_len;
  const std::int32_t first = best_expert(ranks, begin, end, {});
  float rank = ranks.of(static_cast<std::size_t>(first));
  if (group_best == 2) {
    rank +=
        ranks.of(static_cast<std::size_t>(best_expert(ranks, begin, end, std::span(&first, 1))));
  }
  return rank;
}

// The groups that experts may be chosen from, of equal ones the first.
std::uint64_t best_groups(const Ranks& ranks, const ExpertRouting& routing) {
  float group_ranks[kMaxExpertGroups];
  for (std::size_t i = 0; i < routing.num_groups; ++i)
    group_ranks[i] = group_rank(ranks, i, routing.group_best);
  std::uint64_t open = 0;
  for (std::size_t n = 0; n < routing.num_groups_used; ++n) {
    std::size_t best = kMaxExpertGroups;
    for (std::size_t i = 0; i < routing.num_groups; ++i) {
      if ((open >> i & 1) != 0) continue;
      if (best == kMaxExpertGroups || group_ranks[i] > group_ranks[best]) best = i;
    }
    HEARTH_CHECK(best < kMaxExpertGroups);
    open |= std::uint64_t{1} << best;
  }
  return open;
}

// The share of taken.back() among the experts that are not in front of it and close to it.
float sparse_share(std::span<const float> logits, std::span<const std::int32_t> taken,
                   float jitter) {
  const float max = logits[static_cast<std::size_t>(taken.back())];
  const auto before = taken.first(taken.size() - 1);
  float sum = 0.0f;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::ranges::find(before, static_cast<std::int32_t>(i)) != before.end()) continue;
    const float distance = (max - logits[i]) / std::max(std::abs(logits[i]), max);
    if (!(distance > 2.0f * jitter)) sum += std::exp(logits[i] - max);
  }
  return 1.0f / sum;
}

// Of softmax: shares of all logits, or of the chosen ones alone.
void weigh_by_softmax(std::span<const float> logits, const ExpertRouting& routing,
                      std::span<const std::int32_t> experts, float* weights) {
  const auto max = logits[static_cast<std::size_t>(experts[0])];
  float chosen = 0.0f;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    weights[i] = std::exp(logits[static_cast<std::size_t>(experts[i])] - max);
    chosen += weights[i];
  }
  float sum = chosen;
  if (!routing.renormalize) {
    sum = 0.0f;
    for (const float logit : logits)
      sum += std::exp(logit - max);
  }
  for (std::size_t i = 0; i < experts.size(); ++i)
    weights[i] = weights[i] / sum * routing.scale;
}

void weigh_by_scores(std::span<const float> scores, const ExpertRouting& routing,
                     std::span<const std::int32_t> experts, float* weights) {
  constexpr float kLeastSum = 1e-20f;
  float sum = 0.0f;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    weights[i] = scores[static_cast<std::size_t>(experts[i])];
    sum += weights[i];
  }
  const float divisor = routing.renormalize ? sum + kLeastSum : 1.0f;
  for (std::size_t i = 0; i < experts.size(); ++i)
    weights[i] = weights[i] / divisor * routing.scale;
}

void choose_row(std::span<float> logits, const ExpertRouting& routing, std::int32_t* experts,
                float* weights) {
  if (routing.gate == ExpertGate::kSigmoid) to_sigmoids(logits);
  Ranks ranks = {
      .scores = logits, .bias = routing.bias, .group_len = logits.size() / routing.num_groups};
  if (routing.num_groups > 1) ranks.open_groups = best_groups(ranks, routing);
  for (std::size_t i = 0; i < routing.num_used; ++i) {
    experts[i] = best_expert(ranks, 0, logits.size(), {experts, i});
    if (routing.gate == ExpertGate::kSparseMixer)
      weights[i] = sparse_share(logits, {experts, i + 1}, routing.jitter) * routing.scale;
  }
  const std::span<const std::int32_t> chosen(experts, routing.num_used);
  if (routing.gate == ExpertGate::kSoftmax) weigh_by_softmax(logits, routing, chosen, weights);
  if (routing.gate == ExpertGate::kSigmoid) weigh_by_scores(logits, routing, chosen, weights);
}

}  // namespace

void CpuDevice::choose_experts(MatrixView logits, const ExpertRouting& routing,
                               const ExpertChoice& choice) {
  HEARTH_CHECK(routing.num_groups > 0 && routing.num_groups <= kMaxExpertGroups);
  HEARTH_CHECK(logits.cols % routing.num_groups == 0);
  const std::size_t group_len = logits.cols / routing.num_groups;
  HEARTH_CHECK(routing.num_groups_used > 0 && routing.num_groups_used <= routing.num_groups);
  HEARTH_CHECK(routing.group_best == 1 || (routing.group_best == 2 && group_len > 1));
  HEARTH_CHECK(routing.num_used > 0 && routing.num_used <= routing.num_groups_used * group_len);
  for_each_row(logits.rows, logits.cols * (routing.num_used + 5), [&](std::size_t row) {
    const std::size_t first = row * routing.num_used;
    choose_row({logits.row(row), logits.cols}, routing, choice.experts + first,
               choice.weights + first);
  });
}

void CpuDevice::sigmoid(MatrixView x) {
  for_each_row(x.rows, x.cols * 5, [&](std::size_t row) { to_sigmoids({x.row(row), x.cols}); });
}

void CpuDevice::gather_rows(ConstMatrixView input, std::span<const std::int32_t> rows,
                            MatrixView out) {
  HEARTH_CHECK(out.rows == rows.size() && out.cols == input.cols);
  for_each_row(rows.size(), input.cols / 8, [&](std::size_t row) {
    HEARTH_CHECK(rows[row] >= 0 && static_cast<std::size_t>(rows[row]) < input.rows);
    std::copy_n(input.row(static_cast<std::size_t>(rows[row])), input.cols, out.row(row));
  });
}

void CpuDevice::add_weighted_rows(ConstMatrixView input, const WeightedRows& terms,
                                  MatrixView out) {
  HEARTH_CHECK(input.cols == out.cols);
  for_each_row(out.rows, out.cols / 8 * terms.num_terms, [&](std::size_t row) {
    for (std::size_t i = row * terms.num_terms; i < (row + 1) * terms.num_terms; ++i) {
      HEARTH_CHECK(terms.rows[i] >= 0 && static_cast<std::size_t>(terms.rows[i]) < input.rows);
      kernels_.add_scaled(input.row(static_cast<std::size_t>(terms.rows[i])), terms.weights[i],
                          out.cols, out.row(row));
    }
  });
}

}  // namespace hearth
