// Functions every template can call.
#include <array>
#include <ctime>

#include "jinja/builtins.h"
#include "jinja/operators.h"
#include "jinja/printing.h"

namespace hearth::jinja {
namespace {

constexpr std::size_t kMaxRange = 100'000;  // As Jinja's sandbox.

Value range_function(Runtime& runtime, const Value&, const Bound& args) {
  const bool one = args[1] == nullptr;
  const std::int64_t first = runtime.integer(*args[0], "range's argument");
  const std::int64_t start = one ? 0 : first;
  const std::int64_t stop = one ? first : runtime.integer(*args[1], "range's argument");
  const std::int64_t step = runtime.integer_or(args[2], 1, "range's step");
  if (step == 0) runtime.fail("range: the step cannot be zero");
  auto* range = runtime.make<Range>(start, stop, step);
  if (range->size() > kMaxRange) {
    runtime.over_limit("a range of {} items, the limit is {}", range->size(), kMaxRange);
  }
  return Value(Kind::kRange, range);
}

// dict(mapping or pairs, name=value, ...) into `out`.
void fill_dict(Runtime& runtime, Dict& out, const Arguments& arguments) {
  if (arguments.positional.size() > 1) runtime.fail("dict: takes one positional argument");
  for (const Value& source : arguments.positional) {
    if (source.is(Kind::kDict)) {
      for (const Dict::Entry& entry : source.as<Dict>().entries()) {
        runtime.allocate(sizeof(Dict::Entry));
        out.set(entry.key, entry.value);
      }
      continue;
    }
    for (const Value& pair : iterate(runtime, source)) {
      const std::vector<Value> items = iterate(runtime, pair);
      if (items.size() != 2) runtime.fail("dict: needs pairs, got {} values", items.size());
      require_hashable(runtime, items[0]);
      runtime.allocate(sizeof(Dict::Entry));
      out.set(items[0], items[1]);
    }
  }
  for (const auto& [name, value] : arguments.named)
    out.set(runtime.text(name), value);
}

Value dict_function(Runtime& runtime, const Value&, const Bound& args) {
  auto* dict = runtime.make<Dict>();
  fill_dict(runtime, *dict, args.all);
  return Value(Kind::kDict, dict);
}

Value namespace_function(Runtime& runtime, const Value&, const Bound& args) {
  auto* space = runtime.make<Namespace>();
  fill_dict(runtime, space->attributes, args.all);
  for (const Dict::Entry& entry : space->attributes.entries()) {
    if (entry.key.is_text() && entry.key.text().view().starts_with('_')) {
      runtime.fail("a namespace attribute cannot begin with '_'");
    }
  }
  return Value(Kind::kNamespace, space);
}

Value cycler_function(Runtime& runtime, const Value&, const Bound& args) {
  if (args.all.positional.empty()) runtime.fail("cycler: no items given");
  auto* cycler = runtime.make<Cycler>();
  cycler->items = args.all.positional;
  return Value(Kind::kCycler, cycler);
}

Value joiner_function(Runtime& runtime, const Value&, const Bound& args) {
  auto* joiner = runtime.make<Joiner>();
  joiner->separator = args[0] == nullptr ? runtime.text(", ") : *args[0];
  return Value(Kind::kJoiner, joiner);
}

Value raise_exception_function(Runtime& runtime, const Value&, const Bound& args) {
  runtime.fail("{}", to_text(runtime, *args[0]).view());
}

Value strftime_now_function(Runtime& runtime, const Value&, const Bound& args) {
  const std::string format(runtime.text_of(*args[0], "strftime_now's format").view());
  const std::time_t seconds = std::chrono::system_clock::to_time_t(runtime.now());
  std::tm local{};
  localtime_r(&seconds, &local);
  std::array<char, 1024> buffer{};
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  if (size == 0 && !format.empty()) {
    runtime.over_limit("strftime_now: the text is empty or longer than {} bytes", buffer.size());
  }
  return runtime.text(std::string_view(buffer.data(), size), args[0]->text().origin());
}

constexpr Builtin kGlobals[] = {
    {"range", "start stop? step?", range_function},
    {"dict", "*", dict_function},
    {"namespace", "*", namespace_function},
    {"cycler", "*", cycler_function},
    {"joiner", "sep?", joiner_function},
    {"raise_exception", "message", raise_exception_function},
    {"strftime_now", "format", strftime_now_function},
};

}  // namespace

std::span<const Builtin> globals() {
  return kGlobals;
}

}  // namespace hearth::jinja
