// Filters on sequences and mappings.
#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "jinja/builtins.h"
#include "jinja/operators.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"

namespace hearth::jinja {
namespace {

using std::string_view;

bool given_true(const Value* value) {
  return value != nullptr && truthy(*value);
}

// What an item is sorted, grouped or compared by.
struct KeyOptions {
  const Value* attribute = nullptr;
  const Value* fallback = nullptr;
  bool case_sensitive = false;
};

Value key_of(Runtime& runtime, const Value& item, const KeyOptions& options) {
  Value key = item;
  if (options.attribute != nullptr)
    key = attribute_path(runtime, item, *options.attribute, options.fallback);
  return !options.case_sensitive && key.is_text() ? lower(runtime, key.text()) : key;
}

std::vector<Value> keys_of(Runtime& runtime, const std::vector<Value>& items,
                           const KeyOptions& options) {
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items)
    keys.push_back(key_of(runtime, item, options));
  return keys;
}

std::vector<Value> reordered(const std::vector<Value>& items,
                             const std::vector<std::size_t>& order) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (const std::size_t idx : order)
    out.push_back(items[idx]);
  return out;
}

// --- parts ---

Value first_filter(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is(Kind::kIterator)) {
    auto& iterator = self.state<Iterator>();
    if (iterator.next < iterator.items.size()) return iterator.items[iterator.next++];
    return runtime.undefined("the sequence is empty: it has no first item");
  }
  if (self.is_text() || self.is_sequence() || self.is(Kind::kRange)) {
    const Value found = get_item(runtime, self, Value(std::int64_t{0}));
    if (!found.is_undefined() || self.is_sequence())
      return length(runtime, self) > 0
                 ? found
                 : runtime.undefined("the sequence is empty: it has no first item");
  }
  const std::vector<Value> items = iterate(runtime, self);
  return items.empty() ? runtime.undefined("the sequence is empty: it has no first item")
                       : items.front();
}

void require_reversible(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) runtime.fail_undefined(value);
  if (value.is(Kind::kIterator)) runtime.fail("a generator has no last item; use list first");
}

Value last_filter(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is_undefined()) return runtime.undefined("the sequence is empty: it has no last item");
  require_reversible(runtime, self);
  if (self.is_text() || self.is_sequence() || self.is(Kind::kRange)) {
    if (length(runtime, self) > 0) return get_item(runtime, self, Value(std::int64_t{-1}));
    return runtime.undefined("the sequence is empty: it has no last item");
  }
  const std::vector<Value> items = iterate(runtime, self);
  return items.empty() ? runtime.undefined("the sequence is empty: it has no last item")
                       : items.back();
}

Value length_filter(Runtime& runtime, const Value& self, const Bound&) {
  return Value(static_cast<std::int64_t>(length(runtime, self)));
}

Value list_filter(Runtime& runtime, const Value& self, const Bound&) {
  return runtime.list(iterate(runtime, self)).with_origin(self.origin());
}

Value reverse_filter(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is_text()) {
    return get_slice(runtime, self, {Value(), Value(), Value(std::int64_t{-1})});
  }
  std::vector<Value> items = iterate(runtime, self);
  std::ranges::reverse(items);
  return self.is(Kind::kIterator) ? runtime.list(std::move(items))
                                  : runtime.iterator(std::move(items));
}

Value items_filter(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is_undefined()) return runtime.iterator({});
  if (!self.is(Kind::kDict)) runtime.fail("items: needs a dict, not {}", type_name(self));
  const View view(self.as<Dict>(), ViewKind::kItems);
  return runtime.iterator(iterate(runtime, Value(Kind::kView, &view)));
}

Value attr_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& name = runtime.text_of(*args[0], "the attribute's name");
  Value out;
  if (find_attribute(runtime, self, name.view(), out)) return out;
  return runtime.undefined("{} has no attribute '{}'", type_name(self), name.view());
}

Value default_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const bool missing = self.is_undefined() || (given_true(args[1]) && !truthy(self));
  if (!missing) return self;
  return args[0] == nullptr ? runtime.text("") : *args[0];
}

// --- joining and adding ---

Value join_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Value* attribute = args.given(1);
  const Value separator =
      args[0] == nullptr ? runtime.text("") : Value(&to_text(runtime, *args[0]));
  TextBuilder out;
  bool first = true;
  for (const Value& item : iterate(runtime, self)) {
    runtime.spend();
    if (!std::exchange(first, false)) print(runtime, out, separator);
    print(runtime, out,
          attribute == nullptr ? item : attribute_path(runtime, item, *attribute, nullptr));
  }
  return runtime.text(std::move(out));
}

Value sum_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const Value* attribute = args.given(0);
  Value total = args[1] == nullptr ? Value(std::int64_t{0}) : *args[1];
  if (total.is_text()) runtime.fail("sum: strings cannot be summed; use join");
  for (const Value& item : iterate(runtime, self)) {
    const Value value =
        attribute == nullptr ? item : attribute_path(runtime, item, *attribute, nullptr);
    total = binary(runtime, BinaryOp::kAdd, total, value);
  }
  return total;
}

// --- order ---

// "age,name" sorts by several attributes: a tuple of keys per item.
std::vector<Value> sort_keys(Runtime& runtime, const std::vector<Value>& items,
                             const KeyOptions& options) {
  const Value* attribute = options.attribute;
  if (attribute == nullptr || !attribute->is_text() ||
      attribute->text().view().find(',') == string_view::npos) {
    return keys_of(runtime, items, options);
  }
  const Value comma = runtime.text(",");
  const std::vector<Value> paths = split(runtime, attribute->text(), &comma.text(), -1);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> parts;
    parts.reserve(paths.size());
    for (const Value& path : paths) {
      parts.push_back(
          key_of(runtime, item, {.attribute = &path, .case_sensitive = options.case_sensitive}));
    }
    keys.push_back(runtime.tuple(std::move(parts)));
  }
  return keys;
}

Value sort_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const KeyOptions options{.attribute = args.given(2), .case_sensitive = given_true(args[1])};
  const std::vector<Value> items = iterate(runtime, self);
  const auto order = sorted_order(runtime, sort_keys(runtime, items, options), given_true(args[0]));
  return runtime.list(reordered(items, order)).with_origin(self.origin());
}

Value dictsort_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const string_view by =
      args[1] == nullptr ? "key" : runtime.text_of(*args[1], "what to sort by").view();
  if (by != "key" && by != "value") runtime.fail("dictsort: sorts by 'key' or 'value'");
  if (self.is_undefined()) runtime.fail_undefined(self);
  if (!self.is(Kind::kDict)) runtime.fail("dictsort: needs a dict, not {}", type_name(self));
  const KeyOptions options{.case_sensitive = given_true(args[0])};
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const Dict::Entry& entry : self.as<Dict>().entries()) {
    items.push_back(runtime.tuple({entry.key, entry.value}));
    keys.push_back(key_of(runtime, by == "key" ? entry.key : entry.value, options));
  }
  return runtime.list(reordered(items, sorted_order(runtime, keys, given_true(args[2]))));
}

Value unique_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const KeyOptions options{.attribute = args.given(1), .case_sensitive = given_true(args[0])};
  auto* seen = runtime.make<Dict>();
  std::vector<Value> kept;
  for (const Value& item : iterate(runtime, self)) {
    const Value key = key_of(runtime, item, options);
    require_hashable(runtime, key);
    if (seen->find(key) != nullptr) continue;
    runtime.allocate(sizeof(Dict::Entry));
    seen->set(key, Value());
    kept.push_back(item);
  }
  return runtime.iterator(std::move(kept));
}

template <bool largest>
Value extreme_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const KeyOptions options{.attribute = args.given(1), .case_sensitive = given_true(args[0])};
  const std::vector<Value> items = iterate(runtime, self);
  if (items.empty()) return runtime.undefined("the sequence is empty: it has no extreme item");
  std::size_t best = 0;
  Value best_key = key_of(runtime, items[0], options);
  for (std::size_t i = 1; i < items.size(); ++i) {
    const Value key = key_of(runtime, items[i], options);
    if (largest ? less(runtime, best_key, key) : less(runtime, key, best_key)) {
      best = i;
      best_key = key;
    }
  }
  return items[best];
}

// --- groups ---

Value groupby_filter(Runtime& runtime, const Value& self, const Bound& args) {
  const bool case_sensitive = given_true(args[2]);
  const KeyOptions options{
      .attribute = args[0], .fallback = args[1], .case_sensitive = case_sensitive};
  const std::vector<Value> unsorted = iterate(runtime, self);
  const std::vector<Value> unsorted_keys = keys_of(runtime, unsorted, options);
  const auto order = sorted_order(runtime, unsorted_keys, false);
  const std::vector<Value> items = reordered(unsorted, order);
  const std::vector<Value> keys = reordered(unsorted_keys, order);
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < items.size();) {
    std::size_t end = begin + 1;
    while (end < items.size() && same(runtime, keys[end], keys[begin]))
      ++end;
    const Value grouper = attribute_path(runtime, items[begin], *args[0], args[1]);
    const Value members = runtime.list({items.begin() + static_cast<std::ptrdiff_t>(begin),
                                        items.begin() + static_cast<std::ptrdiff_t>(end)});
    groups.emplace_back(Kind::kTuple,
                        runtime.make<List>(std::vector<Value>{grouper, members}, true));
    begin = end;
  }
  return runtime.list(std::move(groups));
}

Value batch_filter(Runtime& runtime, const Value& self, const Bound& args) {
  constexpr std::size_t kMaxColumns = 100'000;
  const std::size_t columns =
      runtime.bounded(runtime.integer(*args[0], "the line count"), kMaxColumns, "the line count");
  const Value* fill = args.given(1);
  std::vector<Value> rows;
  std::vector<Value> row;
  for (const Value& item : iterate(runtime, self)) {
    if (row.size() == columns && (!row.empty() || columns == 0)) {
      rows.push_back(runtime.list(std::exchange(row, {})));
    }
    row.push_back(item);
  }
  if (!row.empty()) {
    if (fill != nullptr && row.size() < columns) row.resize(columns, *fill);
    rows.push_back(runtime.list(std::move(row)));
  }
  return runtime.iterator(std::move(rows));
}

Value slice_filter(Runtime& runtime, const Value& self, const Bound& args) {
  constexpr std::size_t kMaxSlices = 100'000;
  const std::vector<Value> items = iterate(runtime, self);
  const std::int64_t wanted = runtime.integer(*args[0], "the number of slices");
  if (wanted == 0) runtime.fail("slice: the number of slices cannot be zero");
  const std::size_t slices = runtime.bounded(wanted, kMaxSlices, "the number of slices");
  const Value* fill = args.given(1);
  std::vector<Value> out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < slices; ++i) {
    runtime.spend();
    const bool extra = i < items.size() % slices;
    const std::size_t end = begin + items.size() / slices + (extra ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(begin),
                            items.begin() + static_cast<std::ptrdiff_t>(end));
    if (fill != nullptr && !extra) part.push_back(*fill);
    out.push_back(runtime.list(std::move(part)));
    begin = end;
  }
  return runtime.iterator(std::move(out));
}

constexpr Builtin kFilters[] = {
    {"first", "", first_filter},
    {"last", "", last_filter},
    {"length", "", length_filter},
    {"count", "", length_filter},
    {"list", "", list_filter},
    {"reverse", "", reverse_filter},
    {"items", "", items_filter},
    {"attr", "name", attr_filter},
    {"default", "default_value? boolean?", default_filter},
    {"d", "default_value? boolean?", default_filter},
    {"join", "d? attribute?", join_filter},
    {"sum", "attribute? start?", sum_filter},
    {"sort", "reverse? case_sensitive? attribute?", sort_filter},
    {"dictsort", "case_sensitive? by? reverse?", dictsort_filter},
    {"unique", "case_sensitive? attribute?", unique_filter},
    {"min", "case_sensitive? attribute?", extreme_filter<false>},
    {"max", "case_sensitive? attribute?", extreme_filter<true>},
    {"groupby", "attribute default? case_sensitive?", groupby_filter},
    {"batch", "linecount fill_with?", batch_filter},
    {"slice", "slices fill_with?", slice_filter},
};

}  // namespace

std::span<const Builtin> sequence_filters() {
  return kFilters;
}

}  // namespace hearth::jinja
