#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/support/fake_model.h"

namespace hearth {
namespace {

using test::FakeModel;
using test::FakeModelOptions;

constexpr std::size_t kChunkLen = 150;  // More than two steps.

std::vector<std::int32_t> text_of(std::size_t len, std::size_t vocab_size) {
  std::vector<std::int32_t> tokens(len);
  for (std::size_t i = 0; i < len; ++i)
    tokens[i] = static_cast<std::int32_t>((i * i * 7 + i * 13 + 5) % vocab_size);
  return tokens;
}

std::vector<double> log_probabilities(std::span<const std::int32_t> past,
                                      const FakeModelOptions& model) {
  const std::vector<float> logits = test::fake_logits(past, model);
  double sum = 0;
  for (const float logit : logits)
    sum += std::exp(static_cast<double>(logit));
  std::vector<double> result;
  for (const float logit : logits)
    result.push_back(static_cast<double>(logit) - std::log(sum));
  return result;
}

Result<PerplexityReport> measure(const FakeModelOptions& model, const FakeModelOptions* reference,
                                 std::span<const std::int32_t> tokens, PerplexityOptions options) {
  ThreadPool threads(2);
  FakeModel measured(model);
  if (reference == nullptr) return measure_perplexity({measured}, tokens, options, threads, {});
  FakeModel other(*reference);
  return measure_perplexity({measured, &other}, tokens, options, threads, {});
}

TEST(Perplexity, IsTheSurpriseAtTheTokensOfSecondHalves) {
  const FakeModelOptions model;
  const auto tokens = text_of(2 * kChunkLen + 20, model.vocab_size);
  const auto report = measure(model, nullptr, tokens, {.chunk_len = kChunkLen});
  ASSERT_TRUE(report.has_value());

  double sum = 0;
  std::size_t count = 0;
  for (std::size_t start = 0; start < 2 * kChunkLen; start += kChunkLen) {
    for (std::size_t i = kChunkLen / 2 + 1; i < kChunkLen; ++i) {
      const auto past = std::span(tokens).subspan(start, i);
      sum -= log_probabilities(past, model)[static_cast<std::size_t>(tokens[start + i])];
      ++count;
    }
  }
  EXPECT_EQ(report->num_chunks, 2);
  EXPECT_EQ(report->num_predictions, count);
  const double expected = std::exp(sum / static_cast<double>(count));
  EXPECT_NEAR(report->perplexity.value, expected, 1e-4 * expected);
  EXPECT_GT(report->perplexity.error, 0.0);
  EXPECT_FALSE(report->divergence.has_value());
}

TEST(Perplexity, TheBeginningOfATextStartsEveryChunk) {
  const FakeModelOptions model;
  auto tokens = text_of(2 * kChunkLen, model.vocab_size);
  const auto replaced = measure(model, nullptr, tokens, {.chunk_len = kChunkLen, .bos = 3});
  tokens[0] = tokens[kChunkLen] = 3;
  const auto written = measure(model, nullptr, tokens, {.chunk_len = kChunkLen});
  EXPECT_EQ(replaced->perplexity.value, written->perplexity.value);
}

TEST(Perplexity, DivergenceIsThatOfTheTwoDistributions) {
  const FakeModelOptions model{.memory = 1};
  const FakeModelOptions reference{.memory = 2};
  const auto tokens = text_of(2 * kChunkLen, model.vocab_size);
  const auto report = measure(model, &reference, tokens, {.chunk_len = kChunkLen, .max_chunks = 1});
  ASSERT_TRUE(report.has_value());
  ASSERT_TRUE(report->divergence.has_value());

  std::vector<double> expected;
  std::size_t same = 0;
  for (std::size_t i = kChunkLen / 2 + 1; i < kChunkLen; ++i) {
    const auto past = std::span(tokens).first(i);
    const auto q = log_probabilities(past, model);
    const auto p = log_probabilities(past, reference);
    double sum = 0;
    for (std::size_t id = 0; id < p.size(); ++id)
      sum += std::exp(p[id]) * (p[id] - q[id]);
    expected.push_back(sum);
    same += std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin();
  }
  const auto count = static_cast<double>(expected.size());
  const Divergence& divergence = *report->divergence;
  EXPECT_EQ(report->num_chunks, 1);
  EXPECT_NEAR(divergence.mean.value, std::accumulate(expected.begin(), expected.end(), 0.0) / count,
              1e-4);
  EXPECT_NEAR(divergence.maximum, std::ranges::max(expected), 1e-4);
  EXPECT_NEAR(divergence.same_top.value, static_cast<double>(same) / count, 1e-9);
  std::ranges::sort(expected);
  EXPECT_NEAR(divergence.median, expected[(expected.size() - 1) / 2], 1e-4);
  EXPECT_NE(divergence.reference_perplexity.value, report->perplexity.value);
}

TEST(Perplexity, AModelDoesNotDivergeFromItself) {
  const FakeModelOptions model;
  const auto tokens = text_of(2 * kChunkLen, model.vocab_size);
  const auto report = measure(model, &model, tokens, {.chunk_len = kChunkLen});
  EXPECT_EQ(report->divergence->maximum, 0.0);
  EXPECT_EQ(report->divergence->same_top.value, 1.0);
  EXPECT_EQ(report->divergence->reference_perplexity.value, report->perplexity.value);
}

TEST(Perplexity, RefusesWhatItCannotMeasure) {
  const FakeModelOptions model{.context_len = 256};
  const auto problem = [&](const FakeModelOptions& reference, std::size_t num_tokens,
                           std::size_t chunk_len) {
    const auto tokens = text_of(num_tokens, model.vocab_size);
    return measure(model, &reference, tokens, {.chunk_len = chunk_len}).error();
  };
  EXPECT_EQ(problem(model, 299, 150).message(),
            "the text has 299 tokens, but at least 300 are needed: two chunks of 150");
  EXPECT_EQ(problem(model, 300, 3).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(problem(model, 600, 257).code(), StatusCode::kOutOfRange);
  FakeModelOptions larger = model;
  ++larger.vocab_size;
  EXPECT_EQ(problem(larger, 300, 150).code(), StatusCode::kInvalidArgument);
  FakeModelOptions broken = model;
  broken.poison = text_of(1, model.vocab_size)[0];
  EXPECT_EQ(problem(broken, 300, 150).code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hearth
