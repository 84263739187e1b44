// What a run of the load generator measured.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "loadgen/statistics.h"

namespace hearth::loadgen {

enum class Outcome {
  kSuccess,
  kErrored,     // Refused, not reachable, timed out, or an error in the stream.
  kIncomplete,  // Began well, but ended early or without saying how it ended.
};

struct RequestRecord {
  Outcome outcome = Outcome::kErrored;
  std::string error = {};            // Empty after success.
  double start_s = 0.0;              // After the beginning of the level.
  double ttft_ms = 0.0;              // Until the first text; 0 when none came.
  double e2e_ms = 0.0;               // Until the end of the response.
  double decode_ms = 0.0;            // From the first to the last text.
  std::vector<double> gaps_ms = {};  // Between texts, per token.
  std::uint64_t prompt_tokens = 0;   // As the server counts them, like the next two.
  std::uint64_t cached_tokens = 0;
  std::uint64_t output_tokens = 0;
};

// Closed loop: a fixed number of requests under way. Open loop: requests begin at a mean rate,
// whatever is under way.
enum class LoadKind { kConcurrency, kRate };

struct LevelResult {
  LoadKind kind = LoadKind::kConcurrency;
  double load = 0.0;                        // Requests under way, or per second.
  std::vector<RequestRecord> records = {};  // In the order of their start.
  double duration_s = 0.0;                  // From the first start to the last end.
  double client_cpu_s = 0.0;                // CPU time of the load generator meanwhile.
  std::size_t warmup_requests = 0;          // Before the level, not in the records.
  bool interrupted = false;  // Requests under way at that moment are not in the records.
};

struct LevelSummary {
  LoadKind kind = LoadKind::kConcurrency;
  double load = 0.0;
  std::size_t successful = 0;
  std::size_t errored = 0;
  std::size_t incomplete = 0;
  bool interrupted = false;
  double duration_s = 0.0;
  double client_cpu_percent = 0.0;  // Of one core.
  // Of successful requests only, like all below.
  double output_tokens_per_s = 0.0;
  double total_tokens_per_s = 0.0;
  double requests_per_s = 0.0;
  double mean_prompt_tokens = 0.0;
  double mean_cached_tokens = 0.0;
  double mean_output_tokens = 0.0;
  Distribution ttft_ms = {};
  Distribution itl_ms = {};   // All gaps of all requests.
  Distribution tpot_ms = {};  // One mean gap per request.
  Distribution e2e_ms = {};
  // The first error texts with their number, in the order of their appearance.
  std::vector<std::pair<std::string, std::size_t>> errors = {};
};

LevelSummary summarize(const LevelResult& level);

std::string_view outcome_name(Outcome outcome);
// "concurrency" or "rate".
std::string_view kind_name(LoadKind kind);
// "concurrency 5", "2.5 requests/s".
std::string load_text(LoadKind kind, double load);

}  // namespace hearth::loadgen
