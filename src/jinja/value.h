// Values of the template language: Python's, as far as templates can reach them.
//
// A Value is 16 bytes and copied freely. What it points to lives in the arena of one render (or of
// the compiled template, for literals) and is freed with it, so cycles cannot leak. Not
// thread-safe; a render and its values stay on one thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/text.h"

namespace hearth::jinja {

class Value;
class Dict;
struct List;
struct View;
struct Range;
struct Iterator;
struct Namespace;
struct LoopState;
struct Macro;
struct Function;
struct Cycler;
struct Joiner;
struct Undefined;

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // An integer from the input above int64; printed and compared, never computed with.
  kFloat,
  kText,
  kList,
  kTuple,
  kDict,
  kView,  // dict.keys(), .values(), .items()
  kRange,
  kIterator,  // Read once, like a Python generator.
  kNamespace,
  kLoop,
  kMacro,
  kFunction,  // A built-in, or a method bound to its value.
  kCycler,
  kJoiner,
};

class Value {
 public:
  Value() : kind_(Kind::kNone), integer_(0) {}
  explicit Value(bool value) : kind_(Kind::kBool), integer_(value ? 1 : 0) {}
  explicit Value(std::int64_t value) : kind_(Kind::kInt), integer_(value) {}
  explicit Value(std::uint64_t value) : kind_(Kind::kBigInt), big_(value) {}
  explicit Value(double value) : kind_(Kind::kFloat), number_(value) {}
  explicit Value(const Text* value) : kind_(Kind::kText), object_(value) {}
  Value(Kind kind, const Object* object) : kind_(kind), object_(object) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_text() const { return kind_ == Kind::kText; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  // Python's int: bool is one.
  bool is_integer() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const { return is_integer() || kind_ == Kind::kFloat || kind_ == Kind::kBigInt; }

  // Each requires the matching kind.
  bool boolean() const { return integer_ != 0; }
  std::int64_t integer() const { return integer_; }  // kInt and kBool
  std::uint64_t big() const { return big_; }
  double number() const { return number_; }
  const Text& text() const { return as<Text>(); }
  template <typename T>
  const T& as() const {
    return *static_cast<const T*>(object_);
  }
  // For the objects with state of their own: Iterator, Namespace, LoopState, Cycler, Joiner.
  template <typename T>
  T& state() const {
    return *const_cast<T*>(static_cast<const T*>(object_));
  }
  const Object* object() const { return object_; }

  // Who wrote it: decides the mark of the characters a non-text value prints as.
  Origin origin() const { return origin_; }
  Value with_origin(Origin origin) const {
    Value copy = *this;
    copy.origin_ = origin;
    return copy;
  }

 private:
  Kind kind_;
  Origin origin_ = Origin::kTemplate;
  union {
    std::int64_t integer_;
    std::uint64_t big_;
    double number_;
    const Object* object_;
  };
};

inline Origin combine(Origin a, Origin b) {
  return a == Origin::kInput || b == Origin::kInput ? Origin::kInput : Origin::kTemplate;
}

// Why a value is undefined; shown when it is used.
struct Undefined final : Object {
  explicit Undefined(std::string why, bool forbidden = false)
      : message(std::move(why)), unsafe(forbidden) {}
  std::string message;
  bool unsafe;  // The sandbox refused the attribute.
};

struct List final : Object {
  explicit List(std::vector<Value> values, bool is_group = false);
  const std::vector<Value> items;
  const std::size_t weight;
  bool group;  // A tuple of groupby: its two items are also attributes.
};

// A strict order of hashable values in which those that are equal() are one (and so are all NaNs).
// What comes first means nothing.
struct KeyLess {
  using is_transparent = void;
  bool operator()(const Value& a, const Value& b) const;
  bool operator()(const Value& a, std::string_view b) const;
  bool operator()(std::string_view a, const Value& b) const;
};

// Insertion-ordered, keys compared as Python compares them (1, 1.0 and true are one key).
class Dict final : public Object {
 public:
  struct Entry {
    Value key;
    Value value;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }
  std::size_t weight() const { return weight_; }
  const Value* find(const Value& key) const;  // `key` must be hashable.
  const Value* find(std::string_view key) const;
  void set(const Value& key, const Value& value);
  void reserve(std::size_t count) { entries_.reserve(count); }

 private:
  // Of the entry with this key; size() when there is none.
  template <typename Key, typename Matches>
  std::size_t position(const Key& key, Matches matches) const;

  std::vector<Entry> entries_;
  std::size_t weight_ = 1;
  // Filled once the dict is no longer small; ordered, because hashes can be made to collide.
  std::map<Value, std::size_t, KeyLess> index_;
};

enum class ViewKind : std::uint8_t { kKeys, kValues, kItems };

struct View final : Object {
  View(const Dict& of, ViewKind what) : dict(of), kind(what) {}
  const Dict& dict;
  ViewKind kind;
};

struct Range final : Object {
  Range(std::int64_t from, std::int64_t to, std::int64_t by) : start(from), stop(to), step(by) {}
  std::int64_t start, stop, step;
  std::size_t size() const;
  std::int64_t at(std::size_t idx) const { return start + static_cast<std::int64_t>(idx) * step; }
};

struct Iterator final : Object {
  explicit Iterator(std::vector<Value> values) : items(std::move(values)) {}
  std::vector<Value> items;
  std::size_t next = 0;
};

struct Namespace final : Object {
  Dict attributes;
};

struct Cycler final : Object {
  std::vector<Value> items;
  std::size_t next = 0;
};

struct Joiner final : Object {
  Value separator;
  bool used = false;
};

// Python's name of the value's type, for messages: "str", "dict".
std::string_view type_name(const Value& value);

// Python's truth of a value.
bool truthy(const Value& value);

// What walking all of a value costs, in steps. Known without walking: values that share their parts
// can be exponentially larger than the memory they take.
std::size_t weight_of(const Value& value);

// Tuples of hashables, text, numbers, none.
bool hashable(const Value& value, int depth = 0);

// Python's ==, at the cost of the lighter of the two weights. Never fails; nesting deeper than
// kMaxValueDepth compares unequal.
bool equal(const Value& a, const Value& b, int depth = 0);

// The most nesting that comparing and printing follow.
inline constexpr int kMaxValueDepth = 100;

// Exact order of two numbers (no rounding between integers and floats): negative, zero, positive,
// or nullopt semantics through `unordered` when one is NaN.
struct NumberOrder {
  int order = 0;
  bool unordered = false;
};
NumberOrder compare_numbers(const Value& a, const Value& b);

}  // namespace hearth::jinja
