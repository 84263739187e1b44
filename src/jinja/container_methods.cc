// Methods and attributes of everything that is not a string.
#include <algorithm>
#include <array>

#include "jinja/builtins.h"
#include "jinja/interpreter.h"
#include "jinja/operators.h"
#include "jinja/printing.h"

namespace hearth::jinja {
namespace {

using std::string_view;

// --- dict ---

template <ViewKind kind>
Value view_method(Runtime& runtime, const Value& self, const Bound&) {
  return Value(Kind::kView, runtime.make<View>(self.as<Dict>(), kind)).with_origin(self.origin());
}

Value get_method(Runtime& runtime, const Value& self, const Bound& args) {
  require_hashable(runtime, *args[0]);
  if (const Value* found = self.as<Dict>().find(*args[0])) return *found;
  return args[1] == nullptr ? Value() : *args[1];
}

Value copy_dict_method(Runtime& runtime, const Value& self, const Bound&) {
  auto* copy = runtime.make<Dict>();
  for (const Dict::Entry& entry : self.as<Dict>().entries()) {
    runtime.allocate(sizeof(Dict::Entry));
    copy->set(entry.key, entry.value);
  }
  return Value(Kind::kDict, copy).with_origin(self.origin());
}

// --- list and tuple ---

Value copy_list_method(Runtime& runtime, const Value& self, const Bound&) {
  return runtime.list(self.as<List>().items).with_origin(self.origin());
}

Value count_item_method(Runtime& runtime, const Value& self, const Bound& args) {
  const std::vector<Value>& items = self.as<List>().items;
  runtime.spend(items.size());
  return Value(static_cast<std::int64_t>(std::ranges::count_if(
      items, [&](const Value& item) { return same(runtime, item, *args[0]); })));
}

Value index_of_method(Runtime& runtime, const Value& self, const Bound& args) {
  const std::vector<Value>& items = self.as<List>().items;
  const auto size = static_cast<std::int64_t>(items.size());
  const auto resolve = [&](const Value* bound, std::int64_t fallback) {
    const std::int64_t value = runtime.integer_or(bound, fallback, "a position");
    return std::clamp<std::int64_t>(value < 0 ? value + size : value, 0, size);
  };
  const std::int64_t stop = resolve(args[2], size);
  for (std::int64_t i = resolve(args[1], 0); i < stop; ++i) {
    runtime.spend();
    if (same(runtime, items[static_cast<std::size_t>(i)], *args[0])) return Value(i);
  }
  runtime.fail("the value is not in the {}", type_name(self));
}

// --- loop ---

Value cycle_loop_method(Runtime& runtime, const Value& self, const Bound& args) {
  if (args.all.positional.empty()) runtime.fail("loop.cycle: no items given");
  return args.all.positional[self.as<LoopState>().idx % args.all.positional.size()];
}

Value changed_method(Runtime& runtime, const Value& self, const Bound& args) {
  auto& state = self.state<LoopState>();
  const bool unchanged =
      state.has_changed &&
      std::ranges::equal(state.last_changed, args.all.positional,
                         [&](const Value& a, const Value& b) { return same(runtime, a, b); });
  state.has_changed = true;
  state.last_changed = args.all.positional;
  return Value(!unchanged);
}

Value count_of(std::size_t count) {
  return Value(static_cast<std::int64_t>(count));
}

Value neighbour(Runtime& runtime, const LoopState& loop, bool next) {
  if (next && loop.idx + 1 < loop.items.size()) return loop.items[loop.idx + 1];
  if (!next && loop.idx > 0) return loop.items[loop.idx - 1];
  return runtime.undefined("there is no {} item", next ? "next" : "previous");
}

struct LoopAttribute {
  string_view name;
  Value (*read)(Runtime&, const LoopState&);
};

constexpr LoopAttribute kLoopAttributes[] = {
    {"index", [](Runtime&, const LoopState& loop) { return count_of(loop.idx + 1); }},
    {"index0", [](Runtime&, const LoopState& loop) { return count_of(loop.idx); }},
    {"revindex",
     [](Runtime&, const LoopState& loop) { return count_of(loop.items.size() - loop.idx); }},
    {"revindex0",
     [](Runtime&, const LoopState& loop) { return count_of(loop.items.size() - loop.idx - 1); }},
    {"first", [](Runtime&, const LoopState& loop) { return Value(loop.idx == 0); }},
    {"last",
     [](Runtime&, const LoopState& loop) { return Value(loop.idx + 1 == loop.items.size()); }},
    {"length", [](Runtime&, const LoopState& loop) { return count_of(loop.items.size()); }},
    {"depth", [](Runtime&, const LoopState& loop) { return count_of(loop.depth0 + 1); }},
    {"depth0", [](Runtime&, const LoopState& loop) { return count_of(loop.depth0); }},
    {"previtem",
     [](Runtime& runtime, const LoopState& loop) { return neighbour(runtime, loop, false); }},
    {"nextitem",
     [](Runtime& runtime, const LoopState& loop) { return neighbour(runtime, loop, true); }},
};

// --- cycler ---

Value current_of(const Cycler& cycler) {
  return cycler.items[cycler.next];
}

Value next_method(Runtime&, const Value& self, const Bound&) {
  auto& cycler = self.state<Cycler>();
  const Value current = current_of(cycler);
  cycler.next = (cycler.next + 1) % cycler.items.size();
  return current;
}

Value reset_method(Runtime&, const Value& self, const Bound&) {
  self.state<Cycler>().next = 0;
  return {};
}

constexpr Builtin kDictMethods[] = {
    {"get", "key default?", get_method},
    {"items", "", view_method<ViewKind::kItems>},
    {"keys", "", view_method<ViewKind::kKeys>},
    {"values", "", view_method<ViewKind::kValues>},
    {"copy", "", copy_dict_method},
};

constexpr Builtin kSequenceMethods[] = {
    {"count", "value", count_item_method},
    {"index", "value start? stop?", index_of_method},
    {"copy", "", copy_list_method},
};

constexpr Builtin kLoopMethods[] = {
    {"cycle", "*", cycle_loop_method},
    {"changed", "*", changed_method},
};

constexpr Builtin kCyclerMethods[] = {
    {"next", "", next_method},
    {"reset", "", reset_method},
};

bool find_macro_attribute(Runtime& runtime, const Macro& macro, string_view name, Value& out) {
  const Signature& signature = macro.signature;
  if (name == "name") {
    out = macro.name == nullptr ? Value() : Value(macro.name);
  } else if (name == "arguments") {
    std::vector<Value> names;
    names.reserve(signature.parameters.size());
    for (const Signature::Parameter& parameter : signature.parameters)
      names.emplace_back(parameter.name);
    out = runtime.tuple(std::move(names));
  } else if (name == "catch_kwargs") {
    out = Value(signature.uses_kwargs);
  } else if (name == "catch_varargs") {
    out = Value(signature.uses_varargs);
  } else if (name == "caller") {
    out = Value(signature.uses_caller);
  } else {
    return false;
  }
  return true;
}

bool find_loop_attribute(Runtime& runtime, const LoopState& loop, string_view name, Value& out) {
  const auto* found = std::ranges::find(kLoopAttributes, name, &LoopAttribute::name);
  if (found == std::end(kLoopAttributes)) return false;
  out = found->read(runtime, loop);
  return true;
}

bool find_group_attribute(const List& group, string_view name, Value& out) {
  if (!group.group || (name != "grouper" && name != "list")) return false;
  out = group.items[name == "grouper" ? 0 : 1];
  return true;
}

bool find_range_attribute(const Range& range, string_view name, Value& out) {
  if (name == "start") {
    out = Value(range.start);
  } else if (name == "stop") {
    out = Value(range.stop);
  } else if (name == "step") {
    out = Value(range.step);
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::span<const Builtin> dict_methods() {
  return kDictMethods;
}
std::span<const Builtin> sequence_methods() {
  return kSequenceMethods;
}
std::span<const Builtin> loop_methods() {
  return kLoopMethods;
}
std::span<const Builtin> cycler_methods() {
  return kCyclerMethods;
}

bool find_data_attribute(Runtime& runtime, const Value& object, string_view name, Value& out) {
  switch (object.kind()) {
    case Kind::kLoop:
      return find_loop_attribute(runtime, object.as<LoopState>(), name, out);
    case Kind::kMacro:
      return find_macro_attribute(runtime, object.as<Macro>(), name, out);
    case Kind::kTuple:
      return find_group_attribute(object.as<List>(), name, out);
    case Kind::kRange:
      return find_range_attribute(object.as<Range>(), name, out);
    case Kind::kCycler:
      if (name == "current") out = current_of(object.as<Cycler>());
      return name == "current";
    default:
      return false;
  }
}

bool is_refused_attribute(const Value& object, string_view name) {
  static constexpr std::array<string_view, 8> kListMutators = {
      "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
  static constexpr std::array<string_view, 6> kDictMutators = {"clear",      "pop",    "popitem",
                                                               "setdefault", "update", "fromkeys"};
  if (name.starts_with("__")) return true;
  if (object.is(Kind::kList)) return std::ranges::find(kListMutators, name) != kListMutators.end();
  if (object.is(Kind::kDict)) return std::ranges::find(kDictMutators, name) != kDictMutators.end();
  return false;
}

}  // namespace hearth::jinja
