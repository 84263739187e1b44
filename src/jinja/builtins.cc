#include "jinja/builtins.h"

#include <algorithm>
#include <initializer_list>
#include <unordered_map>

#include "jinja/operators.h"

namespace hearth::jinja {
namespace {

class Table {
 public:
  Table(std::initializer_list<std::span<const Builtin>> parts) {
    for (const std::span<const Builtin> part : parts) {
      for (const Builtin& builtin : part)
        by_name_.emplace(builtin.name, &builtin);
    }
  }
  const Builtin* find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }

 private:
  std::unordered_map<std::string_view, const Builtin*> by_name_;
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  static const Table table = {text_filters(), markup_filters(), number_filters(),
                              sequence_filters(), selection_filters()};
  return table.find(name);
}

const Builtin* find_test(std::string_view name) {
  static const Table table = {all_tests()};
  return table.find(name);
}

const Builtin* find_global(std::string_view name) {
  static const Table table = {globals()};
  return table.find(name);
}

const Builtin* find_method(const Value& object, std::string_view name) {
  static const Table texts = {text_methods(), text_search_methods()};
  static const Table dicts = {dict_methods()};
  static const Table sequences = {sequence_methods()};
  static const Table loops = {loop_methods()};
  static const Table cyclers = {cycler_methods()};
  switch (object.kind()) {
    case Kind::kText:
      return texts.find(name);
    case Kind::kDict:
      return dicts.find(name);
    case Kind::kList:
      return sequences.find(name);
    case Kind::kTuple:
      return name == "copy" ? nullptr : sequences.find(name);
    case Kind::kLoop:
      return loops.find(name);
    case Kind::kCycler:
      return cyclers.find(name);
    default:
      return nullptr;
  }
}

Value attribute_path(Runtime& runtime, const Value& item, const Value& path,
                     const Value* fallback) {
  const auto or_fallback = [&](const Value& value) {
    return value.is_undefined() && fallback != nullptr && !fallback->is_none() ? *fallback : value;
  };
  runtime.spend();
  if (!path.is_text()) return or_fallback(get_item(runtime, item, path));
  Value value = item;
  std::string_view rest = path.text().view();
  std::size_t begin = 0;
  while (true) {
    const std::size_t dot = std::min(rest.find('.', begin), rest.size());
    const std::string_view part = rest.substr(begin, dot - begin);
    const bool digits = !part.empty() && part.size() < 10 &&
                        std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    if (digits) {
      std::int64_t idx = 0;
      for (const char c : part)
        idx = idx * 10 + (c - '0');
      value = get_item(runtime, value, Value(idx));
    } else {
      value = get_item(runtime, value, runtime.substring(path.text(), begin, dot));
    }
    value = or_fallback(value);
    if (dot == rest.size()) return value;
    begin = dot + 1;
  }
}

}  // namespace hearth::jinja
