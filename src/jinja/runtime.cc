#include "jinja/runtime.h"

#include <algorithm>

namespace hearth::jinja {

void Runtime::allocate(std::size_t num_bytes) {
  value_bytes_ += num_bytes;
  if (value_bytes_ > limits_.max_value_bytes || num_bytes > limits_.max_value_bytes) [[unlikely]] {
    over_limit("the template builds more than {} bytes of values", limits_.max_value_bytes);
  }
}

void Runtime::allocate_repeated(std::size_t size, std::size_t count) {
  if (size != 0 && count > limits_.max_value_bytes / size) {
    over_limit("the template builds more than {} bytes of values", limits_.max_value_bytes);
  }
  allocate(size * count);
  spend_bytes(size * count);
}

void Runtime::check_steps() {
  if (steps_ > limits_.max_steps)
    over_limit("the template takes more than {} steps", limits_.max_steps);
  if (stop_.stop_requested())
    throw Failure{StatusCode::kCancelled, "the rendering was stopped", offset_};
  checked_until_ = std::min(limits_.max_steps, steps_ + kStepsPerStopCheck);
}

void Runtime::fail_undefined(const Value& value) const {
  fail("{}", value.as<Undefined>().message);
}

Value Runtime::text(TextBuilder&& builder, bool safe) {
  const std::size_t size = builder.size();
  allocate(size + builder.marks().runs().size() * sizeof(Marks::Run));
  spend_bytes(size);
  auto* buffer = make<TextBuffer>(builder.take_bytes(), builder.take_marks());
  return Value(make<Text>(buffer, 0, size, safe));
}

Value Runtime::text(std::string_view bytes, Origin origin) {
  TextBuilder builder;
  builder.append(bytes, origin);
  return text(std::move(builder));
}

Value Runtime::borrowed_text(std::string_view bytes, Origin origin) {
  auto* buffer = make<TextBuffer>(bytes, origin);
  return Value(make<Text>(buffer, 0, bytes.size(), false));
}

Value Runtime::substring(const Text& text, std::size_t begin, std::size_t end) {
  return Value(make<Text>(text.buffer, text.offset + begin, end - begin, text.safe));
}

Value Runtime::concat(const Text& left, const Text& right, bool safe) {
  const bool in_place = left.buffer->growable() && left.buffer != right.buffer &&
                        left.offset + left.size == left.buffer->bytes().size();
  if (in_place) {
    allocate(right.size);
    spend_bytes(right.size);
    left.buffer->append(right.view(), right.buffer->marks(), right.offset);
    return Value(make<Text>(left.buffer, left.offset, left.size + right.size, safe));
  }
  TextBuilder builder;
  builder.append(left);
  builder.append(right);
  return text(std::move(builder), safe);
}

Value Runtime::list(std::vector<Value> items) {
  allocate(items.size() * sizeof(Value));
  return Value(Kind::kList, make<List>(std::move(items)));
}

Value Runtime::tuple(std::vector<Value> items) {
  allocate(items.size() * sizeof(Value));
  return Value(Kind::kTuple, make<List>(std::move(items)));
}

Value Runtime::iterator(std::vector<Value> items) {
  allocate(items.size() * sizeof(Value));
  return Value(Kind::kIterator, make<Iterator>(std::move(items)));
}

std::int64_t Runtime::integer(const Value& value, std::string_view what) const {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_integer()) fail("{} must be an integer, not {}", what, type_name(value));
  return value.integer();
}

const Text& Runtime::text_of(const Value& value, std::string_view what) const {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_text()) fail("{} must be a string, not {}", what, type_name(value));
  return value.text();
}

std::size_t Runtime::bounded(std::int64_t value, std::size_t max, std::string_view what) const {
  if (value > 0 && static_cast<std::uint64_t>(value) > max) {
    over_limit("{} is {}, the limit is {}", what, value, max);
  }
  return value < 0 ? 0 : static_cast<std::size_t>(value);
}

Bound Runtime::bind(const Builtin& builtin, const Arguments& arguments) const {
  Bound bound(arguments);
  if (builtin.parameters == "*") return bound;
  std::size_t used_positional = 0;
  std::size_t used_named = 0;
  std::size_t idx = 0;
  std::string_view rest = builtin.parameters;
  while (!rest.empty()) {
    const std::size_t space = std::min(rest.find(' '), rest.size());
    std::string_view name = rest.substr(0, space);
    rest.remove_prefix(std::min(space + 1, rest.size()));
    const bool optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    const auto named =
        std::ranges::find(arguments.named, name, [](const auto& entry) { return entry.first; });
    const Value*& slot = bound.values_[idx++];
    if (used_positional < arguments.positional.size()) {
      slot = &arguments.positional[used_positional++];
      if (named != arguments.named.end()) fail("{}: two values for '{}'", builtin.name, name);
    } else if (named != arguments.named.end()) {
      slot = &named->second;
      ++used_named;
    } else if (!optional) {
      fail("{}: the argument '{}' is missing", builtin.name, name);
    }
  }
  if (used_positional < arguments.positional.size()) fail("{}: too many arguments", builtin.name);
  if (used_named < arguments.named.size()) fail("{}: an argument it does not have", builtin.name);
  return bound;
}

Value Runtime::apply(const Builtin& builtin, const Value& self, const Arguments& arguments) {
  spend();
  return builtin.run(*this, self, bind(builtin, arguments));
}

}  // namespace hearth::jinja
