#include "loadgen/bench_run.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/build_info.h"
#include "base/clock.h"
#include "base/file.h"
#include "loadgen/arrivals.h"
#include "loadgen/report.h"

namespace hearth::loadgen {
namespace {

// Ids below are control tokens in many vocabularies; above it is the vocabulary's end where the
// server tells it, and at most what all of today's larger ones have as ordinary tokens.
constexpr std::int64_t kFirstId = 1000;
constexpr std::int64_t kLastId = 30'000;
constexpr int kCalibrationRounds = 3;

std::string utc_now() {
  const auto now = std::chrono::floor<std::chrono::seconds>(system_clock().wall_now());
  const auto day = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(now - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count());
}

Status make_output_folder(const std::filesystem::path& folder) {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) {
    return make_status(StatusCode::kUnavailable, "cannot make the folder '{}': {}", folder.string(),
                       ec.message());
  }
  if (!std::filesystem::is_empty(folder, ec) || ec) {
    return make_status(StatusCode::kInvalidArgument,
                       "the folder '{}' is not empty; results are never overwritten",
                       folder.string());
  }
  return {};
}

class Bench {
 public:
  Bench(const BenchOptions& options, const BenchObserver& observer)
      : options_(options), observer_(observer) {}

  Result<BenchRun> run();

 private:
  Status choose_model();
  Status choose_prompts();
  Status calibrate_words(SyntheticOptions synthetic);
  Result<RequestRecord> probe(const SyntheticOptions& synthetic);
  json::Object settings() const;
  Status run_level(LoadKind kind, double load);
  std::vector<PlannedRequest> plan(std::size_t count);
  LevelResult measure(LoadKind kind, double load, std::span<const PlannedRequest> requests);
  Status write(const LevelResult& level);
  bool has_ids() const { return id_end_ > 0; }

  const BenchOptions& options_;
  const BenchObserver& observer_;
  std::unique_ptr<LoadGenerator> generator_;
  ServerIdentity identity_;
  RequestForm form_;
  std::unique_ptr<PromptSource> prompts_;
  std::string prompt_kind_;
  std::int64_t id_end_ = 0;
  std::uint64_t level_seed_ = 0;
  BenchRun run_;
};

Status Bench::choose_model() {
  form_ = {.endpoint = options_.endpoint,
           .model = options_.model.empty() ? identity_.models.front() : options_.model,
           .output_tokens = options_.output_tokens,
           .ignore_eos = options_.ignore_eos};
  if (std::ranges::find(identity_.models, form_.model) != identity_.models.end()) return {};
  return make_status(StatusCode::kNotFound, "model '{}' is not served at {}, which lists: {}",
                     form_.model, options_.connect.target.url(), fmt::join(identity_.models, ", "));
}

// One short answer to a prompt of the kind to be measured: a mistake in the options shows here, not
// in every request of every level.
Result<RequestRecord> Bench::probe(const SyntheticOptions& synthetic) {
  RequestForm form = form_;
  form.output_tokens = 1;
  // Other prompts than the measured ones, which no cache may know.
  SyntheticOptions unlike = synthetic;
  unlike.seed = ~synthetic.seed;
  RequestRecord record =
      generator_->try_request(form.endpoint, plan_request(form, SyntheticPrompts(unlike).next()));
  if (generator_->interrupted()) return error(StatusCode::kCancelled, "interrupted");
  return record;
}

Status Bench::choose_prompts() {
  if (options_.dataset) {
    HEARTH_ASSIGN_OR_RETURN(DatasetPrompts dataset,
                            DatasetPrompts::load(*options_.dataset, options_.endpoint));
    prompt_kind_ = fmt::format("data set of {} prompts", dataset.size());
    prompts_ = std::make_unique<DatasetPrompts>(std::move(dataset));
    return {};
  }
  SyntheticOptions synthetic{.endpoint = options_.endpoint,
                             .length = options_.prompt_tokens,
                             .shared_prefix = options_.shared_prefix_tokens,
                             .seed = options_.seed};
  if (options_.endpoint == Endpoint::kChat) return calibrate_words(synthetic);

  synthetic.id_end = identity_.vocab_size > 0 ? std::min(identity_.vocab_size, kLastId) : kLastId;
  synthetic.id_begin = std::min(kFirstId, synthetic.id_end / 2);
  HEARTH_ASSIGN_OR_RETURN(const RequestRecord record, probe(synthetic));
  if (record.outcome != Outcome::kSuccess || record.prompt_tokens < options_.prompt_tokens) {
    observer_.on_note(
        fmt::format("prompts are text, because token ids did not work: {}",
                    record.error.empty() ? "they were counted differently" : record.error));
    synthetic.id_begin = synthetic.id_end = 0;
    return calibrate_words(synthetic);
  }
  prompt_kind_ =
      fmt::format("random token ids from {} to {}", synthetic.id_begin, synthetic.id_end - 1);
  prompts_ = std::make_unique<SyntheticPrompts>(synthetic);
  return {};
}

// Finds the number of words that the server counts as the tokens asked for, its own additions (a
// chat template, BOS) included.
Status Bench::calibrate_words(SyntheticOptions synthetic) {
  std::uint64_t counted = 0;
  for (int round = 0; round < kCalibrationRounds; ++round) {
    HEARTH_ASSIGN_OR_RETURN(const RequestRecord record, probe(synthetic));
    if (record.outcome != Outcome::kSuccess) {
      return make_status(StatusCode::kUnavailable, "a first request to {} failed: {}",
                         options_.connect.target.url(endpoint_path(options_.endpoint)),
                         record.error);
    }
    counted = record.prompt_tokens;
    if (counted == options_.prompt_tokens) break;
    const auto words = static_cast<double>(synthetic.length);
    const double wanted =
        words + static_cast<double>(options_.prompt_tokens) - static_cast<double>(counted);
    // The additions alone may be more than what was asked for.
    synthetic.length = static_cast<std::size_t>(std::max(wanted, 1.0));
  }
  synthetic.shared_prefix = std::min(synthetic.shared_prefix, synthetic.length);
  if (counted != options_.prompt_tokens) {
    observer_.on_note(fmt::format("prompts have about {} tokens; {} could not be hit with words",
                                  counted, options_.prompt_tokens));
  }
  prompt_kind_ = fmt::format("{} random words", synthetic.length);
  prompts_ = std::make_unique<SyntheticPrompts>(synthetic);
  return {};
}

json::Object Bench::settings() const {
  json::Object out{
      {"endpoint", endpoint_path(options_.endpoint)},
      {"prompts", prompt_kind_},
      {"output tokens", std::uint64_t{options_.output_tokens}},
      {"ignore_eos", options_.ignore_eos},
      {"requests per level", std::uint64_t{options_.num_requests}},
      {"warm-up requests", std::uint64_t{options_.num_warmup}},
      {"seed", options_.seed},
      {"request timeout, s", static_cast<double>(options_.connect.request_timeout.count()) / 1e3}};
  if (options_.dataset) {
    out.append("data set", options_.dataset->string());
  } else {
    out.append("prompt tokens", std::uint64_t{options_.prompt_tokens});
    out.append("shared prefix tokens", std::uint64_t{options_.shared_prefix_tokens});
  }
  return out;
}

std::vector<PlannedRequest> Bench::plan(std::size_t count) {
  std::vector<PlannedRequest> requests;
  requests.reserve(count);
  while (requests.size() < count)
    requests.push_back(plan_request(form_, prompts_->next()));
  return requests;
}

LevelResult Bench::measure(LoadKind kind, double load, std::span<const PlannedRequest> requests) {
  const auto progress = [&](std::size_t done) { observer_.on_progress(kind, load, done); };
  if (kind == LoadKind::kConcurrency) {
    return generator_->run_closed(form_.endpoint, requests, static_cast<std::size_t>(load),
                                  progress);
  }
  const auto arrivals = poisson_arrivals(requests.size(), load, options_.seed + level_seed_);
  LevelResult level = generator_->run_open(form_.endpoint, requests, arrivals, progress);
  level.load = load;
  return level;
}

Status Bench::run_level(LoadKind kind, double load) {
  ++level_seed_;
  prompts_->begin_level();
  // Warm-up is side by side as the level is, so that the connections are open as well.
  const std::vector<PlannedRequest> warmup = plan(options_.num_warmup);
  generator_->run_closed(form_.endpoint, warmup, std::max<std::size_t>(warmup.size(), 1));
  const std::vector<PlannedRequest> requests = plan(options_.num_requests);
  LevelResult level = measure(kind, load, requests);
  level.warmup_requests = warmup.size();
  if (level.interrupted && level.records.empty()) return {};
  run_.levels.push_back(summarize(level));
  observer_.on_level(run_.levels.back());
  return write(level);
}

Status Bench::write(const LevelResult& level) {
  const auto path = options_.output / level_file_name(level.kind, level.load);
  HEARTH_RETURN_IF_ERROR(write_file_atomically(path, json::dump(level_json(level)) + "\n"));
  return write_file_atomically(options_.output / "run.json",
                               json::dump(run_json(run_), {.indent = 2}) + "\n");
}

Result<BenchRun> Bench::run() {
  HEARTH_ASSIGN_OR_RETURN(generator_, LoadGenerator::create(options_.connect));
  HEARTH_ASSIGN_OR_RETURN(identity_, generator_->identify());
  HEARTH_RETURN_IF_ERROR(choose_model());
  HEARTH_RETURN_IF_ERROR(choose_prompts());
  HEARTH_RETURN_IF_ERROR(make_output_folder(options_.output));
  run_ = {.label = options_.label.empty() ? form_.model : options_.label,
          .target = options_.connect.target.url(),
          .model = form_.model,
          .started = utc_now(),
          .client = fmt::format("hearth {}", build_info().version),
          .settings = settings(),
          .server = {{"header", identity_.server_header}, {"models", identity_.models_answer}},
          .interrupted = false,
          .levels = {}};
  for (const std::size_t concurrency : options_.concurrency) {
    if (!generator_->interrupted()) {
      HEARTH_RETURN_IF_ERROR(run_level(LoadKind::kConcurrency, static_cast<double>(concurrency)));
    }
  }
  for (const double rate : options_.rates) {
    if (!generator_->interrupted()) HEARTH_RETURN_IF_ERROR(run_level(LoadKind::kRate, rate));
  }
  run_.interrupted = generator_->interrupted();
  HEARTH_RETURN_IF_ERROR(write_file_atomically(options_.output / "run.json",
                                               json::dump(run_json(run_), {.indent = 2}) + "\n"));
  HEARTH_RETURN_IF_ERROR(write_report(options_.output, {&run_, 1}));
  return run_;
}

}  // namespace

Result<BenchRun> run_bench(const BenchOptions& options, const BenchObserver& observer) {
  return Bench(options, observer).run();
}

}  // namespace hearth::loadgen
