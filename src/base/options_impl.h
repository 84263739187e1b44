// What an option set remembers about its declarations; shared by parsing and help, private to base.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"

namespace hearth {

struct DeclaredOption {
  std::string name;
  std::string help;
  std::string placeholder;
  std::string section;
  std::string default_text;
  std::string bounds_text;  // "1 to 65535", "one of a, b"; empty when every value of the type goes.
  bool advanced = false;
  bool secret = false;
  bool is_switch = false;
  bool is_list = false;
  // Checks the values of one source (exactly one unless is_list) and assigns the bound variable.
  std::function<Status(const std::vector<std::string>& values)> store;

  // Filled by parsing, for the summary.
  std::string given_text;
  std::string given_by;
};

struct DeclaredPositional {
  std::string name;
  std::string help;
  bool required = true;
  std::function<void(std::vector<std::string> values)> store;
  bool takes_rest = false;  // Any number of values instead of one.
};

struct OptionSet::Impl {
  std::string command;
  std::string summary;
  std::string section = "Options";
  std::vector<DeclaredOption> options;
  std::vector<DeclaredPositional> positionals;

  DeclaredOption* find(std::string_view name);
  DeclaredOption& declare(const OptionDeclaration& declaration, std::string_view placeholder);
  DeclaredPositional& declare(const PositionalDeclaration& declaration);
};

struct CommandLine::Impl {
  std::string program;
  std::string description;
  std::string version;
  std::vector<std::unique_ptr<OptionSet>> commands;

  static OptionSet::Impl& impl_of(OptionSet& set) { return *set.impl_; }
  OptionSet::Impl* find(std::string_view command) const;
  // Whether commands of two words begin with this one.
  bool is_group(std::string_view word) const;
  // The commands' names and summaries, one per line; of one group, or all when it is empty.
  std::string overview(std::string_view group) const;
};

// "HEARTH_MAX_NUM_SEQS" for "max-num-seqs".
std::string environment_name(std::string_view option_name);

// The option every command has besides its own.
inline constexpr std::string_view kConfigOption = "config";

}  // namespace hearth
