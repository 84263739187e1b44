// The subcommands of `hearth`. A command declares its options, checks that they fit together and
// runs; it presents what the modules below do and has no logic of its own.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/status.h"

namespace hearth {

// One use per object: declare(), then check(), then run(), all on the main thread.
class Command {
 public:
  virtual ~Command() = default;
  virtual std::string_view name() const = 0;
  virtual std::string_view summary() const = 0;
  // Binds the command's members; the set does not outlive the command.
  virtual void declare(OptionSet& options) = 0;
  // Options that contradict each other; an error is the user's mistake (exit code 2).
  virtual Status check() { return {}; }
  // An error is a failure (exit code 1).
  virtual Status run() = 0;
};

std::unique_ptr<Command> make_serve_command();
std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_pull_command();
std::unique_ptr<Command> make_quantize_command();
std::unique_ptr<Command> make_imatrix_command();
std::unique_ptr<Command> make_list_command();
std::unique_ptr<Command> make_show_command();
std::unique_ptr<Command> make_alias_command();
std::unique_ptr<Command> make_rm_command();
std::unique_ptr<Command> make_verify_command();
std::unique_ptr<Command> make_gc_command();
std::unique_ptr<Command> make_import_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_tokenize_command();
std::unique_ptr<Command> make_template_command();
std::unique_ptr<Command> make_perplexity_command();
std::unique_ptr<Command> make_bench_model_command();
std::unique_ptr<Command> make_bench_serve_command();
std::unique_ptr<Command> make_bench_report_command();
std::unique_ptr<Command> make_version_command();

// Every command, in the order of the overview.
std::vector<std::unique_ptr<Command>> make_commands();
// Their options. The commands outlive the result.
std::unique_ptr<CommandLine> declare_commands(std::span<const std::unique_ptr<Command>> commands);

// Exit codes of the process.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// Parses, runs one command and reports its error as one line on stderr. Returns the exit code.
int run_hearth(std::span<const std::string> arguments, const Environment& environment);

}  // namespace hearth
