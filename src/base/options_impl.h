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
  std::string* target = nullptr;
};

struct OptionSet::Impl {
  std::string command;
  std::string summary;
  std::string section = "Options";
  std::vector<DeclaredOption> options;
  std::vector<DeclaredPositional> positionals;

  DeclaredOption* find(std::string_view name);
  DeclaredOption& declare(const OptionDeclaration& declaration, std::string_view placeholder);
};

struct CommandLine::Impl {
  std::string program;
  std::string description;
  std::string version;
  std::vector<std::unique_ptr<OptionSet>> commands;

  static OptionSet::Impl& impl_of(OptionSet& set) { return *set.impl_; }
  OptionSet::Impl* find(std::string_view command) const;
};

// "HEARTH_MAX_NUM_SEQS" for "max-num-seqs".
std::string environment_name(std::string_view option_name);

// The option every command has besides its own.
inline constexpr std::string_view kConfigOption = "config";

}  // namespace hearth
