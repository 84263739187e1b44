// Plots and the page that shows one run, or several beside each other.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "loadgen/plot.h"
#include "loadgen/run_files.h"

namespace hearth::loadgen {

struct NamedPlot {
  std::string name;  // Of its files: "ttft-concurrency".
  Plot plot;
};

// Throughput, TTFT, ITL and E2E against concurrency and against rate, as far as there are levels.
std::vector<NamedPlot> make_plots(std::span<const BenchRun> runs);

// An HTML page that needs nothing but itself. `svgs` belong to make_plots() of the same runs.
std::string report_html(std::span<const BenchRun> runs, std::span<const std::string> svgs);

// Writes summary.csv, report.html and every plot as .svg and .png into `folder`, which exists.
Status write_report(const std::filesystem::path& folder, std::span<const BenchRun> runs);

}  // namespace hearth::loadgen
