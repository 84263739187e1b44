// What every built-in of the template language works with: budgets, errors, and the making of
// values.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/failure.h"
#include "jinja/value.h"

namespace hearth::jinja {

// Bounds on one render. Work is counted in steps: one per statement, expression node and item, and
// one per kBytesPerStep bytes of text touched, so that a step is never more than a few
// microseconds.
struct Limits {
  std::size_t max_steps = 2'000'000;
  std::size_t max_output_bytes = 64u << 20;
  std::size_t max_value_bytes = 256u << 20;  // Of all values built during the render.
  std::size_t max_depth = 64;  // Of brackets and blocks in the source, and of macro calls.
};

inline constexpr std::size_t kBytesPerStep = 512;
// A render whose owner asks it to stop takes at most about this many more steps.
inline constexpr std::size_t kStepsPerStopCheck = 1024;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

// Arguments put in the order of a built-in's parameters.
class Bound {
 public:
  static constexpr std::size_t kMaxParameters = 6;
  explicit Bound(const Arguments& arguments) : all(arguments) {}
  // nullptr when the caller left it out.
  const Value* operator[](std::size_t idx) const { return values_[idx]; }
  // nullptr when left out or none.
  const Value* given(std::size_t idx) const {
    return values_[idx] != nullptr && !values_[idx]->is_none() ? values_[idx] : nullptr;
  }
  const Arguments& all;

 private:
  friend class Runtime;
  std::array<const Value*, kMaxParameters> values_{};
};

class Runtime;
using BuiltinFunction = Value (*)(Runtime&, const Value& self, const Bound&);

// A filter, test, method or global function. `parameters` names what follows `self`, separated by
// spaces: "old new count?"; a question mark makes it optional, and "*" takes everything unbound.
struct Builtin {
  std::string_view name;
  std::string_view parameters;
  BuiltinFunction run;
};

struct Function final : Object {
  Function(const Builtin& of, Value bound_to) : builtin(of), self(bound_to) {}
  const Builtin& builtin;
  Value self;
};

class Runtime {
 public:
  Runtime(const Limits& limits, std::chrono::system_clock::time_point now, std::stop_token stop)
      : limits_(limits), now_(now), stop_(std::move(stop)) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  virtual ~Runtime() = default;

  // Calls a macro, method, built-in, joiner or recursive loop.
  virtual Value call(const Value& callee, const Arguments& arguments) = 0;
  Value apply(const Builtin& builtin, const Value& self, const Arguments& arguments);

  std::chrono::system_clock::time_point now() const { return now_; }

  // --- budgets: each throws Failure(kOutOfRange) when spent; spending steps also throws
  // Failure(kCancelled) soon after a stop was requested ---

  void spend(std::size_t steps = 1) {
    steps_ += steps;
    if (steps_ > checked_until_) [[unlikely]]
      check_steps();
  }
  void spend_bytes(std::size_t num_bytes) { spend(num_bytes / kBytesPerStep); }
  void allocate(std::size_t num_bytes);
  // For a text of `count` times `size`, before it is built.
  void allocate_repeated(std::size_t size, std::size_t count);

  // --- errors ---

  void at(std::uint32_t offset) { offset_ = offset; }
  std::uint32_t offset() const { return offset_; }
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw Failure{StatusCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...),
                  offset_};
  }
  template <typename... Args>
  [[noreturn]] void over_limit(fmt::format_string<Args...> format, Args&&... args) const {
    throw Failure{StatusCode::kOutOfRange, fmt::format(format, std::forward<Args>(args)...),
                  offset_};
  }
  // Using an undefined value where Python's Undefined raises.
  [[noreturn]] void fail_undefined(const Value& value) const;

  // --- values ---

  template <typename T, typename... Args>
  T* make(Args&&... args) {
    allocate(sizeof(T) + sizeof(void*));
    return arena_.make<T>(std::forward<Args>(args)...);
  }
  Value text(TextBuilder&& builder, bool safe = false);
  Value text(std::string_view bytes, Origin origin = Origin::kTemplate);  // Copies.
  // Shares the bytes of a text that is alive as long as the render.
  Value borrowed_text(std::string_view bytes, Origin origin);
  Value substring(const Text& text, std::size_t begin, std::size_t end);
  Value concat(const Text& left, const Text& right, bool safe);
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value iterator(std::vector<Value> items);
  template <typename... Args>
  Value undefined(fmt::format_string<Args...> format, Args&&... args) {
    return Value(Kind::kUndefined,
                 make<Undefined>(fmt::format(format, std::forward<Args>(args)...)));
  }

  // --- arguments ---

  std::int64_t integer(const Value& value, std::string_view what) const;
  const Text& text_of(const Value& value, std::string_view what) const;
  std::int64_t integer_or(const Value* value, std::int64_t fallback, std::string_view what) const {
    return value == nullptr ? fallback : integer(*value, what);
  }
  // A width, count or precision: an int between 0 and `max`.
  std::size_t bounded(std::int64_t value, std::size_t max, std::string_view what) const;

 protected:
  const Limits& limits() const { return limits_; }

 private:
  void check_steps();
  Bound bind(const Builtin& builtin, const Arguments& arguments) const;

  Limits limits_;
  std::chrono::system_clock::time_point now_;
  std::stop_token stop_;
  Arena arena_;
  std::size_t steps_ = 0;
  std::size_t checked_until_ = 0;  // Up to so many steps are known to be granted.
  std::size_t value_bytes_ = 0;
  std::uint32_t offset_ = 0;
};

}  // namespace hearth::jinja
