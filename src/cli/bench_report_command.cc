#include <algorithm>

#include "cli/command.h"
#include "cli/terminal.h"
#include "loadgen/report.h"

namespace hearth {
namespace {

class BenchReportCommand final : public Command {
 public:
  std::string_view name() const override { return "bench report"; }
  std::string_view summary() const override {
    return "Lay runs of bench serve over each other in one report";
  }

  void declare(OptionSet& options) override {
    options.add_positional(folders_, {.name = "folder", .help = "Results of bench serve."});
    options.add(output_, {.name = "output",
                          .help = "Folder for the report; files of an earlier report in it are "
                                  "replaced. Empty: hearth-bench-report in the current one."});
  }

  Status run() override {
    std::vector<loadgen::BenchRun> runs;
    for (const std::string& folder : folders_) {
      HEARTH_ASSIGN_OR_RETURN(loadgen::BenchRun run, loadgen::read_run(folder));
      runs.push_back(std::move(run));
    }
    name_apart(runs);
    if (output_.empty()) output_ = "hearth-bench-report";
    std::error_code ec;
    std::filesystem::create_directories(output_, ec);
    if (ec) {
      return make_status(StatusCode::kUnavailable, "cannot make the folder '{}': {}",
                         output_.string(), ec.message());
    }
    HEARTH_RETURN_IF_ERROR(loadgen::write_report(output_, runs));
    return print(fmt::format("Report: {}\n", (output_ / "report.html").string()));
  }

 private:
  // Runs of one name get their folders' names as well.
  void name_apart(std::vector<loadgen::BenchRun>& runs) const {
    std::vector<std::string> labels(runs.size());
    std::ranges::transform(runs, labels.begin(), &loadgen::BenchRun::label);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (std::ranges::count(labels, labels[i]) < 2) continue;
      runs[i].label += fmt::format(" ({})", std::filesystem::path(folders_[i]).filename().string());
    }
  }

  std::vector<std::string> folders_;
  std::filesystem::path output_;
};

}  // namespace

std::unique_ptr<Command> make_bench_report_command() {
  return std::make_unique<BenchReportCommand>();
}

}  // namespace hearth
