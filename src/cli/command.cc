#include "cli/command.h"

#include <algorithm>
#include <cstdio>

#include "cli/terminal.h"
#include "cli/version_text.h"

namespace hearth {
namespace {

int report(const Status& status, int exit_code) {
  if (status.ok() || is_closed_output(status)) return kExitOk;
  fmt::print(stderr, "hearth: {}\n", single_line(status.message()));
  return exit_code;
}

// `hearth` and `hearth help [command]` are other spellings of --help.
std::vector<std::string> expand_help(std::span<const std::string> arguments) {
  if (arguments.empty()) return {"--help"};
  if (arguments.front() != "help") return {arguments.begin(), arguments.end()};
  if (arguments.size() == 1) return {"--help"};
  std::vector<std::string> expanded(arguments.begin() + 1, arguments.end());
  expanded.emplace_back("--help");
  return expanded;
}

}  // namespace

std::vector<std::unique_ptr<Command>> make_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_serve_command());
  commands.push_back(make_run_command());
  commands.push_back(make_pull_command());
  commands.push_back(make_quantize_command());
  commands.push_back(make_imatrix_command());
  commands.push_back(make_list_command());
  commands.push_back(make_show_command());
  commands.push_back(make_alias_command());
  commands.push_back(make_rm_command());
  commands.push_back(make_verify_command());
  commands.push_back(make_gc_command());
  commands.push_back(make_import_command());
  commands.push_back(make_export_command());
  commands.push_back(make_inspect_command());
  commands.push_back(make_tokenize_command());
  commands.push_back(make_template_command());
  commands.push_back(make_perplexity_command());
  commands.push_back(make_bench_model_command());
  commands.push_back(make_bench_serve_command());
  commands.push_back(make_bench_report_command());
  commands.push_back(make_version_command());
  return commands;
}

std::unique_ptr<CommandLine> declare_commands(std::span<const std::unique_ptr<Command>> commands) {
  auto line = std::make_unique<CommandLine>(
      "hearth", "Hearth serves open large language models on one's own machines.");
  line->set_version(version_line());
  for (const auto& command : commands) {
    command->declare(line->add_command(command->name(), command->summary()));
  }
  return line;
}

int run_hearth(std::span<const std::string> arguments, const Environment& environment) {
  const auto commands = make_commands();
  const auto line = declare_commands(commands);
  const auto parsed = line->parse(expand_help(arguments), environment);
  if (!parsed.has_value()) return report(parsed.error(), kExitUsage);
  if (parsed->command.empty()) return report(print(parsed->text), kExitFailure);

  const auto chosen =
      std::ranges::find(commands, parsed->command, [](const auto& c) { return c->name(); });
  HEARTH_CHECK(chosen != commands.end());
  if (Status status = (*chosen)->check(); !status.ok()) return report(status, kExitUsage);
  return report((*chosen)->run(), kExitFailure);
}

}  // namespace hearth
