// Help text and documentation, written from the declarations.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/options.h"
#include "base/options_impl.h"

namespace hearth {

namespace {

constexpr std::size_t kHelpWidth = 88;

template <typename... Args>
void append(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

void append_wrapped(std::string& out, std::string_view text, std::size_t indent) {
  std::size_t column = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (column == 0 || column + 1 + end > kHelpWidth) {
      if (column != 0) out.push_back('\n');
      out.append(indent, ' ');
      column = indent;
    } else {
      out.push_back(' ');
      ++column;
    }
    out.append(text.substr(0, end));
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  out.push_back('\n');
}

std::string flag_text(const DeclaredOption& option) {
  if (option.is_switch) return fmt::format("--{0}, --no-{0}", option.name);
  return fmt::format("--{} {}", option.name, option.placeholder);
}

std::string default_text(const DeclaredOption& option) {
  return option.default_text.empty() ? "none" : option.default_text;
}

// Sections in the order of their first option.
std::vector<std::string> section_titles(const OptionSet::Impl& set) {
  std::vector<std::string> titles;
  for (const DeclaredOption& option : set.options) {
    if (std::ranges::find(titles, option.section) == titles.end()) titles.push_back(option.section);
  }
  return titles;
}

// The options of a section, the advanced ones last.
std::vector<const DeclaredOption*> options_of(const OptionSet::Impl& set,
                                              std::string_view section) {
  std::vector<const DeclaredOption*> options;
  for (const bool advanced : {false, true}) {
    for (const DeclaredOption& option : set.options) {
      if (option.section == section && option.advanced == advanced) options.push_back(&option);
    }
  }
  return options;
}

std::string usage(std::string_view program, const OptionSet::Impl& set) {
  std::string out = fmt::format("{} {} [options]", program, set.command);
  for (const DeclaredPositional& positional : set.positionals) {
    append(out, fmt::runtime(positional.required ? " <{}>{}" : " [<{}>{}]"), positional.name,
           positional.takes_rest ? "..." : "");
  }
  return out;
}

void append_option_help(std::string& out, const DeclaredOption& option) {
  append(out, "  {}{}\n", flag_text(option), option.advanced ? "  (advanced)" : "");
  append_wrapped(out, option.help, 6);
  std::string facts = fmt::format("default: {}", default_text(option));
  if (!option.bounds_text.empty()) append(facts, "; allowed: {}", option.bounds_text);
  append(facts, "; environment: {}", environment_name(option.name));
  append_wrapped(out, facts, 6);
}

// Texts of our own may hold '|', which would end a table cell.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

void append_option_row(std::string& out, const DeclaredOption& option) {
  append(out, "| `{}` | {} | {} | `{}` | {}{} |\n", cell(flag_text(option)),
         option.default_text.empty() ? "" : fmt::format("`{}`", cell(option.default_text)),
         cell(option.bounds_text), environment_name(option.name), cell(option.help),
         option.advanced ? " (Advanced.)" : "");
}

}  // namespace

std::string CommandLine::Impl::overview(std::string_view group) const {
  const std::string prefix = group.empty() ? std::string() : fmt::format("{} ", group);
  std::string out;
  std::size_t width = 0;
  for (const auto& set : commands) {
    const std::string& name = impl_of(*set).command;
    if (name.starts_with(prefix)) width = std::max(width, name.size());
  }
  for (const auto& set : commands) {
    const OptionSet::Impl& command = impl_of(*set);
    if (!command.command.starts_with(prefix)) continue;
    append(out, "  {:<{}}  {}\n", command.command, width, command.summary);
  }
  return out;
}

std::string CommandLine::help() const {
  std::string out = fmt::format("{}\n\nUsage: {} <command> [options]\n\nCommands:\n{}",
                                impl_->description, impl_->program, impl_->overview({}));
  append(out, "\nSee {} <command> --help for the options of a command, and --version.\n",
         impl_->program);
  return out;
}

std::string CommandLine::help(std::string_view command) const {
  const OptionSet::Impl* set = impl_->find(command);
  if (set == nullptr && !impl_->is_group(command)) return {};
  if (set == nullptr) {
    return fmt::format(
        "Usage: {0} {1} <command> [options]\n\nCommands:\n{2}\n"
        "See {0} {1} <command> --help for the options of a command.\n",
        impl_->program, command, impl_->overview(command));
  }
  std::string out = fmt::format("{}\n\nUsage: {}\n", set->summary, usage(impl_->program, *set));
  if (!set->positionals.empty()) out += "\nArguments:\n";
  for (const DeclaredPositional& positional : set->positionals) {
    append(out, "  <{}>\n", positional.name);
    append_wrapped(out, positional.help, 6);
  }
  for (const std::string& title : section_titles(*set)) {
    append(out, "\n{}:\n", title);
    for (const DeclaredOption* option : options_of(*set, title))
      append_option_help(out, *option);
  }
  append(out, "\nEvery command:\n  --{} PATH\n", kConfigOption);
  append_wrapped(out,
                 "YAML file of options: one 'name: value' per line, names as above without the "
                 "dashes. A flag wins over the environment, that over the file.",
                 6);
  append_wrapped(out, fmt::format("environment: {}", environment_name(kConfigOption)), 6);
  out += "  --help, -h\n      Show this text.\n";
  return out;
}

std::string CommandLine::markdown() const {
  std::string out = "# Options\n\nGenerated from the declarations in the source; do not edit.\n\n";
  append(out,
         "Every option of `{0} <command>` is a flag, an environment variable and a key of the YAML "
         "file\nnamed by `--{1}` or `{2}`. A flag wins over the environment, that over the file, "
         "that over\nthe default. Unknown names and malformed or out-of-bounds values stop the "
         "start.\n",
         impl_->program, kConfigOption, environment_name(kConfigOption));
  for (const auto& owned : impl_->commands) {
    const OptionSet::Impl& set = Impl::impl_of(*owned);
    append(out, "\n## {0} {1}\n\n{2}\n\n    {3}\n", impl_->program, set.command, set.summary,
           usage(impl_->program, set));
    if (!set.positionals.empty()) out += '\n';
    for (const DeclaredPositional& positional : set.positionals) {
      append(out, "- `<{}>`: {}\n", positional.name, positional.help);
    }
    for (const std::string& title : section_titles(set)) {
      append(out,
             "\n### {}\n\n| flag | default | allowed | environment | meaning |\n"
             "| --- | --- | --- | --- | --- |\n",
             title);
      for (const DeclaredOption* option : options_of(set, title))
        append_option_row(out, *option);
    }
  }
  return out;
}

}  // namespace hearth
