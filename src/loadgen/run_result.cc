#include "loadgen/run_result.h"

#include <fmt/format.h>

#include <algorithm>

namespace hearth::loadgen {
namespace {

constexpr std::size_t kMaxErrorTexts = 5;

double ratio(double value, double by) {
  return by > 0.0 ? value / by : 0.0;
}

void count_outcome(const RequestRecord& record, LevelSummary& summary) {
  if (record.outcome == Outcome::kSuccess) {
    ++summary.successful;
    return;
  }
  ++(record.outcome == Outcome::kErrored ? summary.errored : summary.incomplete);
  const auto known =
      std::ranges::find(summary.errors, record.error, &std::pair<std::string, std::size_t>::first);
  if (known != summary.errors.end()) {
    ++known->second;
  } else if (summary.errors.size() < kMaxErrorTexts) {
    summary.errors.emplace_back(record.error, 1);
  }
}

}  // namespace

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSuccess:
      return "successful";
    case Outcome::kErrored:
      return "errored";
    case Outcome::kIncomplete:
      return "incomplete";
  }
  return "";
}

std::string_view kind_name(LoadKind kind) {
  return kind == LoadKind::kConcurrency ? "concurrency" : "rate";
}

std::string load_text(LoadKind kind, double load) {
  return kind == LoadKind::kConcurrency ? fmt::format("concurrency {}", load)
                                        : fmt::format("{} requests/s", load);
}

LevelSummary summarize(const LevelResult& level) {
  LevelSummary summary{.kind = level.kind, .load = level.load, .interrupted = level.interrupted};
  summary.duration_s = level.duration_s;
  summary.client_cpu_percent = 100.0 * ratio(level.client_cpu_s, level.duration_s);

  double prompt_tokens = 0.0;
  double cached_tokens = 0.0;
  double output_tokens = 0.0;
  double decode_ms = 0.0;
  double decode_steps = 0.0;
  std::vector<double> ttft;
  std::vector<double> gaps;
  std::vector<double> tpot;
  std::vector<double> e2e;
  for (const RequestRecord& record : level.records) {
    count_outcome(record, summary);
    if (record.outcome != Outcome::kSuccess) continue;
    prompt_tokens += static_cast<double>(record.prompt_tokens);
    cached_tokens += static_cast<double>(record.cached_tokens);
    output_tokens += static_cast<double>(record.output_tokens);
    ttft.push_back(record.ttft_ms);
    e2e.push_back(record.e2e_ms);
    if (record.gaps_ms.empty()) continue;
    const auto steps = static_cast<double>(record.output_tokens - 1);
    gaps.insert(gaps.end(), record.gaps_ms.begin(), record.gaps_ms.end());
    tpot.push_back(record.decode_ms / steps);
    decode_ms += record.decode_ms;
    decode_steps += steps;
  }
  const auto successful = static_cast<double>(summary.successful);
  summary.mean_prompt_tokens = ratio(prompt_tokens, successful);
  summary.mean_cached_tokens = ratio(cached_tokens, successful);
  summary.mean_output_tokens = ratio(output_tokens, successful);
  summary.output_tokens_per_s = ratio(output_tokens, level.duration_s);
  summary.total_tokens_per_s = ratio(prompt_tokens + output_tokens, level.duration_s);
  summary.requests_per_s = ratio(successful, level.duration_s);
  summary.ttft_ms = distribution_of(std::move(ttft));
  summary.itl_ms = distribution_of(std::move(gaps));
  // Every token counts once, however many shared an event.
  summary.itl_ms.mean = ratio(decode_ms, decode_steps);
  summary.tpot_ms = distribution_of(std::move(tpot));
  summary.e2e_ms = distribution_of(std::move(e2e));
  return summary;
}

}  // namespace hearth::loadgen
