#include "base/options.h"

#include <fmt/ranges.h>
#include <unistd.h>
#include <cstdlib>

#include <algorithm>
#include <cctype>

#include "base/option_value.h"
#include "base/options_impl.h"

namespace hearth {

namespace {

constexpr std::string_view kEnvironmentPrefix = "HEARTH_";

bool is_option_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !name.empty() && std::ranges::all_of(name, allowed) && name.front() != '-' &&
         name.back() != '-' && !name.starts_with("no-") && name != "help" && name != "version" &&
         name != kConfigOption;
}

template <typename T, typename Format>
std::string bounds_text(const Bounds<T>& bounds, Format format) {
  const bool has_min = bounds.min != std::numeric_limits<T>::lowest();
  const bool has_max = bounds.max != std::numeric_limits<T>::max();
  if (has_min && has_max) return fmt::format("{} to {}", format(bounds.min), format(bounds.max));
  if (has_min) return fmt::format("at least {}", format(bounds.min));
  if (has_max) return fmt::format("at most {}", format(bounds.max));
  return {};
}

// The items of all values of a source.
Result<std::vector<std::string>> parse_items(const std::vector<std::string>& values) {
  std::vector<std::string> all;
  for (const std::string& value : values) {
    HEARTH_ASSIGN_OR_RETURN(std::vector<std::string> items, option_value::parse_list(value));
    std::ranges::move(items, std::back_inserter(all));
  }
  return all;
}

// An option whose values are ordered: parse, compare with the bounds, assign.
template <typename T>
struct OrderedType {
  Result<T> (*parse)(std::string_view text);
  std::string (*format)(T value);
};

template <typename T>
Result<T> parse_within(const OrderedType<T>& type, Bounds<T> bounds, std::string_view text) {
  HEARTH_ASSIGN_OR_RETURN(const T value, type.parse(text));
  if (value < bounds.min || value > bounds.max) {
    return error(StatusCode::kOutOfRange, "{} is out of bounds: {}", text,
                 bounds_text(bounds, type.format));
  }
  return value;
}

template <typename T>
void declare_ordered(DeclaredOption& option, OrderedType<T> type, Bounds<T> bounds, T default_value,
                     std::function<void(T)> assign) {
  HEARTH_CHECK(bounds.min <= default_value && default_value <= bounds.max);
  option.default_text = type.format(default_value);
  option.bounds_text = bounds_text(bounds, type.format);
  option.store = [type, bounds,
                  assign = std::move(assign)](const std::vector<std::string>& values) -> Status {
    HEARTH_ASSIGN_OR_RETURN(const T value, parse_within(type, bounds, values.front()));
    assign(value);
    return {};
  };
}

template <typename T>
void declare_ordered_list(DeclaredOption& option, OrderedType<T> type, Bounds<T> bounds,
                          const std::vector<T>& defaults,
                          std::function<void(const std::vector<T>&)> assign) {
  std::vector<std::string> default_texts;
  for (const T value : defaults) {
    HEARTH_CHECK(bounds.min <= value && value <= bounds.max);
    default_texts.push_back(type.format(value));
  }
  option.is_list = true;
  option.default_text = fmt::format("{}", fmt::join(default_texts, ","));
  option.bounds_text = bounds_text(bounds, type.format);
  option.store = [type, bounds,
                  assign = std::move(assign)](const std::vector<std::string>& values) -> Status {
    HEARTH_ASSIGN_OR_RETURN(const auto items, parse_items(values));
    std::vector<T> numbers;
    for (const std::string& item : items) {
      HEARTH_ASSIGN_OR_RETURN(const T number, parse_within(type, bounds, item));
      numbers.push_back(number);
    }
    if (numbers.empty()) return Status(StatusCode::kInvalidArgument, "needs at least one number");
    assign(numbers);
    return {};
  };
}

std::string format_integer(std::int64_t value) {
  return fmt::format("{}", value);
}

}  // namespace

std::string environment_name(std::string_view option_name) {
  std::string name(kEnvironmentPrefix);
  for (const char c : option_name) {
    name.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  }
  return name;
}

Environment read_environment() {
  Environment variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (!text.starts_with(kEnvironmentPrefix) || equals == std::string_view::npos) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::string process_variable(const char* name) {
  // Nothing in this program changes the environment.
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

DeclaredOption* OptionSet::Impl::find(std::string_view name) {
  const auto found = std::ranges::find(options, name, &DeclaredOption::name);
  return found == options.end() ? nullptr : &*found;
}

DeclaredOption& OptionSet::Impl::declare(const OptionDeclaration& declaration,
                                         std::string_view placeholder) {
  HEARTH_CHECK(is_option_name(declaration.name) && find(declaration.name) == nullptr);
  HEARTH_CHECK(!declaration.help.empty());
  DeclaredOption& option = options.emplace_back();
  option.name = declaration.name;
  option.help = declaration.help;
  option.placeholder = declaration.placeholder.empty() ? placeholder : declaration.placeholder;
  option.section = section;
  option.advanced = declaration.advanced;
  option.secret = declaration.secret;
  return option;
}

OptionSet::OptionSet() : impl_(std::make_unique<Impl>()) {}
OptionSet::~OptionSet() = default;

void OptionSet::section(std::string_view title) {
  impl_->section = title;
}

void OptionSet::add(bool& target, const OptionDeclaration& declaration) {
  DeclaredOption& option = impl_->declare(declaration, "");
  option.is_switch = true;
  option.default_text = target ? "true" : "false";
  option.store = [&target](const std::vector<std::string>& values) -> Status {
    HEARTH_ASSIGN_OR_RETURN(target, option_value::parse_bool(values.front()));
    return {};
  };
}

void OptionSet::add_integer(const OptionDeclaration& declaration, Bounds<std::int64_t> bounds,
                            std::int64_t default_value, std::function<void(std::int64_t)> store) {
  declare_ordered<std::int64_t>(impl_->declare(declaration, "N"),
                                {&option_value::parse_integer, &format_integer}, bounds,
                                default_value, std::move(store));
}

void OptionSet::add_integers(const OptionDeclaration& declaration, Bounds<std::int64_t> bounds,
                             const std::vector<std::int64_t>& defaults,
                             std::function<void(const std::vector<std::int64_t>&)> store) {
  declare_ordered_list<std::int64_t>(impl_->declare(declaration, "N[,...]"),
                                     {&option_value::parse_integer, &format_integer}, bounds,
                                     defaults, std::move(store));
}

void OptionSet::add(double& target, const OptionDeclaration& declaration, Bounds<double> bounds) {
  declare_ordered<double>(impl_->declare(declaration, "NUMBER"),
                          {&option_value::parse_number, &option_value::format_number}, bounds,
                          target, [&target](double value) { target = value; });
}

void OptionSet::add(std::vector<double>& target, const OptionDeclaration& declaration,
                    Bounds<double> bounds) {
  declare_ordered_list<double>(impl_->declare(declaration, "NUMBER[,...]"),
                               {&option_value::parse_number, &option_value::format_number}, bounds,
                               target,
                               [&target](const std::vector<double>& values) { target = values; });
}

void OptionSet::add(ByteSize& target, const OptionDeclaration& declaration,
                    Bounds<std::uint64_t> bounds_bytes) {
  declare_ordered<std::uint64_t>(impl_->declare(declaration, "SIZE"),
                                 {&option_value::parse_bytes, &option_value::format_bytes},
                                 bounds_bytes, target.bytes,
                                 [&target](std::uint64_t bytes) { target.bytes = bytes; });
}

void OptionSet::add(std::chrono::milliseconds& target, const OptionDeclaration& declaration,
                    Bounds<std::int64_t> bounds_ms) {
  const auto parse = [](std::string_view text) -> Result<std::int64_t> {
    HEARTH_ASSIGN_OR_RETURN(const auto duration, option_value::parse_duration(text));
    return duration.count();
  };
  const auto format = [](std::int64_t ms) {
    return option_value::format_duration(std::chrono::milliseconds(ms));
  };
  const auto assign = [&target](std::int64_t ms) { target = std::chrono::milliseconds(ms); };
  declare_ordered<std::int64_t>(impl_->declare(declaration, "DURATION"), {parse, format}, bounds_ms,
                                target.count(), assign);
}

void OptionSet::add(std::string& target, const OptionDeclaration& declaration) {
  DeclaredOption& option = impl_->declare(declaration, "TEXT");
  option.default_text = target;
  option.store = [&target](const std::vector<std::string>& values) -> Status {
    target = values.front();
    return {};
  };
}

void OptionSet::add(std::filesystem::path& target, const OptionDeclaration& declaration) {
  DeclaredOption& option = impl_->declare(declaration, "PATH");
  option.default_text = target.string();
  option.store = [&target](const std::vector<std::string>& values) -> Status {
    target = values.front();
    return {};
  };
}

void OptionSet::add(std::vector<std::string>& target, const OptionDeclaration& declaration) {
  DeclaredOption& option = impl_->declare(declaration, "TEXT[,...]");
  option.is_list = true;
  option.default_text = fmt::format("{}", fmt::join(target, ","));
  option.store = [&target](const std::vector<std::string>& values) -> Status {
    HEARTH_ASSIGN_OR_RETURN(target, parse_items(values));
    return {};
  };
}

void OptionSet::add(std::string& target, const OptionDeclaration& declaration,
                    std::initializer_list<std::string_view> choices) {
  std::vector<std::string> names(choices.begin(), choices.end());
  const auto current = std::ranges::find(names, target) - names.begin();
  add_choice(declaration, names, static_cast<std::size_t>(current),
             [&target, names](std::size_t idx) { target = names[idx]; });
}

void OptionSet::add_choice(const OptionDeclaration& declaration, std::vector<std::string> names,
                           std::size_t default_idx, std::function<void(std::size_t)> store) {
  HEARTH_CHECK(default_idx < names.size());
  DeclaredOption& option = impl_->declare(declaration, "CHOICE");
  option.default_text = names[default_idx];
  option.bounds_text = fmt::format("one of {}", fmt::join(names, ", "));
  option.store = [names = std::move(names), allowed = option.bounds_text,
                  store = std::move(store)](const std::vector<std::string>& values) -> Status {
    const auto found = std::ranges::find(names, values.front());
    if (found == names.end()) {
      return make_status(StatusCode::kInvalidArgument, "'{}' is not {}", values.front(), allowed);
    }
    store(static_cast<std::size_t>(found - names.begin()));
    return {};
  };
}

DeclaredPositional& OptionSet::Impl::declare(const PositionalDeclaration& declaration) {
  HEARTH_CHECK(positionals.empty() || positionals.back().required || !declaration.required);
  HEARTH_CHECK(positionals.empty() || !positionals.back().takes_rest);
  DeclaredPositional& positional = positionals.emplace_back();
  positional.name = declaration.name;
  positional.help = declaration.help;
  positional.required = declaration.required;
  return positional;
}

void OptionSet::add_positional(std::string& target, const PositionalDeclaration& declaration) {
  impl_->declare(declaration).store = [&target](std::vector<std::string> values) {
    target = std::move(values.front());
  };
}

void OptionSet::add_positional(std::vector<std::string>& target,
                               const PositionalDeclaration& declaration) {
  DeclaredPositional& positional = impl_->declare(declaration);
  positional.takes_rest = true;
  positional.store = [&target](std::vector<std::string> values) { target = std::move(values); };
}

std::string OptionSet::summary() const {
  std::vector<std::string> parts;
  for (const DeclaredOption& option : impl_->options) {
    if (option.given_by.empty()) continue;
    parts.push_back(fmt::format("{}={} ({})", option.name,
                                option.secret ? "***" : option.given_text, option.given_by));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

CommandLine::CommandLine(std::string program, std::string description)
    : impl_(std::make_unique<Impl>()) {
  impl_->program = std::move(program);
  impl_->description = std::move(description);
}

CommandLine::~CommandLine() = default;

void CommandLine::set_version(std::string text) {
  impl_->version = std::move(text);
}

OptionSet& CommandLine::add_command(std::string_view name, std::string_view summary) {
  HEARTH_CHECK(impl_->find(name) == nullptr && !impl_->is_group(name));
  HEARTH_CHECK(impl_->find(name.substr(0, name.find(' '))) == nullptr);
  impl_->commands.push_back(std::unique_ptr<OptionSet>(new OptionSet()));
  OptionSet& set = *impl_->commands.back();
  set.impl_->command = name;
  set.impl_->summary = summary;
  return set;
}

OptionSet::Impl* CommandLine::Impl::find(std::string_view command) const {
  for (const auto& set : commands) {
    if (impl_of(*set).command == command) return &impl_of(*set);
  }
  return nullptr;
}

bool CommandLine::Impl::is_group(std::string_view word) const {
  const std::string prefix = fmt::format("{} ", word);
  return std::ranges::any_of(
      commands, [&](const auto& set) { return impl_of(*set).command.starts_with(prefix); });
}

}  // namespace hearth
