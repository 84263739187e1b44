#include "jinja/value.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <compare>
#include <numeric>
#include <tuple>

namespace hearth::jinja {
namespace {

constexpr std::size_t kIndexedDictSize = 8;

std::size_t add_weights(std::size_t a, std::size_t b) {
  constexpr std::size_t kMaxWeight = std::size_t{1} << 40;
  return std::min(a + b, kMaxWeight);
}

bool equal_items(const List& a, const List& b, int depth) {
  return std::ranges::equal(a.items, b.items, [depth](const Value& left, const Value& right) {
    return equal(left, right, depth + 1);
  });
}

bool equal_dicts(const Dict& a, const Dict& b, int depth) {
  if (a.size() != b.size()) return false;
  return std::ranges::all_of(a.entries(), [&](const Dict::Entry& entry) {
    const Value* other = b.find(entry.key);
    return other != nullptr && equal(entry.value, *other, depth + 1);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size() != b.size()) return false;
  if (a.size() == 0) return true;
  return a.start == b.start && (a.size() == 1 || a.step == b.step);
}

int sign_of(bool less, bool greater) {
  return less ? -1 : (greater ? 1 : 0);
}

__int128 wide(const Value& value) {
  return value.is(Kind::kBigInt) ? static_cast<__int128>(value.big())
                                 : static_cast<__int128>(value.integer());
}

// Order of an integer (within 65 bits) against a float.
NumberOrder compare_wide_to_float(__int128 left, double right) {
  if (std::isnan(right)) return {0, true};
  if (right >= 0x1p70) return {-1, false};
  if (right <= -0x1p70) return {1, false};
  const double floor = std::floor(right);
  const auto whole = static_cast<__int128>(floor);
  if (left != whole) return {left < whole ? -1 : 1, false};
  return {floor < right ? -1 : 0, false};
}

// What may be equal: numbers of all kinds.
Kind key_class(Kind kind) {
  return kind == Kind::kBool || kind == Kind::kBigInt || kind == Kind::kFloat ? Kind::kInt : kind;
}

std::weak_ordering compare_number_keys(const Value& a, const Value& b) {
  const auto is_nan = [](const Value& value) {
    return value.is(Kind::kFloat) && std::isnan(value.number());
  };
  if (is_nan(a) || is_nan(b)) return is_nan(a) <=> is_nan(b);
  return compare_numbers(a, b).order <=> 0;
}

std::weak_ordering compare_range_keys(const Range& a, const Range& b) {
  if (equal_ranges(a, b)) return std::weak_ordering::equivalent;
  return std::tuple(a.size(), a.start, a.step) <=> std::tuple(b.size(), b.start, b.step);
}

std::weak_ordering compare_keys(const Value& a, const Value& b) {
  const Kind kind = key_class(a.kind());
  if (kind != key_class(b.kind())) return kind <=> key_class(b.kind());
  switch (kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return std::weak_ordering::equivalent;
    case Kind::kInt:
      return compare_number_keys(a, b);
    case Kind::kText:
      return a.text().view() <=> b.text().view();
    case Kind::kTuple: {
      const auto& left = a.as<List>().items;
      const auto& right = b.as<List>().items;
      return std::lexicographical_compare_three_way(left.begin(), left.end(), right.begin(),
                                                    right.end(), compare_keys);
    }
    case Kind::kRange:
      return compare_range_keys(a.as<Range>(), b.as<Range>());
    default:
      return std::compare_three_way()(a.object(), b.object());
  }
}

}  // namespace

NumberOrder compare_numbers(const Value& a, const Value& b) {
  const bool a_float = a.is(Kind::kFloat);
  const bool b_float = b.is(Kind::kFloat);
  if (a_float && b_float) {
    const double x = a.number();
    const double y = b.number();
    return {sign_of(x<y, x> y), std::isnan(x) || std::isnan(y)};
  }
  if (b_float) return compare_wide_to_float(wide(a), b.number());
  if (a_float) {
    NumberOrder swapped = compare_wide_to_float(wide(b), a.number());
    swapped.order = -swapped.order;
    return swapped;
  }
  return {sign_of(wide(a) < wide(b), wide(a) > wide(b)), false};
}

std::string_view type_name(const Value& value) {
  static constexpr std::array<std::string_view, 19> kNames = {
      "Undefined",   "NoneType", "bool",     "int",       "int",   "float",     "str",
      "list",        "tuple",    "dict",     "dict view", "range", "generator", "Namespace",
      "LoopContext", "Macro",    "function", "Cycler",    "Joiner"};
  return kNames[static_cast<std::size_t>(value.kind())];
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    case Kind::kText:
      return value.text().size != 0;
    case Kind::kList:
    case Kind::kTuple:
      return !value.as<List>().items.empty();
    case Kind::kDict:
      return value.as<Dict>().size() != 0;
    case Kind::kView:
      return value.as<View>().dict.size() != 0;
    case Kind::kRange:
      return value.as<Range>().size() != 0;
    default:
      return true;
  }
}

List::List(std::vector<Value> values, bool is_group)
    : items(std::move(values)),
      weight(std::accumulate(
          items.begin(), items.end(), std::size_t{1},
          [](std::size_t sum, const Value& item) { return add_weights(sum, weight_of(item)); })),
      group(is_group) {}

std::size_t weight_of(const Value& value) {
  constexpr std::size_t kBytesPerUnit = 512;
  switch (value.kind()) {
    case Kind::kText:
      return 1 + value.text().size / kBytesPerUnit;
    case Kind::kList:
    case Kind::kTuple:
      return value.as<List>().weight;
    case Kind::kDict:
      return value.as<Dict>().weight();
    case Kind::kView:
      return value.as<View>().dict.weight();
    default:
      return 1;
  }
}

bool hashable(const Value& value, int depth) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
    case Kind::kNamespace:
      return false;
    case Kind::kTuple:
      return depth < kMaxValueDepth &&
             std::ranges::all_of(
                 value.as<List>().items,
                 [&](const Value& item) { return hashable(item, depth + 1); });
    default:
      return true;
  }
}

bool KeyLess::operator()(const Value& a, const Value& b) const {
  return compare_keys(a, b) < 0;
}

bool KeyLess::operator()(const Value& a, std::string_view b) const {
  return a.is_text() ? a.text().view() < b : key_class(a.kind()) < Kind::kText;
}

bool KeyLess::operator()(std::string_view a, const Value& b) const {
  return b.is_text() ? a < b.text().view() : Kind::kText < key_class(b.kind());
}

bool equal(const Value& a, const Value& b, int depth) {
  if (depth > kMaxValueDepth) return false;
  if (a.is_number() && b.is_number()) {
    const NumberOrder order = compare_numbers(a, b);
    return !order.unordered && order.order == 0;
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kText:
      return a.text().view() == b.text().view();
    case Kind::kList:
    case Kind::kTuple:
      return equal_items(a.as<List>(), b.as<List>(), depth);
    case Kind::kDict:
      return equal_dicts(a.as<Dict>(), b.as<Dict>(), depth);
    case Kind::kRange:
      return equal_ranges(a.as<Range>(), b.as<Range>());
    default:
      return a.object() == b.object();
  }
}

std::size_t Range::size() const {
  if (step > 0 && start < stop) {
    return static_cast<std::size_t>((static_cast<__int128>(stop) - start - 1) / step + 1);
  }
  if (step < 0 && start > stop) {
    return static_cast<std::size_t>(
        (static_cast<__int128>(start) - stop - 1) / -static_cast<__int128>(step) + 1);
  }
  return 0;
}

template <typename Key, typename Matches>
std::size_t Dict::position(const Key& key, Matches matches) const {
  if (index_.empty()) {
    const auto found = std::ranges::find_if(entries_, matches);
    return static_cast<std::size_t>(found - entries_.begin());
  }
  const auto found = index_.find(key);
  // NaN has its place in the index, but is no key that can be found.
  const bool is_there = found != index_.end() && matches(entries_[found->second]);
  return is_there ? found->second : entries_.size();
}

const Value* Dict::find(const Value& key) const {
  const std::size_t at = position(key, [&](const Entry& entry) { return equal(entry.key, key); });
  return at == entries_.size() ? nullptr : &entries_[at].value;
}

const Value* Dict::find(std::string_view key) const {
  const std::size_t at = position(key, [&](const Entry& entry) {
    return entry.key.is_text() && entry.key.text().view() == key;
  });
  return at == entries_.size() ? nullptr : &entries_[at].value;
}

void Dict::set(const Value& key, const Value& value) {
  const std::size_t at = position(key, [&](const Entry& entry) { return equal(entry.key, key); });
  weight_ = add_weights(weight_, add_weights(weight_of(key), weight_of(value)));
  if (at < entries_.size()) {
    entries_[at].value = value;
    return;
  }
  entries_.push_back({key, value});
  if (entries_.size() <= kIndexedDictSize) return;
  for (std::size_t i = index_.empty() ? 0 : at; i < entries_.size(); ++i)
    index_.emplace(entries_[i].key, i);
}

}  // namespace hearth::jinja
