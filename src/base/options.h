// Options declared once. A declaration gives name, type, default, bounds and help; from it derive
//
//   the flag                   --max-num-seqs 32   or   --max-num-seqs=32
//   the environment variable   HEARTH_MAX_NUM_SEQS=32
//   the key in a YAML file     max-num-seqs: 32      (the file of --config or HEARTH_CONFIG)
//   the help text and docs/options.md
//
// A flag wins over the environment, that over the file, that over the default. Anything unknown,
// malformed, repeated or out of bounds is an error that names the source, the value and the bounds,
// and suggests the closest name. Nothing is guessed and nothing is ignored.
//
//   struct ServeOptions { std::uint16_t port = 8080; bool prefix_cache = true; } serve;
//   CommandLine line("hearth", "Serves language models.");
//   OptionSet& set = line.add_command("serve", "Serve a model over HTTP");
//   set.add_positional(serve.model, {.name = "model", .help = "GGUF file to serve."});
//   set.section("Server");
//   set.add(serve.port, {.name = "port", .help = "TCP port; 0 picks a free one."}, {0, 65535});
//   set.section("Engine");
//   set.add(serve.prefix_cache, {.name = "prefix-cache", .help = "Reuse common beginnings."});
//   HEARTH_ASSIGN_OR_RETURN(const ParsedCommand parsed, line.parse(arguments, read_environment()));
//
// The bound variable's value at declaration is the default; parse() overwrites it. The variables
// must outlive the set. Not thread-safe. A wrong declaration (two options of one name, a default
// outside its bounds) is a broken invariant and ends the process.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hearth {

// The HEARTH_* variables of a process, name to value.
using Environment = std::map<std::string, std::string>;
Environment read_environment();
// A variable that is not ours, such as HOME; empty when it is not set.
std::string process_variable(const char* name);

template <typename T>
struct Bounds {
  T min = std::numeric_limits<T>::lowest();
  T max = std::numeric_limits<T>::max();
};

// A number of bytes, so that "2GiB" is accepted. Units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB; a
// plain number is bytes.
struct ByteSize {
  std::uint64_t bytes = 0;
  bool operator==(const ByteSize&) const = default;
};

struct OptionDeclaration {
  std::string_view name = {};         // Lower case, words joined by '-'.
  std::string_view help = {};         // One or more sentences: what it does and when to change it.
  std::string_view placeholder = {};  // What the help shows for the value; empty: by type.
  bool advanced = false;              // Listed after the others, for those who tune.
  bool secret = false;  // The value is never shown, neither in errors nor in summaries.
};

struct PositionalDeclaration {
  std::string_view name;
  std::string_view help;
  bool required = true;
};

// The options and positional arguments of one command.
class OptionSet {
 public:
  // Options added from here on are listed under this title.
  void section(std::string_view title);

  // Switch: --name, --no-name or --name=false; elsewhere true, false, yes, no, on, off, 1 or 0.
  void add(bool& target, const OptionDeclaration& declaration);

  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void add(T& target, const OptionDeclaration& declaration,
           std::type_identity_t<Bounds<T>> bounds = {}) {
    const Bounds<std::int64_t> wide{.min = clamp(bounds.min), .max = clamp(bounds.max)};
    add_integer(declaration, wide, clamp(target),
                [&target](std::int64_t value) { target = static_cast<T>(value); });
  }

  void add(double& target, const OptionDeclaration& declaration, Bounds<double> bounds = {});
  void add(std::string& target, const OptionDeclaration& declaration);
  void add(std::filesystem::path& target, const OptionDeclaration& declaration);
  // Flags may be repeated; every source may also give several values separated by commas; YAML may
  // use a sequence. A source replaces the list, it does not add to another source's.
  void add(std::vector<std::string>& target, const OptionDeclaration& declaration);
  // Lists of numbers, at least one, each within the bounds.
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void add(std::vector<T>& target, const OptionDeclaration& declaration,
           std::type_identity_t<Bounds<T>> bounds = {}) {
    const Bounds<std::int64_t> wide{.min = clamp(bounds.min), .max = clamp(bounds.max)};
    std::vector<std::int64_t> defaults;
    defaults.reserve(target.size());
    for (const T value : target)
      defaults.push_back(clamp(value));
    add_integers(declaration, wide, defaults, [&target](const std::vector<std::int64_t>& values) {
      target.clear();
      for (const std::int64_t value : values)
        target.push_back(static_cast<T>(value));
    });
  }
  void add(std::vector<double>& target, const OptionDeclaration& declaration,
           Bounds<double> bounds = {});
  // One of the given texts.
  void add(std::string& target, const OptionDeclaration& declaration,
           std::initializer_list<std::string_view> choices);
  void add(ByteSize& target, const OptionDeclaration& declaration,
           Bounds<std::uint64_t> bounds_bytes = {});
  // "30s", "500ms", "2m", "1h"; a plain number is seconds.
  void add(std::chrono::milliseconds& target, const OptionDeclaration& declaration,
           Bounds<std::int64_t> bounds_ms = {.min = 0});

  // One of the given texts, stored as the enumerator beside it.
  template <typename Enum>
    requires std::is_enum_v<Enum>
  void add(Enum& target, const OptionDeclaration& declaration,
           std::initializer_list<std::pair<std::string_view, Enum>> choices) {
    std::vector<std::string> names;
    std::vector<Enum> values;
    std::size_t current = choices.size();
    for (const auto& [name, value] : choices) {
      if (value == target) current = names.size();
      names.emplace_back(name);
      values.push_back(value);
    }
    add_choice(declaration, std::move(names), current,
               [&target, values = std::move(values)](std::size_t idx) { target = values[idx]; });
  }

  // Positional arguments are filled in the order of declaration; required ones come first.
  void add_positional(std::string& target, const PositionalDeclaration& declaration);
  // Takes all arguments that are left; the last to be declared.
  void add_positional(std::vector<std::string>& target, const PositionalDeclaration& declaration);

  // What differs from the defaults and where it came from, for the log:
  // "port=9000 (flag --port), max-num-seqs=8 (environment variable HEARTH_MAX_NUM_SEQS)".
  std::string summary() const;

  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;
  ~OptionSet();

  struct Impl;

 private:
  friend class CommandLine;
  OptionSet();

  template <typename T>
  static std::int64_t clamp(T value) {
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    return std::in_range<std::int64_t>(value) ? static_cast<std::int64_t>(value) : kMax;
  }
  void add_integer(const OptionDeclaration& declaration, Bounds<std::int64_t> bounds,
                   std::int64_t default_value, std::function<void(std::int64_t)> store);
  void add_integers(const OptionDeclaration& declaration, Bounds<std::int64_t> bounds,
                    const std::vector<std::int64_t>& defaults,
                    std::function<void(const std::vector<std::int64_t>&)> store);
  void add_choice(const OptionDeclaration& declaration, std::vector<std::string> names,
                  std::size_t default_idx, std::function<void(std::size_t)> store);

  std::unique_ptr<Impl> impl_;
};

struct ParsedCommand {
  std::string command;  // The chosen command's name; empty when only `text` is to be shown.
  std::string text;     // Help or version text that the user asked for; else empty.
};

// A program with commands. Every command understands --help and --config.
class CommandLine {
 public:
  CommandLine(std::string program, std::string description);
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  ~CommandLine();

  // Shown by --version.
  void set_version(std::string text);
  // A name of two words, "bench serve", makes the command one of the group "bench", which has a
  // help text of its own. The set lives as long as this object.
  OptionSet& add_command(std::string_view name, std::string_view summary);

  // `arguments` without the program's name. Environment variables and YAML keys that belong to
  // another command than the chosen one are accepted and not used, so that one environment and one
  // file serve all. After an error the bound variables are unspecified.
  Result<ParsedCommand> parse(std::span<const std::string> arguments,
                              const Environment& environment);

  std::string help() const;
  // Help of one command or group; empty when there is no such command.
  std::string help(std::string_view command) const;
  // docs/options.md: every command with all its options.
  std::string markdown() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
