// What a mixture of experts needs beside matrix products. Plain loops for every kernel set: the
// rows are short, and the wide additions use the set's own.
#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/cpu_device.h"

namespace hearth {
namespace {

// Index of the largest logit that is not among `taken`. With NaN it is some index, all the same.
std::int32_t likeliest(std::span<const float> logits, std::span<const std::int32_t> taken) {
  std::int32_t best = -1;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto expert = static_cast<std::int32_t>(i);
    if (std::ranges::find(taken, expert) != taken.end()) continue;
    if (best < 0 || logits[i] > logits[static_cast<std::size_t>(best)]) best = expert;
  }
  return best;
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

void choose_row(std::span<const float> logits, const ExpertRouting& routing, std::int32_t* experts,
                float* weights) {
  for (std::size_t i = 0; i < routing.num_used; ++i) {
    experts[i] = likeliest(logits, {experts, i});
    if (routing.gate == ExpertGate::kSparseMixer)
      weights[i] = sparse_share(logits, {experts, i + 1}, routing.jitter) * routing.scale;
  }
  if (routing.gate == ExpertGate::kSparseMixer) return;
  const auto max = logits[static_cast<std::size_t>(experts[0])];
  float chosen = 0.0f;
  for (std::size_t i = 0; i < routing.num_used; ++i) {
    weights[i] = std::exp(logits[static_cast<std::size_t>(experts[i])] - max);
    chosen += weights[i];
  }
  float sum = chosen;
  if (!routing.renormalize) {
    sum = 0.0f;
    for (const float logit : logits)
      sum += std::exp(logit - max);
  }
  for (std::size_t i = 0; i < routing.num_used; ++i)
    weights[i] = weights[i] / sum * routing.scale;
}

}  // namespace

void CpuDevice::choose_experts(ConstMatrixView logits, const ExpertRouting& routing,
                               const ExpertChoice& choice) {
  HEARTH_CHECK(routing.num_used > 0 && routing.num_used <= logits.cols);
  for_each_row(logits.rows, logits.cols * (routing.num_used + 5), [&](std::size_t row) {
    const std::size_t first = row * routing.num_used;
    choose_row({logits.row(row), logits.cols}, routing, choice.experts + first,
               choice.weights + first);
  });
}

void CpuDevice::sigmoid(MatrixView x) {
  for_each_row(x.rows, x.cols * 5, [&](std::size_t row) {
    for (float& value : std::span(x.row(row), x.cols))
      value = 1.0f / (1.0f + std::exp(-value));
  });
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
