// From arguments, environment and configuration file to the bound variables.
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "base/config_file.h"
#include "base/option_value.h"
#include "base/options.h"
#include "base/options_impl.h"

namespace hearth {

namespace {

// The values one source gives to one option.
struct Assignment {
  std::string option;
  std::vector<std::string> values;
  std::string source;  // "flag --port"
};

struct Arguments {
  std::vector<Assignment> flags;  // One per option, in order of first use.
  std::vector<std::string> positionals;
  bool help = false;
};

std::string suggestion(std::string_view given, const std::vector<std::string>& candidates) {
  const std::string_view closest = option_value::closest(given, candidates);
  return closest.empty() ? std::string() : fmt::format("; did you mean {}?", closest);
}

bool is_help(std::string_view token) {
  return token == "--help" || token == "-h";
}

// Reads the arguments of one command, one token at a time.
class ArgumentReader {
 public:
  ArgumentReader(OptionSet::Impl& set, std::span<const std::string> tokens)
      : set_(set), tokens_(tokens) {}

  Result<Arguments> read() {
    while (!tokens_.empty()) {
      const std::string token = take();
      if (token == "--") {
        arguments_.positionals.insert(arguments_.positionals.end(), tokens_.begin(), tokens_.end());
        break;
      }
      if (is_help(token)) {
        arguments_.help = true;
      } else if (token.starts_with('-') && token != "-") {
        HEARTH_RETURN_IF_ERROR(read_flag(token));
      } else {
        arguments_.positionals.push_back(token);
      }
    }
    return std::move(arguments_);
  }

 private:
  std::string take() {
    std::string token = tokens_.front();
    tokens_ = tokens_.subspan(1);
    return token;
  }

  Status read_flag(const std::string& token) {
    const std::size_t equals = token.find('=');
    const std::string flag = token.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = token.substr(equals + 1);

    const std::string_view name = flag.starts_with("--") ? std::string_view(flag).substr(2) : "";
    if (name == kConfigOption) return read_value(std::string(name), value);
    if (const DeclaredOption* option = set_.find(name)) {
      if (option->is_switch) return assign(option->name, value.value_or("true"));
      return read_value(option->name, value);
    }
    if (name.starts_with("no-")) {
      const DeclaredOption* option = set_.find(name.substr(3));
      if (option != nullptr && option->is_switch) {
        if (!value.has_value()) return assign(option->name, "false");
        return make_status(StatusCode::kInvalidArgument, "flag {} takes no value, got '{}'", flag,
                           *value);
      }
    }
    return unknown_flag(flag);
  }

  Status read_value(const std::string& option, std::optional<std::string>& value) {
    // "--api-key --port 80" is a forgotten value; who means it writes "--api-key=--port".
    if (!value.has_value() && !tokens_.empty() && !tokens_.front().starts_with("--")) {
      value = take();
    }
    if (!value.has_value()) {
      return make_status(StatusCode::kInvalidArgument, "flag --{} needs a value", option);
    }
    return assign(option, *value);
  }

  Status assign(const std::string& option, const std::string& value) {
    const auto earlier = std::ranges::find(arguments_.flags, option, &Assignment::option);
    if (earlier == arguments_.flags.end()) {
      arguments_.flags.push_back(
          {.option = option, .values = {value}, .source = fmt::format("flag --{}", option)});
      return {};
    }
    const DeclaredOption* declared = set_.find(option);
    if (declared == nullptr || !declared->is_list) {
      return make_status(StatusCode::kInvalidArgument, "flag --{} is given twice", option);
    }
    earlier->values.push_back(value);
    return {};
  }

  Status unknown_flag(const std::string& flag) const {
    std::vector<std::string> known = {"--help", fmt::format("--{}", kConfigOption)};
    for (const DeclaredOption& option : set_.options) {
      known.push_back(fmt::format("--{}", option.name));
      if (option.is_switch) known.push_back(fmt::format("--no-{}", option.name));
    }
    return make_status(StatusCode::kInvalidArgument, "unknown flag {} of command {}{}", flag,
                       set_.command, suggestion(flag, known));
  }

  OptionSet::Impl& set_;
  std::span<const std::string> tokens_;
  Arguments arguments_;
};

// Names of the options of all commands, sorted and without repeats.
std::vector<std::string> all_option_names(std::span<OptionSet::Impl* const> sets) {
  std::vector<std::string> names;
  for (const OptionSet::Impl* set : sets) {
    for (const DeclaredOption& option : set->options)
      names.push_back(option.name);
  }
  std::ranges::sort(names);
  const auto repeats = std::ranges::unique(names);
  names.erase(repeats.begin(), repeats.end());
  return names;
}

// What Kubernetes puts into every pod beside a Service whose name begins with ours:
// HEARTH_SERVICE_HOST, HEARTH_PORT=tcp://10.0.0.1:80, HEARTH_PORT_80_TCP_ADDR and so on. Nobody
// meant those for us.
bool is_service_link(std::string_view variable, std::string_view value) {
  if (variable.ends_with("_SERVICE_HOST") || variable.contains("_SERVICE_PORT")) return true;
  if (variable.ends_with("_PORT")) return value.contains("://");
  return variable.contains("_TCP") || variable.contains("_UDP") || variable.contains("_SCTP");
}

Result<std::vector<Assignment>> read_variables(const Environment& environment,
                                               std::vector<std::string> option_names) {
  option_names.emplace_back(kConfigOption);
  std::vector<std::string> known;
  known.reserve(option_names.size());
  for (const std::string& name : option_names)
    known.push_back(environment_name(name));
  std::vector<Assignment> assignments;
  for (const auto& [variable, value] : environment) {
    if (is_service_link(variable, value)) continue;
    const auto found = std::ranges::find(known, variable);
    if (found == known.end()) {
      return error(StatusCode::kInvalidArgument, "unknown environment variable {}{}", variable,
                   suggestion(variable, known));
    }
    assignments.push_back({.option = option_names[static_cast<std::size_t>(found - known.begin())],
                           .values = {value},
                           .source = fmt::format("environment variable {}", variable)});
  }
  return assignments;
}

Result<std::vector<Assignment>> read_config(const std::string& path, OptionSet::Impl& set,
                                            const std::vector<std::string>& option_names) {
  HEARTH_ASSIGN_OR_RETURN(std::vector<ConfigEntry> entries, read_config_file(path));
  std::vector<Assignment> assignments;
  for (ConfigEntry& entry : entries) {
    std::string source = fmt::format("'{}' line {}, key {}", path, entry.line, entry.key);
    if (!std::ranges::binary_search(option_names, entry.key)) {
      return error(StatusCode::kInvalidArgument, "{}: unknown key{}", source,
                   suggestion(entry.key, option_names));
    }
    const DeclaredOption* option = set.find(entry.key);
    if (option != nullptr && entry.is_sequence && !option->is_list) {
      return error(StatusCode::kInvalidArgument, "{}: expected one value, got a sequence of {}",
                   source, entry.values.size());
    }
    assignments.push_back({.option = std::move(entry.key),
                           .values = std::move(entry.values),
                           .source = std::move(source)});
  }
  return assignments;
}

const std::string* find_config_path(const std::vector<Assignment>& flags,
                                    const std::vector<Assignment>& variables) {
  for (const auto* source : {&flags, &variables}) {
    const auto found = std::ranges::find(*source, kConfigOption, &Assignment::option);
    if (found != source->end()) return &found->values.front();
  }
  return nullptr;
}

// Sources are applied weakest first, so that each is checked and the last one stays.
Status assign_all(OptionSet::Impl& set, const std::vector<Assignment>& assignments) {
  for (const Assignment& assignment : assignments) {
    DeclaredOption* option = set.find(assignment.option);
    if (option == nullptr) continue;  // The configuration file's path, or another command's option.
    HEARTH_RETURN_IF_ERROR(option->store(assignment.values).with_context(assignment.source));
    option->given_text = fmt::format("{}", fmt::join(assignment.values, ","));
    option->given_by = assignment.source;
  }
  return {};
}

Status apply_positionals(const OptionSet::Impl& set, std::vector<std::string> values) {
  auto next = values.begin();
  for (const DeclaredPositional& positional : set.positionals) {
    if (next != values.end()) {
      const auto end = positional.takes_rest ? values.end() : next + 1;
      positional.store({std::move_iterator(next), std::move_iterator(end)});
      next = end;
    } else if (positional.required) {
      return make_status(StatusCode::kInvalidArgument, "command {} needs the argument <{}>",
                         set.command, positional.name);
    }
  }
  if (next != values.end()) {
    return make_status(StatusCode::kInvalidArgument, "unexpected argument '{}' of command {}",
                       *next, set.command);
  }
  return {};
}

}  // namespace

Result<ParsedCommand> CommandLine::parse(std::span<const std::string> arguments,
                                         const Environment& environment) {
  if (arguments.empty()) {
    return error(StatusCode::kInvalidArgument, "no command given; see {} --help", impl_->program);
  }
  std::string command = arguments.front();
  arguments = arguments.subspan(1);
  if (is_help(command)) return ParsedCommand{.command = {}, .text = help()};
  if (command == "--version") return ParsedCommand{.command = {}, .text = impl_->version};
  if (impl_->is_group(command)) {
    if (arguments.empty()) {
      return error(StatusCode::kInvalidArgument, "{0} is a group of commands; see {1} {0} --help",
                   command, impl_->program);
    }
    if (is_help(arguments.front())) return ParsedCommand{.command = {}, .text = help(command)};
    command += " " + arguments.front();
    arguments = arguments.subspan(1);
  }

  std::vector<OptionSet::Impl*> sets;
  std::vector<std::string> command_names;
  for (const auto& set : impl_->commands) {
    sets.push_back(&Impl::impl_of(*set));
    command_names.push_back(sets.back()->command);
  }
  OptionSet::Impl* set = impl_->find(command);
  if (set == nullptr) {
    return error(StatusCode::kInvalidArgument, "unknown command '{}'{}", command,
                 suggestion(command, command_names));
  }

  HEARTH_ASSIGN_OR_RETURN(Arguments given, ArgumentReader(*set, arguments).read());
  if (given.help) return ParsedCommand{.command = {}, .text = help(command)};
  const std::vector<std::string> option_names = all_option_names(sets);
  HEARTH_ASSIGN_OR_RETURN(const auto variables, read_variables(environment, option_names));
  if (const std::string* path = find_config_path(given.flags, variables)) {
    HEARTH_ASSIGN_OR_RETURN(const auto config, read_config(*path, *set, option_names));
    HEARTH_RETURN_IF_ERROR(assign_all(*set, config));
  }
  HEARTH_RETURN_IF_ERROR(assign_all(*set, variables));
  HEARTH_RETURN_IF_ERROR(assign_all(*set, given.flags));
  HEARTH_RETURN_IF_ERROR(apply_positionals(*set, std::move(given.positionals)));
  return ParsedCommand{.command = command, .text = {}};
}

}  // namespace hearth
