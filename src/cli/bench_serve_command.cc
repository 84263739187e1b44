#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "loadgen/bench_run.h"

namespace hearth {
namespace {

using loadgen::LevelSummary;
using loadgen::LoadKind;

// One line on standard error per level; on a terminal it counts the requests as they end.
class ProgressLine {
 public:
  explicit ProgressLine(std::size_t num_requests) : num_requests_(num_requests) {}

  void note(std::string_view text) const { fmt::print(stderr, "{}\n", single_line(text)); }

  void update(LoadKind kind, double load, std::size_t done) {
    constexpr std::chrono::milliseconds kInterval{100};
    const auto now = system_clock().now();
    if (!is_terminal_ || now - shown_at_ < kInterval) return;
    shown_at_ = now;
    fmt::print(stderr, "\r\x1b[K{}: {} of {} requests", load_text(kind, load), done, num_requests_);
  }

  void end(const LevelSummary& level) const {
    std::string trouble;
    if (level.errored > 0) trouble += fmt::format(", {} errored", level.errored);
    if (level.incomplete > 0) trouble += fmt::format(", {} incomplete", level.incomplete);
    fmt::print(stderr,
               "{}{}: {} successful{}; {:.1f} output tokens/s, TTFT p50 {:.1f} ms, ITL p50 {:.2f} "
               "ms, E2E p50 {:.1f} ms\n",
               is_terminal_ ? "\r\x1b[K" : "", load_text(level.kind, level.load), level.successful,
               trouble, level.output_tokens_per_s, level.ttft_ms.p50, level.itl_ms.p50,
               level.e2e_ms.p50);
  }

 private:
  std::size_t num_requests_;
  bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
  std::chrono::steady_clock::time_point shown_at_;
};

std::string level_table(const loadgen::BenchRun& run) {
  std::vector<std::vector<std::string>> rows = {{"load", "ok", "errored", "incomplete", "output/s",
                                                 "total/s", "requests/s", "TTFT p50", "p95",
                                                 "ITL p50", "p95", "E2E p50", "p95"}};
  for (const LevelSummary& level : run.levels) {
    rows.push_back({load_text(level.kind, level.load), fmt::format("{}", level.successful),
                    fmt::format("{}", level.errored), fmt::format("{}", level.incomplete),
                    fmt::format("{:.1f}", level.output_tokens_per_s),
                    fmt::format("{:.1f}", level.total_tokens_per_s),
                    fmt::format("{:.2f}", level.requests_per_s)});
    for (const auto* values : {&level.ttft_ms, &level.itl_ms, &level.e2e_ms}) {
      rows.back().push_back(fmt::format("{:.1f}", values->p50));
      rows.back().push_back(fmt::format("{:.1f}", values->p95));
    }
  }
  std::vector<bool> right(rows.front().size(), true);
  right.front() = false;
  return format_table(rows, right);
}

std::filesystem::path default_output() {
  const auto now =
      std::chrono::floor<std::chrono::seconds>(system_clock().wall_now()).time_since_epoch();
  return fmt::format("hearth-bench-{}", now.count());
}

template <typename T>
bool has_repeats(std::vector<T> values) {
  std::ranges::sort(values);
  return std::ranges::adjacent_find(values) != values.end();
}

loadgen::BenchOptions default_options() {
  loadgen::BenchOptions options;
  options.concurrency = {1, 5, 10, 15, 25, 30, 35, 40, 45, 50, 55, 100};
  return options;
}

class BenchServeCommand final : public Command {
 public:
  std::string_view name() const override { return "bench serve"; }
  std::string_view summary() const override {
    return "Measure a server of the OpenAI API under load";
  }

  void declare(OptionSet& options) override {
    options.section("Server");
    options.add(target_, {.name = "target",
                          .help = "The server's URL, with or without /v1 at its end.",
                          .placeholder = "URL"});
    options.add(bench_.connect.api_key,
                {.name = "api-key", .help = "Sent as a bearer token.", .secret = true});
    options.add(bench_.model, {.name = "model",
                               .help = "Name of the model. Empty: the first one listed.",
                               .placeholder = "NAME"});
    options.add(bench_.connect.request_timeout,
                {.name = "request-timeout",
                 .help = "A request without a complete answer after this time has errored."},
                {.min = 1});
    declare_load(options);
    declare_prompts(options);
    options.section("Results");
    options.add(bench_.output, {.name = "output",
                                .help = "Folder for the results, new or empty. Empty: "
                                        "hearth-bench-<time> in the current one."});
    options.add(bench_.label, {.name = "label",
                               .help = "Name of this run in plots and tables. Empty: the model's.",
                               .placeholder = "NAME"});
  }

  Status check() override {
    if (target_.empty()) {
      return Status(StatusCode::kInvalidArgument,
                    "no --target given; see hearth bench serve --help");
    }
    HEARTH_ASSIGN_OR_RETURN(bench_.connect.target, loadgen::parse_target(target_));
    if (!std::ranges::all_of(bench_.connect.api_key, [](char c) { return c > ' ' && c < 0x7f; })) {
      return Status(StatusCode::kInvalidArgument,
                    "--api-key has characters that no HTTP header may hold");
    }
    if (has_repeats(bench_.concurrency) || has_repeats(bench_.rates)) {
      return Status(StatusCode::kInvalidArgument, "a level is given twice");
    }
    const std::size_t most = std::ranges::max(bench_.concurrency);
    if (bench_.rates.empty() && most > bench_.num_requests) {
      return make_status(StatusCode::kInvalidArgument,
                         "--concurrency {} needs at least as many --requests, not {}", most,
                         bench_.num_requests);
    }
    if (bench_.shared_prefix_tokens > bench_.prompt_tokens) {
      return make_status(StatusCode::kInvalidArgument,
                         "--shared-prefix-tokens {} is more than --prompt-tokens {}",
                         bench_.shared_prefix_tokens, bench_.prompt_tokens);
    }
    if (!dataset_.empty() && bench_.shared_prefix_tokens > 0) {
      return Status(StatusCode::kInvalidArgument,
                    "--shared-prefix-tokens is for synthetic prompts, not for --dataset");
    }
    return {};
  }

  Status run() override {
    if (!bench_.rates.empty()) bench_.concurrency.clear();
    if (!dataset_.empty()) bench_.dataset = dataset_;
    if (bench_.output.empty()) bench_.output = default_output();
    if (bench_.seed == 0) bench_.seed = std::random_device{}();
    ProgressLine line(bench_.num_requests);
    const loadgen::BenchObserver observer{
        .on_note = [&](std::string_view text) { line.note(text); },
        .on_progress = [&](LoadKind kind, double load,
                           std::size_t done) { line.update(kind, load, done); },
        .on_level = [&](const LevelSummary& level) { line.end(level); }};
    HEARTH_ASSIGN_OR_RETURN(const loadgen::BenchRun run, run_bench(bench_, observer));
    HEARTH_RETURN_IF_ERROR(
        print(level_table(run) + fmt::format("Times in ms. Report: {}\n", report_path().string())));
    return verdict(run);
  }

 private:
  void declare_load(OptionSet& options) {
    options.section("Load");
    options.add(bench_.concurrency,
                {.name = "concurrency",
                 .help = "Closed loop: a level for each number of requests under way."},
                {.min = 1, .max = 10'000});
    options.add(bench_.rates,
                {.name = "rates",
                 .help = "Open loop instead: a level for each mean number of requests per second, "
                         "with Poisson arrivals."},
                {0.001, 10'000.0});
    options.add(bench_.num_requests, {.name = "requests", .help = "Requests of every level."},
                {.min = 1, .max = 1'000'000});
    options.add(
        bench_.num_warmup,
        {.name = "warmup-requests", .help = "Before every level, side by side, not counted."},
        {.max = 10'000});
    options.add(bench_.seed,
                {.name = "seed",
                 .help = "Of prompts and arrivals. 0: a random one, so that no cache of the server "
                         "knows the prompts of an earlier run.",
                 .advanced = true},
                {.max = 0xffff'ffff});
  }

  void declare_prompts(OptionSet& options) {
    options.section("Prompts and answers");
    options.add(bench_.prompt_tokens,
                {.name = "prompt-tokens", .help = "Length of synthetic prompts."},
                {.min = 1, .max = 10'000'000});
    options.add(bench_.output_tokens, {.name = "output-tokens", .help = "Length of answers."},
                {.min = 1, .max = 10'000'000});
    options.add(bench_.shared_prefix_tokens,
                {.name = "shared-prefix-tokens",
                 .help = "Prompts of a level have so many first tokens in common, for measuring a "
                         "prefix cache."});
    options.add(dataset_, {.name = "dataset",
                           .help = "JSONL file of prompts instead of synthetic ones: lines with "
                                   "\"prompt\" (text) or, for chat, \"messages\"."});
    options.add(
        bench_.endpoint,
        {.name = "endpoint",
         .help = "completions takes token ids, so that prompts are exactly as long as "
                 "asked for; chat goes through the model's template."},
        {{"completions", loadgen::Endpoint::kCompletions}, {"chat", loadgen::Endpoint::kChat}});
    options.add(
        bench_.ignore_eos,
        {.name = "ignore-eos",
         .help = "Ask for answers that are exactly as long as --output-tokens, else at most "
                 "that; off for servers that refuse the field."});
  }

  std::filesystem::path report_path() const { return bench_.output / "report.html"; }

  Status verdict(const loadgen::BenchRun& run) const {
    if (run.interrupted) {
      return make_status(StatusCode::kCancelled,
                         "interrupted; what was measured until then is in {}",
                         bench_.output.string());
    }
    std::size_t errored = 0;
    std::size_t incomplete = 0;
    std::string first;
    for (const LevelSummary& level : run.levels) {
      errored += level.errored;
      incomplete += level.incomplete;
      if (first.empty() && !level.errors.empty()) first = level.errors.front().first;
    }
    if (errored + incomplete == 0) return {};
    return make_status(StatusCode::kUnavailable,
                       "{} requests errored and {} stayed incomplete, the first one: {}", errored,
                       incomplete, first);
  }

  std::string target_;
  std::filesystem::path dataset_;
  loadgen::BenchOptions bench_ = default_options();
};

}  // namespace

std::unique_ptr<Command> make_bench_serve_command() {
  return std::make_unique<BenchServeCommand>();
}

}  // namespace hearth
