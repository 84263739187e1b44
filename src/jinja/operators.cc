#include "jinja/operators.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "jinja/builtins.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"

namespace hearth::jinja {
namespace {

using std::string_view;

// --- ordering ---

bool ordered(CompareOp op, int order) {
  switch (op) {
    case CompareOp::kLess:
      return order < 0;
    case CompareOp::kLessEqual:
      return order <= 0;
    case CompareOp::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

bool compare_order(Runtime& runtime, CompareOp op, const Value& left, const Value& right,
                   int depth);

bool compare_items(Runtime& runtime, CompareOp op, const Value& left, const Value& right,
                   int depth) {
  const std::vector<Value>& a = left.as<List>().items;
  const std::vector<Value>& b = right.as<List>().items;
  if (depth > kMaxValueDepth)
    runtime.over_limit("a value nested deeper than {} levels", kMaxValueDepth);
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    runtime.spend();
    if (!same(runtime, a[i], b[i])) return compare_order(runtime, op, a[i], b[i], depth + 1);
  }
  return ordered(op, a.size() < b.size() ? -1 : (a.size() > b.size() ? 1 : 0));
}

bool compare_order(Runtime& runtime, CompareOp op, const Value& left, const Value& right,
                   int depth) {
  if (left.is_number() && right.is_number()) {
    const NumberOrder order = compare_numbers(left, right);
    return !order.unordered && ordered(op, order.order);
  }
  if (left.is_text() && right.is_text()) {
    runtime.spend_bytes(std::min(left.text().size, right.text().size));
    return ordered(op, left.text().view().compare(right.text().view()));
  }
  if (left.is_sequence() && left.kind() == right.kind())
    return compare_items(runtime, op, left, right, depth);
  if (left.is_undefined()) runtime.fail_undefined(left);
  if (right.is_undefined()) runtime.fail_undefined(right);
  runtime.fail("{} and {} have no order", type_name(left), type_name(right));
}

// --- membership ---

bool contains_item(Runtime& runtime, const std::vector<Value>& items, const Value& item) {
  runtime.spend(items.size());
  return std::ranges::any_of(
      items, [&](const Value& candidate) { return same(runtime, candidate, item); });
}

bool contains_next(Runtime& runtime, Iterator& iterator, const Value& item) {
  while (iterator.next < iterator.items.size()) {
    runtime.spend();
    if (same(runtime, iterator.items[iterator.next++], item)) return true;
  }
  return false;
}

bool range_contains(const Range& range, const Value& item) {
  if (!item.is_integer()) return false;
  const std::int64_t value = item.integer();
  if (range.size() == 0) return false;
  const std::int64_t last = range.at(range.size() - 1);
  const bool within = range.step > 0 ? value >= range.start && value <= last
                                     : value <= range.start && value >= last;
  return within && (static_cast<__int128>(value) - range.start) % range.step == 0;
}

// --- subscripts ---

bool index_of(const Value& key, std::size_t size, std::size_t& out) {
  if (!key.is_integer()) return false;
  std::int64_t idx = key.integer();
  if (idx < 0) idx += static_cast<std::int64_t>(size);
  if (idx < 0 || static_cast<std::uint64_t>(idx) >= size) return false;
  out = static_cast<std::size_t>(idx);
  return true;
}

bool find_character(Runtime& runtime, const Text& text, const Value& key, Value& out) {
  if (!text.ascii()) runtime.spend_bytes(2 * text.size);
  std::size_t idx = 0;
  if (!index_of(key, text.length(), idx)) return false;
  const std::size_t begin = text.byte_offset(idx);
  std::size_t end = begin + 1;
  while (end < text.size && (static_cast<unsigned char>(text.view()[end]) & 0xC0) == 0x80)
    ++end;
  out = runtime.substring(text, begin, end);
  return true;
}

bool find_item(Runtime& runtime, const Value& object, const Value& key, Value& out) {
  std::size_t idx = 0;
  switch (object.kind()) {
    case Kind::kUndefined:
      runtime.fail_undefined(object);
    case Kind::kText:
      return find_character(runtime, object.text(), key, out);
    case Kind::kList:
    case Kind::kTuple:
      if (!index_of(key, object.as<List>().items.size(), idx)) return false;
      out = object.as<List>().items[idx];
      return true;
    case Kind::kRange:
      if (!index_of(key, object.as<Range>().size(), idx)) return false;
      out = Value(object.as<Range>().at(idx));
      return true;
    case Kind::kDict:
      runtime.spend(weight_of(key));
      if (!hashable(key)) return false;
      if (const Value* found = object.as<Dict>().find(key)) {
        out = *found;
        return true;
      }
      return false;
    default:
      return false;
  }
}

// Indices that start:stop:step selects from `size` items.
struct SliceRange {
  std::int64_t start = 0, step = 1;
  std::size_t count = 0;
};

std::int64_t clamp_bound(const Value& bound, std::int64_t fallback, std::int64_t size,
                         std::int64_t lowest, std::int64_t highest) {
  if (bound.is_none()) return fallback;
  std::int64_t value = bound.integer();
  if (value < 0) value = value < -size ? lowest : value + size;
  return std::clamp(value, lowest, highest);
}

SliceRange resolve_slice(Runtime& runtime, const SliceBounds& bounds, std::size_t num_items) {
  const auto size = static_cast<std::int64_t>(num_items);
  SliceRange out;
  if (!bounds.step.is_none()) out.step = bounds.step.integer();
  if (out.step == 0) runtime.fail("a slice step cannot be zero");
  const bool forward = out.step > 0;
  const std::int64_t lowest = forward ? 0 : -1;
  const std::int64_t highest = forward ? size : size - 1;
  out.start = clamp_bound(bounds.start, forward ? 0 : size - 1, size, lowest, highest);
  const std::int64_t stop = clamp_bound(bounds.stop, forward ? size : -1, size, lowest, highest);
  out.count = Range(out.start, stop, out.step).size();
  return out;
}

Value slice_text(Runtime& runtime, const Text& text, const SliceBounds& bounds) {
  if (!text.ascii()) runtime.spend_bytes(3 * text.size);
  const SliceRange range = resolve_slice(runtime, bounds, text.length());
  const auto start = static_cast<std::size_t>(range.start);
  if (range.count == 0) return runtime.substring(text, 0, 0);
  if (range.step == 1) {
    return runtime.substring(text, text.byte_offset(start), text.byte_offset(start + range.count));
  }
  std::vector<std::size_t> offsets;  // Of every code point, and the end.
  for (TextCursor cursor(text); !cursor.done(); cursor.next())
    offsets.push_back(cursor.position());
  offsets.push_back(text.size);
  runtime.allocate(offsets.size() * sizeof(std::size_t));
  TextBuilder out;
  for (std::size_t i = 0; i < range.count; ++i) {
    const auto at =
        static_cast<std::size_t>(range.start + static_cast<std::int64_t>(i) * range.step);
    out.append(text, offsets[at], offsets[at + 1]);
  }
  return runtime.text(std::move(out), text.safe);
}

Value slice_items(Runtime& runtime, const Value& object, const SliceBounds& bounds) {
  const std::vector<Value>& items = object.as<List>().items;
  const SliceRange range = resolve_slice(runtime, bounds, items.size());
  runtime.spend(range.count / 16);
  std::vector<Value> out;
  out.reserve(range.count);
  for (std::size_t i = 0; i < range.count; ++i) {
    out.push_back(
        items[static_cast<std::size_t>(range.start + static_cast<std::int64_t>(i) * range.step)]);
  }
  const Value slice =
      object.is(Kind::kTuple) ? runtime.tuple(std::move(out)) : runtime.list(std::move(out));
  return slice.with_origin(object.origin());
}

Value slice_range(Runtime& runtime, const Range& of, const SliceBounds& bounds) {
  const SliceRange range = resolve_slice(runtime, bounds, of.size());
  const std::int64_t step = of.step * range.step;
  const std::int64_t start = of.start + range.start * of.step;
  const std::int64_t stop = start + static_cast<std::int64_t>(range.count) * step;
  return Value(Kind::kRange, runtime.make<Range>(start, stop, step));
}

bool slice_bound(const Value& bound) {
  return bound.is_none() || bound.is_integer();
}

string_view owner_name(const Value& value) {
  return value.is_none() ? string_view("None") : type_name(value);
}

// Loop items, dict entries and characters.
std::vector<Value> characters(Runtime& runtime, const Text& text) {
  runtime.spend(text.size);
  std::vector<Value> out;
  for (TextCursor cursor(text); !cursor.done();) {
    const std::size_t begin = cursor.position();
    cursor.next();
    const std::size_t size = cursor.position() - begin;
    // Python's Markup yields plain strings.
    out.emplace_back(runtime.make<Text>(text.buffer, text.offset + begin, size, false));
  }
  return out;
}

std::vector<Value> view_items(Runtime& runtime, const View& view) {
  std::vector<Value> out;
  out.reserve(view.dict.size());
  for (const Dict::Entry& entry : view.dict.entries()) {
    switch (view.kind) {
      case ViewKind::kKeys:
        out.push_back(entry.key);
        break;
      case ViewKind::kValues:
        out.push_back(entry.value);
        break;
      case ViewKind::kItems:
        out.push_back(runtime.tuple({entry.key, entry.value}));
        break;
    }
  }
  return out;
}

std::vector<Value> range_items(const Range& range) {
  std::vector<Value> out;
  out.reserve(range.size());
  for (std::size_t i = 0; i < range.size(); ++i)
    out.emplace_back(range.at(i));
  return out;
}

std::vector<Value> remaining(Iterator& iterator) {
  std::vector<Value> out(iterator.items.begin() + static_cast<std::ptrdiff_t>(iterator.next),
                         iterator.items.end());
  iterator.next = iterator.items.size();
  return out;
}

}  // namespace

bool compare(Runtime& runtime, CompareOp op, const Value& left, const Value& right) {
  switch (op) {
    case CompareOp::kEqual:
      return same(runtime, left, right);
    case CompareOp::kNotEqual:
      return !same(runtime, left, right);
    case CompareOp::kIn:
      return contains(runtime, right, left);
    case CompareOp::kNotIn:
      return !contains(runtime, right, left);
    default:
      return compare_order(runtime, op, left, right, 0);
  }
}

bool less(Runtime& runtime, const Value& left, const Value& right) {
  runtime.spend();
  return compare_order(runtime, CompareOp::kLess, left, right, 0);
}

bool same(Runtime& runtime, const Value& left, const Value& right) {
  runtime.spend(std::min(weight_of(left), weight_of(right)));
  return equal(left, right);
}

std::vector<std::size_t> sorted_order(Runtime& runtime, const std::vector<Value>& keys,
                                      bool reverse) {
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<std::size_t> merged(keys.size());
  const auto precedes = [&](std::size_t a, std::size_t b) {
    return reverse ? less(runtime, keys[b], keys[a]) : less(runtime, keys[a], keys[b]);
  };
  for (std::size_t width = 1; width < keys.size(); width *= 2) {
    for (std::size_t begin = 0; begin < keys.size(); begin += 2 * width) {
      std::size_t left = begin;
      const std::size_t middle = std::min(begin + width, keys.size());
      std::size_t right = middle;
      const std::size_t end = std::min(begin + 2 * width, keys.size());
      for (std::size_t i = begin; i < end; ++i) {
        const bool take_right =
            left == middle || (right < end && precedes(order[right], order[left]));
        merged[i] = order[take_right ? right++ : left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kText: {
      const Text& needle = runtime.text_of(item, "what is looked for in a string");
      runtime.spend_bytes(container.text().size);
      return find_part(container.text().view(), needle.view()) != string_view::npos;
    }
    case Kind::kList:
    case Kind::kTuple:
      return contains_item(runtime, container.as<List>().items, item);
    case Kind::kDict:
      require_hashable(runtime, item);
      return container.as<Dict>().find(item) != nullptr;
    case Kind::kView:
      if (container.as<View>().kind == ViewKind::kKeys) require_hashable(runtime, item);
      return contains_item(runtime, view_items(runtime, container.as<View>()), item);
    case Kind::kRange:
      return range_contains(container.as<Range>(), item);
    case Kind::kIterator:
      return contains_next(runtime, container.state<Iterator>(), item);
    default:
      runtime.fail("'in' does not work on {}", type_name(container));
  }
}

Value get_attribute(Runtime& runtime, const Value& object, const Text& name) {
  Value out;
  if (find_attribute(runtime, object, name.view(), out)) return out;
  if (object.is(Kind::kDict)) {
    if (const Value* found = object.as<Dict>().find(name.view())) return *found;
  }
  return runtime.undefined("{} has no attribute '{}'", owner_name(object), name.view());
}

bool find_attribute(Runtime& runtime, const Value& object, string_view name, Value& out) {
  if (object.is_undefined()) runtime.fail_undefined(object);
  if (object.is(Kind::kNamespace)) {
    const Value* found = object.as<Namespace>().attributes.find(name);
    if (found != nullptr) out = *found;
    return found != nullptr;
  }
  if (find_data_attribute(runtime, object, name, out)) return true;
  if (is_refused_attribute(object, name)) {
    out = Value(Kind::kUndefined,
                runtime.make<Undefined>(fmt::format("'{}' of {} is not available in chat templates",
                                                    name, type_name(object)),
                                        true));
    return true;
  }
  const Builtin* method = find_method(object, name);
  if (method == nullptr) return false;
  out = Value(Kind::kFunction, runtime.make<Function>(*method, object));
  return true;
}

Value get_item(Runtime& runtime, const Value& object, const Value& key) {
  Value out;
  if (find_item(runtime, object, key, out)) return out;
  if (key.is_text() && find_attribute(runtime, object, key.text().view(), out)) return out;
  if (key.is_text())
    return runtime.undefined("{} has no item '{}'", owner_name(object), key.text().view());
  return runtime.undefined("{} has no such item", owner_name(object));
}

Value get_slice(Runtime& runtime, const Value& object, const SliceBounds& bounds) {
  if (object.is_undefined()) runtime.fail_undefined(object);
  const bool sliceable = object.is_text() || object.is_sequence() || object.is(Kind::kRange);
  if (!sliceable) runtime.fail("{} cannot be sliced", owner_name(object));
  if (!slice_bound(bounds.start) || !slice_bound(bounds.stop) || !slice_bound(bounds.step)) {
    runtime.fail("slice bounds must be integers or none");
  }
  if (object.is_text()) return slice_text(runtime, object.text(), bounds);
  if (object.is(Kind::kRange)) return slice_range(runtime, object.as<Range>(), bounds);
  return slice_items(runtime, object, bounds);
}

bool iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kText:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kView:
    case Kind::kRange:
    case Kind::kIterator:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

std::vector<Value> iterate(Runtime& runtime, const Value& value) {
  runtime.spend();
  std::vector<Value> out;
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kText:
      out = characters(runtime, value.text());
      break;
    case Kind::kList:
    case Kind::kTuple:
      out = value.as<List>().items;
      break;
    case Kind::kDict:
      out = view_items(runtime, View(value.as<Dict>(), ViewKind::kKeys));
      break;
    case Kind::kView:
      out = view_items(runtime, value.as<View>());
      break;
    case Kind::kRange:
      out = range_items(value.as<Range>());
      break;
    case Kind::kIterator:
      out = remaining(value.state<Iterator>());
      break;
    default:
      runtime.fail("{} has no items to go through", type_name(value));
  }
  runtime.allocate(out.size() * sizeof(Value));
  runtime.spend(out.size() / 16);
  return out;
}

bool has_length(const Value& value) {
  return iterable(value) && !value.is(Kind::kIterator);
}

std::size_t length(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kText:
      if (!value.text().ascii()) runtime.spend_bytes(value.text().size);
      return value.text().length();
    case Kind::kList:
    case Kind::kTuple:
      return value.as<List>().items.size();
    case Kind::kDict:
      return value.as<Dict>().size();
    case Kind::kView:
      return value.as<View>().dict.size();
    case Kind::kRange:
      return value.as<Range>().size();
    default:
      runtime.fail("{} has no length", type_name(value));
  }
}

void require_hashable(Runtime& runtime, const Value& value) {
  runtime.spend(weight_of(value));
  if (!hashable(value)) runtime.fail("{} cannot be a key", type_name(value));
}

Value join_texts(Runtime& runtime, const Text& left, const Text& right) {
  if (!left.safe && !right.safe) return runtime.concat(left, right, false);
  return runtime.concat(escape(runtime, Value(&left)), escape(runtime, Value(&right)), true);
}

const Text& escape(Runtime& runtime, const Value& value) {
  const Text& text = to_text(runtime, value);
  if (text.safe) return text;
  TextBuilder out;
  const string_view view = text.view();
  std::size_t plain = 0;
  for (std::size_t i = 0; i < view.size(); ++i) {
    static constexpr string_view kSpecial = "&<>'\"";
    static constexpr std::array<string_view, 5> kEscapes = {"&amp;", "&lt;", "&gt;", "&#39;",
                                                            "&#34;"};
    const std::size_t special = kSpecial.find(view[i]);
    if (special == string_view::npos) continue;
    out.append(text, plain, i);
    out.append(kEscapes[special], text.origin_at(i));
    plain = i + 1;
  }
  out.append(text, plain, text.size);
  return runtime.text(std::move(out), true).text();
}

}  // namespace hearth::jinja
