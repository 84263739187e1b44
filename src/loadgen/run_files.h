// The files of a run: what was measured as JSON and CSV, and back.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "loadgen/run_result.h"

namespace hearth::loadgen {

// A run as the report shows it; run.json holds exactly this.
struct BenchRun {
  std::string label;   // What legends call it.
  std::string target;  // URL.
  std::string model;
  std::string started;    // UTC, ISO 8601.
  std::string client;     // "hearth 0.1.0"
  json::Object settings;  // Name to value, in the order of the report.
  json::Object server;    // What the server said about itself.
  bool interrupted = false;
  std::vector<LevelSummary> levels;
};

json::Value run_json(const BenchRun& run);
// kInvalidArgument names the field that is missing or of another type.
Result<BenchRun> parse_run(std::string_view text);
// The summary and every request with its gaps.
json::Value level_json(const LevelResult& level);
// One line per level of every run, after a line of column names (RFC 4180).
std::string summary_csv(std::span<const BenchRun> runs);

// "level-concurrency-5.json"
std::string level_file_name(LoadKind kind, double load);

// run.json in `folder`; the error names the file.
Result<BenchRun> read_run(const std::filesystem::path& folder);

}  // namespace hearth::loadgen
