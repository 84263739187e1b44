// A whole benchmark: finds out what the server takes, runs level after level, writes the results.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "loadgen/load_generator.h"
#include "loadgen/prompts.h"
#include "loadgen/run_files.h"

namespace hearth::loadgen {

struct BenchOptions {
  ConnectOptions connect;
  std::string model;  // Empty: the first that the server lists.
  std::string label;  // Empty: the model's name.
  Endpoint endpoint = Endpoint::kCompletions;
  std::vector<std::size_t> concurrency;  // Levels of a closed loop.
  std::vector<double> rates;             // Levels of an open loop, after those.
  std::size_t num_requests = 100;        // Per level.
  std::size_t num_warmup = 5;            // Before each level.
  std::size_t prompt_tokens = 128;
  std::size_t output_tokens = 64;
  std::size_t shared_prefix_tokens = 0;
  bool ignore_eos = true;
  std::optional<std::filesystem::path> dataset;  // Prompts from a file instead of synthetic ones.
  std::uint64_t seed = 0;
  std::filesystem::path output;
};

// What is told while it runs. On the thread that runs the benchmark.
struct BenchObserver {
  std::function<void(std::string_view text)> on_note;  // A decision worth a line.
  std::function<void(LoadKind kind, double load, std::size_t done)> on_progress;
  std::function<void(const LevelSummary& level)> on_level;
};

// Makes options.output, which must not exist yet or be empty, when the server has answered for the
// first time. After every level what is there so far is on disk. Interrupted runs are no error
// here, see BenchRun::interrupted.
Result<BenchRun> run_bench(const BenchOptions& options, const BenchObserver& observer);

}  // namespace hearth::loadgen
