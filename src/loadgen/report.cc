#include "loadgen/report.h"

#include <algorithm>
#include <array>

#include "base/file.h"

namespace hearth::loadgen {
namespace {

constexpr CanvasSize kPlotSize{.width = 720, .height = 440};
constexpr double kSecondsFromMs = 10'000.0;  // Axes that reach so far are in seconds.

struct LatencyPlot {
  std::string_view name;
  std::string_view title;
  Distribution LevelSummary::* values;
};
constexpr std::array<LatencyPlot, 3> kLatencyPlots = {{
    {"ttft", "Time to first token", &LevelSummary::ttft_ms},
    {"itl", "Inter-token latency", &LevelSummary::itl_ms},
    {"e2e", "End-to-end latency", &LevelSummary::e2e_ms},
}};

struct Quantile {
  std::string_view name;
  double Distribution::* value;
};
constexpr std::array<Quantile, 3> kQuantiles = {{
    {"p50", &Distribution::p50},
    {"p95", &Distribution::p95},
    {"p99", &Distribution::p99},
}};

std::string x_label(LoadKind kind) {
  return kind == LoadKind::kConcurrency ? "Concurrent requests" : "Requests per second (offered)";
}

bool has_levels(const BenchRun& run, LoadKind kind) {
  return std::ranges::any_of(run.levels, [&](const LevelSummary& level) {
    return level.kind == kind && level.successful > 0;
  });
}

// One point per level of `kind` that has a successful request.
template <typename Value>
PlotSeries series_of(const BenchRun& run, LoadKind kind, Value value) {
  PlotSeries series;
  for (const LevelSummary& level : run.levels) {
    if (level.kind == kind && level.successful > 0) {
      series.points.push_back({level.load, value(level)});
    }
  }
  std::ranges::sort(series.points, {}, &Point::x);
  return series;
}

Plot throughput_plot(std::span<const BenchRun> runs, LoadKind kind) {
  Plot plot{.title = "Throughput",
            .y_label = "output tokens per second",
            .x_label = x_label(kind),
            .series = {}};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!has_levels(runs[i], kind)) continue;
    PlotSeries series = series_of(
        runs[i], kind, [](const LevelSummary& level) { return level.output_tokens_per_s; });
    series.label = runs[i].label;
    series.color = i;
    plot.series.push_back(std::move(series));
  }
  return plot;
}

// One run: three quantiles in three colours. Several: a colour each, and two quantiles, so that the
// lines can still be told apart.
Plot latency_plot(std::span<const BenchRun> runs, LoadKind kind, const LatencyPlot& what) {
  const std::size_t num_quantiles = runs.size() == 1 ? kQuantiles.size() : 2;
  Plot plot{.title = std::string(what.title),
            .y_label = "milliseconds",
            .x_label = x_label(kind),
            .series = {}};
  double max = 0.0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!has_levels(runs[i], kind)) continue;
    for (std::size_t q = 0; q < num_quantiles; ++q) {
      PlotSeries series = series_of(runs[i], kind, [&](const LevelSummary& level) {
        return level.*what.values.*kQuantiles[q].value;
      });
      series.label = runs.size() == 1 ? std::string(kQuantiles[q].name)
                                      : fmt::format("{} {}", runs[i].label, kQuantiles[q].name);
      series.color = runs.size() == 1 ? q : i;
      series.dashed = q == 1;
      for (const Point& point : series.points)
        max = std::max(max, point.y);
      plot.series.push_back(std::move(series));
    }
  }
  if (max < kSecondsFromMs) return plot;
  plot.y_label = "seconds";
  for (PlotSeries& series : plot.series) {
    for (Point& point : series.points)
      point.y /= 1000.0;
  }
  return plot;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// As an image each SVG keeps its ids to itself; inlined elements of two would mix.
std::string data_uri(std::string_view svg) {
  std::string out = "data:image/svg+xml,";
  for (const char c : svg) {
    if (std::string_view("%#<>\"{}|\\^`\r\n\t&").contains(c)) {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hearth load test</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1480px;
       padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr));
         gap: 1rem; }
.plots img { width: 100%; height: auto; border: 1px solid #ddd; box-sizing: border-box; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
th { background: #f4f4f4; }
th[colspan] { text-align: center; }
th.text, td.text { text-align: left; }
td { white-space: nowrap; }
td.long { white-space: normal; overflow-wrap: anywhere; }
.bad { color: #b00020; }
.note { color: #555; max-width: 60rem; }
</style>
</head>
<body>
)";

constexpr std::string_view kDefinitions = R"(<h2>What the figures mean</h2>
<p class="note">All figures are of successful requests: a 200, a stream that ended with [DONE],
usage, and as many tokens as were asked for. TTFT: from the beginning of the request (connecting
included, where a new connection was needed) to the first event with text. ITL: every gap between
two events with text, pooled over all requests; where an event carries several tokens the gap is
spread evenly over them. TPOT: one mean gap per request. E2E: from the beginning of the request to
the end of its stream. Throughput: tokens of successful requests by the time from the first
request's start to the last one's end, so the time in which a level fills and drains counts.
Percentiles: linear interpolation between the closest ranks. Client CPU: CPU time of the load
generator in per cent of one core.</p>
)";

std::string cell(double value, int decimals) {
  return fmt::format("<td>{:.{}f}</td>", value, decimals);
}

std::string level_row(const BenchRun& run, const LevelSummary& level) {
  std::string row =
      fmt::format("<tr><td class=\"text\">{}</td><td class=\"text\">{}{}</td>", escaped(run.label),
                  load_text(level.kind, level.load), level.interrupted ? " (interrupted)" : "");
  row += fmt::format("<td>{}</td>", level.successful);
  for (const std::size_t bad : {level.errored, level.incomplete})
    row += fmt::format("<td{}>{}</td>", bad > 0 ? " class=\"bad\"" : "", bad);
  row += cell(level.output_tokens_per_s, 1) + cell(level.total_tokens_per_s, 1) +
         cell(level.requests_per_s, 2);
  for (const auto* values : {&level.ttft_ms, &level.itl_ms, &level.e2e_ms}) {
    const int decimals = values == &level.itl_ms ? 2 : 1;
    for (const double value : {values->mean, values->p50, values->p95, values->p99})
      row += cell(value, decimals);
  }
  return row + cell(level.mean_prompt_tokens, 1) + cell(level.mean_cached_tokens, 1) +
         cell(level.mean_output_tokens, 1) + cell(level.client_cpu_percent, 1) + "</tr>\n";
}

std::string level_table(std::span<const BenchRun> runs) {
  std::string out =
      "<h2>Levels</h2>\n<div class=\"wide\"><table>\n<tr><th class=\"text\" rowspan=\"2\">run</th>"
      "<th class=\"text\" rowspan=\"2\">load</th><th colspan=\"3\">requests</th>"
      "<th colspan=\"2\">tokens/s</th><th rowspan=\"2\">requests/s</th>";
  for (const std::string_view name : {"TTFT, ms", "ITL, ms", "E2E, ms"})
    out += fmt::format("<th colspan=\"4\">{}</th>", name);
  out +=
      "<th colspan=\"3\">mean tokens</th><th rowspan=\"2\">client CPU, %</th></tr>\n"
      "<tr><th>successful</th><th>errored</th><th>incomplete</th><th>output</th><th>total</th>";
  for (int i = 0; i < 3; ++i)
    out += "<th>mean</th><th>p50</th><th>p95</th><th>p99</th>";
  out += "<th>prompt</th><th>cached</th><th>output</th></tr>\n";
  for (const BenchRun& run : runs) {
    for (const LevelSummary& level : run.levels)
      out += level_row(run, level);
  }
  return out + "</table></div>\n";
}

std::string error_list(std::span<const BenchRun> runs) {
  std::string items;
  for (const BenchRun& run : runs) {
    for (const LevelSummary& level : run.levels) {
      for (const auto& [text, count] : level.errors) {
        items += fmt::format("<li>{}, {}: {} times: {}</li>\n", escaped(run.label),
                             load_text(level.kind, level.load), count, escaped(text));
      }
    }
  }
  return items.empty() ? items : "<h2 class=\"bad\">Errors</h2>\n<ul>\n" + items + "</ul>\n";
}

std::string value_text(const json::Value& value) {
  return value.as_string() != nullptr ? *value.as_string() : json::dump(value);
}

std::string settings_table(const BenchRun& run) {
  std::string out = fmt::format("<h2>Settings of {}</h2>\n<table>\n", escaped(run.label));
  const auto row = [&](std::string_view name, std::string_view value) {
    out += fmt::format("<tr><td class=\"text\">{}</td><td class=\"text long\">{}</td></tr>\n",
                       escaped(name), escaped(value));
  };
  row("target", run.target);
  row("model", run.model);
  row("started", run.started);
  row("client", run.client);
  for (const json::Member& member : run.settings)
    row(member.key, value_text(member.value));
  for (const json::Member& member : run.server)
    row("server: " + member.key, value_text(member.value));
  return out + "</table>\n";
}

}  // namespace

std::vector<NamedPlot> make_plots(std::span<const BenchRun> runs) {
  std::vector<NamedPlot> plots;
  for (const LoadKind kind : {LoadKind::kConcurrency, LoadKind::kRate}) {
    if (std::ranges::none_of(runs, [&](const auto& run) { return has_levels(run, kind); }))
      continue;
    plots.push_back({fmt::format("throughput-{}", kind_name(kind)), throughput_plot(runs, kind)});
    for (const LatencyPlot& what : kLatencyPlots) {
      plots.push_back(
          {fmt::format("{}-{}", what.name, kind_name(kind)), latency_plot(runs, kind, what)});
    }
  }
  return plots;
}

std::string report_html(std::span<const BenchRun> runs, std::span<const std::string> svgs) {
  std::string page(kHead);
  page += "<h1>Load test</h1>\n";
  for (const BenchRun& run : runs) {
    page += fmt::format("<p><b>{}</b>: {} at {}, {}{}</p>\n", escaped(run.label),
                        escaped(run.model), escaped(run.target), escaped(run.started),
                        run.interrupted ? ", <span class=\"bad\">interrupted</span>" : "");
  }
  page += "<div class=\"plots\">\n";
  for (const std::string& svg : svgs)
    page += fmt::format("<img alt=\"plot\" src=\"{}\">\n", data_uri(svg));
  page += "</div>\n" + level_table(runs) + error_list(runs);
  page += kDefinitions;
  for (const BenchRun& run : runs)
    page += settings_table(run);
  return page + "</body>\n</html>\n";
}

Status write_report(const std::filesystem::path& folder, std::span<const BenchRun> runs) {
  HEARTH_RETURN_IF_ERROR(write_file_atomically(folder / "summary.csv", summary_csv(runs)));
  std::vector<std::string> svgs;
  for (const NamedPlot& named : make_plots(runs)) {
    const Painter painter = [&](Canvas& canvas) { paint_plot(named.plot, kPlotSize, canvas); };
    HEARTH_ASSIGN_OR_RETURN(const std::string svg, draw_svg(kPlotSize, painter));
    HEARTH_ASSIGN_OR_RETURN(const std::string png, draw_png(kPlotSize, painter));
    HEARTH_RETURN_IF_ERROR(write_file_atomically(folder / (named.name + ".svg"), svg));
    HEARTH_RETURN_IF_ERROR(write_file_atomically(folder / (named.name + ".png"), png));
    svgs.push_back(svg);
  }
  return write_file_atomically(folder / "report.html", report_html(runs, svgs));
}

}  // namespace hearth::loadgen
