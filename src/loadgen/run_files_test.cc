#include "loadgen/run_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "loadgen/report.h"
#include "tests/support/temp_directory.h"

// Fontconfig keeps what it found of the fonts until the process ends; the leak checker asks here.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libfontconfig";
}

namespace hearth::loadgen {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

LevelSummary level_of(LoadKind kind, double load, double scale) {
  LevelSummary level{.kind = kind, .load = load, .successful = 10, .duration_s = 2.0};
  level.output_tokens_per_s = 100.0 * scale;
  for (Distribution* values : {&level.ttft_ms, &level.itl_ms, &level.tpot_ms, &level.e2e_ms}) {
    *values = {.count = 10,
               .mean = 1.5 * scale,
               .min = 0.5 * scale,
               .p50 = scale,
               .p95 = 2 * scale,
               .p99 = 3 * scale,
               .max = 4 * scale};
  }
  return level;
}

BenchRun make_run(std::string label, std::size_t num_levels = 3) {
  BenchRun run;
  run.label = std::move(label);
  run.target = "http://host:1/v1";
  run.model = "m<b>";
  run.started = "2026-01-01T00:00:00Z";
  run.client = "hearth 1";
  run.settings = {{"seed", 5}};
  run.server = {{"models", json::Array{"m"}}};
  for (std::size_t i = 1; i <= num_levels; ++i) {
    run.levels.push_back(
        level_of(LoadKind::kConcurrency, static_cast<double>(i), static_cast<double>(i)));
  }
  return run;
}

std::vector<std::string> names_of(const std::vector<NamedPlot>& plots) {
  std::vector<std::string> names;
  for (const NamedPlot& plot : plots)
    names.push_back(plot.name);
  return names;
}

TEST(RunFiles, ARunReadsBackAsItWas) {
  BenchRun run = make_run("a");
  run.interrupted = true;
  run.levels[1].errors = {{"refused", 3}};
  run.levels[2].kind = LoadKind::kRate;
  run.levels[2].load = 2.5;
  const json::Value value = run_json(run);
  const auto again = parse_run(json::dump(value, {.indent = 2}));
  ASSERT_TRUE(again.has_value()) << again.error().message();
  EXPECT_EQ(run_json(*again), value);
  EXPECT_EQ(again->levels[1].errors, run.levels[1].errors);
  EXPECT_EQ(again->levels[2].itl_ms.p95, 6.0);
}

TEST(RunFiles, DamagedRunsAreRefusedWithTheField) {
  const std::string text = json::dump(run_json(make_run("a")));
  const auto error_with = [&](std::string_view from, std::string_view to) {
    std::string damaged = text;
    damaged.replace(damaged.find(from), from.size(), to);
    const auto run = parse_run(damaged);
    return run.has_value() ? std::string("no error") : run.error().message();
  };
  EXPECT_THAT(error_with("\"label\":\"a\"", "\"label\":1"), HasSubstr("'label'"));
  EXPECT_THAT(error_with("\"load\"", "\"lode\""), HasSubstr("'load'"));
  EXPECT_THAT(error_with("\"itl_ms\"", "\"itl\""), HasSubstr("itl_ms"));
  EXPECT_THAT(error_with("\"p95\"", "\"p90\""), HasSubstr("'p95'"));
  EXPECT_THAT(error_with("\"version\":1", "\"version\":2"), HasSubstr("version 2"));
  EXPECT_FALSE(parse_run("[]").has_value());
  EXPECT_FALSE(parse_run("").has_value());
}

TEST(RunFiles, CsvHasALinePerLevelAndQuotesWhatNeedsIt) {
  const std::vector<BenchRun> runs = {make_run("plain"), make_run("a,\"b\"", 1)};
  const std::string csv = summary_csv(runs);
  EXPECT_EQ(std::ranges::count(csv, '\n'), 5);
  EXPECT_THAT(csv, StartsWith("run,kind,load,successful,"));
  EXPECT_THAT(csv, HasSubstr("\r\nplain,concurrency,2,10,0,0,2.000,"));
  EXPECT_THAT(csv, HasSubstr("\r\n\"a,\"\"b\"\"\",concurrency,1,"));
  const std::size_t columns = static_cast<std::size_t>(
      std::count(csv.begin(), csv.begin() + static_cast<std::ptrdiff_t>(csv.find('\r')), ','));
  EXPECT_EQ(columns, 3u + 3u + 8u + 4u * 6u - 1u);
}

TEST(RunFiles, ALevelHasItsRequests) {
  LevelResult level{.kind = LoadKind::kRate, .load = 0.5, .warmup_requests = 2};
  level.records.push_back({.outcome = Outcome::kSuccess, .gaps_ms = {1.5}, .output_tokens = 2});
  const std::string text = json::dump(level_json(level));
  EXPECT_THAT(text, HasSubstr("\"warmup_requests\":2"));
  EXPECT_THAT(text, HasSubstr("\"outcome\":\"successful\""));
  EXPECT_THAT(text, HasSubstr("\"itl_ms\":[1.5]"));
  EXPECT_EQ(level_file_name(level.kind, level.load), "level-rate-0.5.json");
  EXPECT_EQ(level_file_name(LoadKind::kConcurrency, 100), "level-concurrency-100.json");
}

TEST(Plots, OneRunShowsThreeQuantilesAndSeveralRunsTwoEach) {
  const std::vector<BenchRun> runs = {make_run("a"), make_run("b")};
  const auto one = make_plots({runs.data(), 1});
  EXPECT_THAT(names_of(one), ElementsAre("throughput-concurrency", "ttft-concurrency",
                                         "itl-concurrency", "e2e-concurrency"));
  EXPECT_EQ(one[1].plot.series.size(), 3u);
  const auto two = make_plots(runs);
  ASSERT_EQ(two[1].plot.series.size(), 4u);
  EXPECT_EQ(two[1].plot.series[3].label, "b p95");
  EXPECT_EQ(two[1].plot.series[3].color, two[1].plot.series[2].color);
  EXPECT_TRUE(two[1].plot.series[3].dashed);
  EXPECT_EQ(two[0].plot.series[1].points[2].y, 300.0);
}

TEST(Plots, LongTimesAreInSeconds) {
  BenchRun run = make_run("a");
  run.levels[2].e2e_ms.p99 = 20'000;
  const auto plots = make_plots({&run, 1});
  EXPECT_EQ(plots[3].plot.y_label, "seconds");
  EXPECT_EQ(plots[3].plot.series[2].points[2].y, 20.0);
  EXPECT_EQ(plots[1].plot.y_label, "milliseconds");
}

TEST(Plots, RunsWithoutLevelsOfAKindAreNotInItsLegend) {
  std::vector<BenchRun> runs = {make_run("a"), make_run("b")};
  for (LevelSummary& level : runs[0].levels)
    level.kind = LoadKind::kRate;
  const auto plots = make_plots(runs);
  ASSERT_EQ(plots.size(), 8u);
  ASSERT_EQ(plots[0].plot.series.size(), 1u);
  EXPECT_EQ(plots[0].plot.series[0].label, "b");
  EXPECT_EQ(plots[0].plot.series[0].color, 1u) << "a run has one color in all plots";
  EXPECT_EQ(plots[4].plot.series[0].label, "a");
}

TEST(Plots, LevelsWithoutSuccessHaveNoPoint) {
  BenchRun run = make_run("a");
  for (LevelSummary& level : run.levels)
    level.successful = 0;
  EXPECT_THAT(make_plots({&run, 1}), IsEmpty());
}

TEST(Report, IsWrittenWithEveryFileAndEscapesForeignText) {
  BenchRun run = make_run("<script>&\"", 1);
  run.levels.push_back(level_of(LoadKind::kRate, 0.5, 1e6));
  run.levels[0].errors = {{"<bad>", 1}};
  const test::TempDirectory folder;
  const Status written = write_report(folder.path(), {&run, 1});
  ASSERT_TRUE(written.ok()) << written.message();
  const auto read = [&](const std::string& name) {
    return read_text_file(folder.path() / name, 10 << 20).value();
  };
  for (const NamedPlot& plot : make_plots({&run, 1})) {
    const std::string svg = read(plot.name + ".svg");
    EXPECT_THAT(svg, StartsWith("<?xml"));
    EXPECT_THAT(svg, HasSubstr("</svg>"));
    EXPECT_THAT(read(plot.name + ".png"), StartsWith("\x89PNG\r\n"));
  }
  EXPECT_THAT(read("summary.csv"), StartsWith("run,"));
  const std::string page = read("report.html");
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;&amp;&quot;"));
  EXPECT_THAT(page, HasSubstr("&lt;bad&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("m<b>")));
  EXPECT_THAT(page, HasSubstr("src=\"data:image/svg+xml,%3C?xml"));
  EXPECT_THAT(page, Not(HasSubstr("src=\"http")));
}

TEST(RoundTicks, AreOneTwoOrFiveTimesAPowerOfTen) {
  EXPECT_EQ(round_ticks(100).step, 20.0);
  EXPECT_EQ(round_ticks(100).end(), 100.0);
  EXPECT_EQ(round_ticks(101).end(), 120.0);
  EXPECT_EQ(round_ticks(7).step, 1.0);
  EXPECT_EQ(round_ticks(8).step, 2.0);
  EXPECT_EQ(round_ticks(0.3).text(1), "0.05");
  EXPECT_EQ(round_ticks(30'000).text(3), "15000");
  EXPECT_EQ(round_ticks(1).text(1), "0.2");
}

TEST(RoundTicks, CoverEveryMaximum) {
  for (double max = 1e-6; max < 1e9; max *= 1.37) {
    const Ticks ticks = round_ticks(max);
    EXPECT_GE(ticks.end(), max * (1 - 1e-9)) << max;
    EXPECT_LT(ticks.end() - ticks.step, max) << max;
    EXPECT_GE(ticks.num_steps, 3u) << max;
    EXPECT_LE(ticks.num_steps, 7u) << max;
  }
  EXPECT_EQ(round_ticks(0).end(), 1.0);
}

}  // namespace
}  // namespace hearth::loadgen
