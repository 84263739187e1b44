#include "cli/model_bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>

#include "engine/memory_budget.h"

namespace hearth {
namespace {

constexpr std::size_t kBlockSize = 16;

std::size_t blocks_per_sequence(const BenchCase& test) {
  return (test.num_positions() + kBlockSize - 1) / kBlockSize;
}

template <typename Value>
std::size_t largest(std::span<const BenchCase> cases, Value value) {
  std::size_t result = 1;
  for (const BenchCase& test : cases)
    result = std::max(result, value(test));
  return result;
}

Status check_memory(const KvShape& shape) {
  HEARTH_ASSIGN_OR_RETURN(const MemoryLimit limit, detect_memory_limit());
  const std::size_t needed = shape.num_blocks * shape.bytes_per_block();
  const auto usable = static_cast<std::size_t>(static_cast<double>(limit.available_bytes) *
                                               kContainerMemoryFraction);
  if (needed <= usable) return {};
  return make_status(StatusCode::kResourceExhausted,
                     "keys and values of the largest case take {} MiB, but {} MiB are available; "
                     "choose smaller --context, --batch or --prompt",
                     needed >> 20, usable >> 20);
}

// Cases that decode start in the middle of a sequence nobody computed: the values do not matter for
// speed, but the memory must be there, and no value may be one that arithmetic treats specially.
void fill(const KvStorage& kv) {
  const std::span<std::byte> memory = kv.memory();
  for (std::size_t i = 0; i + 2 <= memory.size(); i += 2) {
    // 0.06 to 0.12, of both signs.
    const auto value = static_cast<std::uint16_t>(0x2c00 + i / 2 * 37 % 1024 + i / 2 % 2 * 0x8000);
    std::memcpy(memory.data() + i, &value, sizeof(value));
  }
}

}  // namespace

std::vector<BenchCase> bench_cases(const ModelBenchOptions& options) {
  std::vector<BenchCase> cases;
  for (const std::size_t len : options.prompts) {
    if (len > 0) cases.push_back({.kind = BenchKind::kPrefill, .len = len});
  }
  if (options.decode_len == 0) return cases;
  const auto add_decode = [&](std::size_t num_sequences, std::size_t context) {
    cases.push_back({.kind = BenchKind::kDecode,
                     .num_sequences = num_sequences,
                     .context = context,
                     .len = options.decode_len});
  };
  for (const std::size_t context : options.contexts)
    add_decode(1, context);
  for (const std::size_t batch : options.batches) {
    if (batch > 0) add_decode(batch, options.contexts.front());
  }
  return cases;
}

double BenchResult::median_seconds() const {
  std::vector<double> sorted = seconds;
  std::ranges::sort(sorted);
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double BenchResult::tokens_per_s() const {
  return static_cast<double>(test.num_tokens()) / median_seconds();
}

double BenchResult::bytes_per_s() const {
  return static_cast<double>(work.bytes()) / median_seconds();
}

double BenchResult::macs_per_s() const {
  return static_cast<double>(work.macs()) / median_seconds();
}

double BenchResult::bandwidth_percent(const MachinePeaks& peaks) const {
  return bytes_per_s() / peaks.read_bytes_per_s * 100.0;
}

std::optional<double> BenchResult::compute_percent(const MachinePeaks& peaks) const {
  const std::optional<double> int8 = peaks.int8();
  const std::optional<double> fp32 = peaks.fp32();
  if (!int8.has_value() || !fp32.has_value()) return std::nullopt;
  const double shortest = static_cast<double>(work.quantized_macs) / *int8 +
                          static_cast<double>(work.float_macs) / *fp32;
  return shortest / median_seconds() * 100.0;
}

Result<ModelBench> ModelBench::create(Model& model, const StepWorkCounter& work,
                                      const ModelBenchOptions& options) {
  const std::vector<BenchCase> cases = bench_cases(options);
  for (const BenchCase& test : cases) {
    if (test.num_positions() > model.config().context_len) {
      return error(StatusCode::kOutOfRange,
                   "{} tokens of context and {} to compute are more than the model's {}",
                   test.context, test.len, model.config().context_len);
    }
  }
  const std::size_t max_sequences =
      largest(cases, [](const BenchCase& test) { return test.num_sequences; });
  KvShape shape = kv_shape(model.config(), kBlockSize, options.kv_cache_dtype);
  shape.num_blocks = largest(
      cases, [](const BenchCase& test) { return test.num_sequences * blocks_per_sequence(test); });
  HEARTH_RETURN_IF_ERROR(check_memory(shape));
  HEARTH_ASSIGN_OR_RETURN(KvStorage kv, KvStorage::create(shape));
  fill(kv);
  const RunnerLimits limits = {
      .max_num_seqs = max_sequences,
      .max_num_batched_tokens = std::max(options.max_batched_tokens, max_sequences),
      .max_num_logit_rows = max_sequences,
      .max_model_len = largest(cases, [](const BenchCase& test) { return test.num_positions(); })};
  HEARTH_ASSIGN_OR_RETURN(ModelRunner runner, ModelRunner::create(model, limits));
  return ModelBench(std::move(runner), std::move(kv), work, options, model.config().vocab_size);
}

ModelBench::ModelBench(ModelRunner runner, KvStorage kv, const StepWorkCounter& work,
                       const ModelBenchOptions& options, std::size_t vocab_size)
    : runner_(std::move(runner)),
      kv_(std::move(kv)),
      work_(&work),
      options_(options),
      blocks_(kv_.shape().num_blocks),
      tokens_(options.max_batched_tokens) {
  std::iota(blocks_.begin(), blocks_.end(), 0);
  for (std::size_t i = 0; i < tokens_.size(); ++i)
    tokens_[i] = static_cast<std::int32_t>(i * 7919 % vocab_size);
}

void ModelBench::step(const StepRows& rows, std::size_t blocks_per_sequence) {
  plan_.sequences.clear();
  for (std::size_t i = 0; i < rows.num_sequences; ++i) {
    plan_.sequences.push_back(
        {.id = {.request = i},
         .first_position = rows.first_position,
         .tokens = std::span(tokens_).first(rows.rows_per_sequence),
         .block_table = std::span(blocks_).subspan(i * blocks_per_sequence, blocks_per_sequence),
         .num_logit_rows = rows.num_logit_rows / rows.num_sequences});
  }
  plan_.num_tokens = rows.num_sequences * rows.rows_per_sequence;
  plan_.num_logit_rows = rows.num_logit_rows;
  runner_.forward(plan_, kv_);
}

StepWork ModelBench::compute(const BenchCase& test) {
  const bool decode = test.kind == BenchKind::kDecode;
  const std::size_t rows_per_step = decode ? 1 : options_.max_batched_tokens;
  StepWork work;
  for (std::size_t done = 0; done < test.len;) {
    const std::size_t num_rows = std::min(rows_per_step, test.len - done);
    const bool wants_logits = decode || done + num_rows == test.len;
    const StepRows rows = {.num_sequences = test.num_sequences,
                           .first_position = test.context + done,
                           .rows_per_sequence = num_rows,
                           .num_logit_rows = wants_logits ? test.num_sequences : 0};
    step(rows, blocks_per_sequence(test));
    work += work_->count(rows);
    done += num_rows;
  }
  return work;
}

std::vector<BenchResult> ModelBench::run() {
  using SteadyClock = std::chrono::steady_clock;
  std::vector<BenchResult> results;
  for (const BenchCase& test : bench_cases(options_))
    results.push_back({.test = test, .work = {}, .seconds = {}});
  // Brings the weights in and the threads up.
  step({}, 1);
  for (std::size_t i = 0; i < options_.repeat; ++i) {
    for (BenchResult& result : results) {
      const auto start = SteadyClock::now();
      result.work = compute(result.test);
      result.seconds.push_back(std::chrono::duration<double>(SteadyClock::now() - start).count());
    }
  }
  return results;
}

}  // namespace hearth
