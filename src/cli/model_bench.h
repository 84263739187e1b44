// Raw speed of a model on this machine, for `hearth bench model`: the engine's forward pass without
// scheduling, sampling and HTTP.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/model_runner.h"
#include "kernels/device.h"
#include "kernels/machine_peaks.h"
#include "kv/kv_storage.h"
#include "models/model.h"
#include "models/step_work.h"

namespace hearth {

struct ModelBenchOptions {
  std::vector<std::size_t> prompts = {128, 512, 2048};  // Lengths to evaluate; zeros do not count.
  std::vector<std::size_t> contexts = {128, 2048};      // Positions before one stream decodes.
  std::vector<std::size_t> batches = {8, 32};  // Streams that decode at the first of the contexts.
  std::size_t decode_len = 64;                 // Tokens that each stream decodes; 0: none.
  std::size_t repeat = 3;
  std::size_t max_batched_tokens = 512;  // Of one step, as in the server.
  DType kv_cache_dtype = DType::kF16;
};

enum class BenchKind : bool { kPrefill, kDecode };

struct BenchCase {
  BenchKind kind = BenchKind::kPrefill;
  std::size_t num_sequences = 1;
  std::size_t context = 0;  // Positions in each sequence's cache at the start.
  std::size_t len = 0;      // Tokens of the prompt, or tokens each stream decodes.

  std::size_t num_tokens() const { return num_sequences * len; }
  std::size_t num_positions() const { return context + len; }
};

// What the options ask for, in order: prompts, single streams, batches.
std::vector<BenchCase> bench_cases(const ModelBenchOptions& options);

struct BenchResult {
  BenchCase test;
  StepWork work;                // Of all its steps.
  std::vector<double> seconds;  // One per repetition, never empty.

  double median_seconds() const;
  double tokens_per_s() const;
  double bytes_per_s() const;
  double macs_per_s() const;
  // Of what the machine could at most; nullopt where its peak is unknown. Compute: the time that
  // the quantized products take at the int8 peak and all others at the fp32 peak, over the time
  // taken.
  double bandwidth_percent(const MachinePeaks& peaks) const;
  std::optional<double> compute_percent(const MachinePeaks& peaks) const;
};

// Owned and used by one thread. What it borrows outlives it.
class ModelBench {
 public:
  // kOutOfRange when a case is longer than the model's context; kResourceExhausted when the
  // sequences do not fit into memory.
  static Result<ModelBench> create(Model& model, const StepWorkCounter& work,
                                   const ModelBenchOptions& options);

  // Every case once per repetition, in turns, so that a disturbance of the machine meets them all.
  std::vector<BenchResult> run();

 private:
  ModelBench(ModelRunner runner, KvStorage kv, const StepWorkCounter& work,
             const ModelBenchOptions& options, std::size_t vocab_size);
  StepWork compute(const BenchCase& test);
  void step(const StepRows& rows, std::size_t blocks_per_sequence);

  ModelRunner runner_;
  KvStorage kv_;
  const StepWorkCounter* work_;
  ModelBenchOptions options_;
  std::vector<BlockId> blocks_;       // All of kv_, shared out anew by every case.
  std::vector<std::int32_t> tokens_;  // [max_batched_tokens]
  StepPlan plan_;
};

// What was measured, on what.
struct ModelBenchReport {
  std::string model;  // File name.
  std::uint64_t file_bytes = 0;
  std::size_t num_parameters = 0;
  std::string device;
  std::size_t num_threads = 0;
  DType kv_cache_dtype = DType::kF16;
  MachinePeaks peaks;
  std::vector<BenchResult> results;
};

std::string report_text(const ModelBenchReport& report);
json::Value report_json(const ModelBenchReport& report);

}  // namespace hearth
