// Filters that apply a filter or a test, named by a string, to every item.
#include <algorithm>

#include "jinja/builtins.h"
#include "jinja/operators.h"

namespace hearth::jinja {
namespace {

Value map_attribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value* attribute = nullptr;
  const Value* fallback = nullptr;
  for (const auto& [name, value] : arguments.named) {
    if (name == "attribute") {
      attribute = &value;
    } else if (name == "default") {
      fallback = &value;
    } else {
      runtime.fail("map: an argument it does not have, '{}'", name);
    }
  }
  if (attribute == nullptr) runtime.fail("map: needs a filter's name or attribute=");
  std::vector<Value> out;
  for (const Value& item : iterate(runtime, self)) {
    out.push_back(attribute_path(runtime, item, *attribute, fallback));
  }
  return runtime.iterator(std::move(out));
}

Value map_filter(Runtime& runtime, const Value& self, const Bound& args) {
  if (!truthy(self)) return runtime.iterator({});
  if (args.all.positional.empty()) return map_attribute(runtime, self, args.all);
  const std::string_view name =
      runtime.text_of(args.all.positional.front(), "the filter's name").view();
  const Builtin* filter = find_filter(name);
  if (filter == nullptr) runtime.fail("there is no filter '{}'", name);
  Arguments rest = args.all;
  rest.positional.erase(rest.positional.begin());
  std::vector<Value> out;
  for (const Value& item : iterate(runtime, self))
    out.push_back(runtime.apply(*filter, item, rest));
  return runtime.iterator(std::move(out));
}

// select, reject and their attr forms.
template <bool wanted, bool by_attribute>
Value select_filter(Runtime& runtime, const Value& self, const Bound& args) {
  if (!truthy(self)) return runtime.iterator({});
  Arguments rest = args.all;
  Value attribute;
  if (by_attribute) {
    if (rest.positional.empty()) runtime.fail("the attribute's name is missing");
    attribute = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
  }
  const Builtin* test = nullptr;
  if (!rest.positional.empty()) {
    const std::string_view name =
        runtime.text_of(rest.positional.front(), "the test's name").view();
    test = find_test(name);
    if (test == nullptr) runtime.fail("there is no test '{}'", name);
    rest.positional.erase(rest.positional.begin());
  }
  std::vector<Value> kept;
  for (const Value& item : iterate(runtime, self)) {
    const Value subject = by_attribute ? attribute_path(runtime, item, attribute, nullptr) : item;
    const bool passes = truthy(test == nullptr ? subject : runtime.apply(*test, subject, rest));
    if (passes == wanted) kept.push_back(item);
  }
  return runtime.iterator(std::move(kept));
}

Value random_filter(Runtime& runtime, const Value&, const Bound&) {
  runtime.fail("random: a prompt must not depend on chance");
}

constexpr Builtin kFilters[] = {
    {"map", "*", map_filter},
    {"select", "*", select_filter<true, false>},
    {"reject", "*", select_filter<false, false>},
    {"selectattr", "*", select_filter<true, true>},
    {"rejectattr", "*", select_filter<false, true>},
    {"random", "", random_filter},
};

}  // namespace

std::span<const Builtin> selection_filters() {
  return kFilters;
}

}  // namespace hearth::jinja
