#include "base/build_info.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "cli/version_text.h"
#include "kernels/kernels.h"

namespace hearth {

std::string version_line() {
  return fmt::format("hearth {}\n", build_info().version);
}

std::string version_text() {
  const BuildInfo& info = build_info();
  std::string text = version_line();
  text += format_table({{"compiler", std::string(info.compiler)},
                        {"build", std::string(info.build_type)},
                        {"cpu", cpu_features()}},
                       {false, false});
  text += "\nkernel sets, best first\n";
  std::vector<std::vector<std::string>> rows;
  for (const KernelSetInfo& set : kernel_sets()) {
    const std::string_view use = set.name == best_kernel_set() ? "chosen"
                                 : set.supported               ? "available"
                                                               : "not on this CPU";
    rows.push_back({std::string(set.name), std::string(use)});
    if (!set.features.empty()) rows.back().push_back(fmt::format("needs {}", set.features));
  }
  return text + format_table(rows, {false, false, false});
}

json::Value version_json() {
  const BuildInfo& info = build_info();
  json::Array kernels;
  for (const KernelSetInfo& set : kernel_sets()) {
    kernels.emplace_back(json::Object{{"name", set.name},
                                      {"needs", set.features},
                                      {"supported", set.supported},
                                      {"chosen", set.name == best_kernel_set()}});
  }
  return json::Object{{"version", info.version},
                      {"compiler", info.compiler},
                      {"build_type", info.build_type},
                      {"cpu_features", cpu_features()},
                      {"kernels", std::move(kernels)}};
}

namespace {

class VersionCommand final : public Command {
 public:
  std::string_view name() const override { return "version"; }
  std::string_view summary() const override {
    return "Show the version, the kernels and what this CPU can do";
  }

  void declare(OptionSet& options) override {
    options.add(json_, {.name = "json", .help = "Print JSON."});
  }

  Status run() override {
    return print(json_ ? json::dump(version_json(), {.indent = 2}) + "\n" : version_text());
  }

 private:
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_version_command() {
  return std::make_unique<VersionCommand>();
}

}  // namespace hearth
