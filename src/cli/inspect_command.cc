#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/model_report.h"
#include "cli/terminal.h"

namespace hearth {
namespace {

class InspectCommand final : public Command {
 public:
  std::string_view name() const override { return "inspect"; }
  std::string_view summary() const override {
    return "Show what a model file holds and the memory it needs";
  }

  void declare(OptionSet& options) override {
    options.add_positional(model_, {.name = "model", .help = kModelHelp});
    options.add(
        report_.context_len,
        {.name = "context",
         .help = "Tokens per sequence to count memory for. 0: what the model was made for."},
        {.min = 0, .max = std::size_t{1} << 24});
    options.add(report_.num_sequences,
                {.name = "concurrency", .help = "Sequences of that length at the same time."},
                {.min = 1, .max = 4096});
    add_kv_cache_dtype(options, report_.kv_cache_dtype);
    add_models_dir(options, models_dir_);
    options.add(json_, {.name = "json", .help = "Print JSON."});
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const ModelFile file, open_model(model_, models_dir_));
    const ModelReport report = make_report(file, report_);
    return print(json_ ? json::dump(report_json(report), {.indent = 2}) + "\n"
                       : report_text(report));
  }

 private:
  std::string model_;
  std::filesystem::path models_dir_;
  ReportOptions report_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() {
  return std::make_unique<InspectCommand>();
}

}  // namespace hearth
