// Filters for HTML and XML.
#include <algorithm>
#include <array>
#include <charconv>

#include "base/utf8.h"
#include "jinja/builtins.h"
#include "jinja/operators.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"

namespace hearth::jinja {
namespace {

using std::string_view;

const Text& with_safety(Runtime& runtime, const Text& text, bool safe) {
  return *runtime.make<Text>(text.buffer, text.offset, text.size, safe);
}

Value escape_filter(Runtime& runtime, const Value& self, const Bound&) {
  return Value(&escape(runtime, self));
}

Value force_escape_filter(Runtime& runtime, const Value& self, const Bound&) {
  return Value(&escape(runtime, Value(&with_safety(runtime, to_text(runtime, self), false))));
}

Value safe_filter(Runtime& runtime, const Value& self, const Bound&) {
  return Value(&with_safety(runtime, to_text(runtime, self), true));
}

Value xmlattr_filter(Runtime& runtime, const Value& self, const Bound& args) {
  if (self.is_undefined()) runtime.fail_undefined(self);
  if (!self.is(Kind::kDict)) runtime.fail("xmlattr: needs a dict, not {}", type_name(self));
  TextBuilder out;
  const bool space = args[0] == nullptr || truthy(*args[0]);
  bool first = true;
  for (const Dict::Entry& entry : self.as<Dict>().entries()) {
    if (entry.value.is_none() || entry.value.is_undefined()) continue;
    const string_view key = runtime.text_of(entry.key, "an attribute's name").view();
    if (key.find_first_of(" \t\n\r\f\v/>=") != string_view::npos) {
      runtime.fail("xmlattr: '{}' is not an attribute's name", key);
    }
    if (!std::exchange(first, false) || space) out.append(" ", Origin::kTemplate);
    print(runtime, out, Value(&escape(runtime, entry.key)));
    out.append("=\"", Origin::kTemplate);
    print(runtime, out, Value(&escape(runtime, entry.value)));
    out.append("\"", Origin::kTemplate);
  }
  return runtime.text(std::move(out));
}

// --- striptags ---

// The text without comments and tags; an unclosed one stays.
void remove_between(TextBuilder& out, const Text& text, string_view open, string_view close) {
  const string_view view = text.view();
  std::size_t position = 0;
  while (true) {
    const std::size_t begin = view.find(open, position);
    const std::size_t end = begin == string_view::npos ? begin : view.find(close, begin);
    if (end == string_view::npos) break;
    out.append(text, position, begin);
    position = end + close.size();
  }
  out.append(text, position, text.size);
}

struct Entity {
  string_view name;
  char32_t code_point;
};
constexpr std::array<Entity, 6> kEntities = {
    {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xA0}}};

bool decode_entity(string_view name, char32_t& out) {
  if (!name.starts_with('#')) {
    const auto* found = std::ranges::find(kEntities, name, &Entity::name);
    if (found == kEntities.end()) return false;
    out = found->code_point;
    return true;
  }
  const bool hex = name.size() > 1 && (name[1] | 0x20) == 'x';
  const string_view digits = name.substr(hex ? 2 : 1);
  std::uint32_t value = 0;
  const auto [end, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (failure != std::errc() || end != digits.data() + digits.size() || digits.empty())
    return false;
  const bool character = value > 0 && value <= 0x10FFFF && (value < 0xD800 || value >= 0xE000);
  out = character ? static_cast<char32_t>(value) : utf8::kReplacement;
  return true;
}

Value unescape(Runtime& runtime, const Text& text) {
  const string_view view = text.view();
  TextBuilder out;
  std::size_t position = 0;
  for (std::size_t at = 0; (at = view.find('&', at)) != string_view::npos; ++at) {
    constexpr std::size_t kLongestEntity = 12;
    const std::size_t length = view.substr(at + 1, kLongestEntity).find(';');
    char32_t code_point = 0;
    if (length == string_view::npos || !decode_entity(view.substr(at + 1, length), code_point))
      continue;
    out.append(text, position, at);
    out.append(code_point, text.origin_at(at));
    at += length + 1;
    position = at + 1;
  }
  out.append(text, position, text.size);
  return runtime.text(std::move(out));
}

Value striptags_filter(Runtime& runtime, const Value& self, const Bound&) {
  TextBuilder no_comments;
  remove_between(no_comments, to_text(runtime, self), "<!--", "-->");
  const Value without_comments = runtime.text(std::move(no_comments));
  TextBuilder no_tags;
  remove_between(no_tags, without_comments.text(), "<", ">");
  const Value without_tags = runtime.text(std::move(no_tags));
  TextBuilder out;
  bool first = true;
  for (const Value& word : split(runtime, without_tags.text(), nullptr, -1)) {
    if (!std::exchange(first, false)) out.append(" ", Origin::kTemplate);
    out.append(word.text());
  }
  return unescape(runtime, runtime.text(std::move(out)).text());
}

constexpr Builtin kFilters[] = {
    {"escape", "", escape_filter},
    {"e", "", escape_filter},
    {"forceescape", "", force_escape_filter},
    {"safe", "", safe_filter},
    {"xmlattr", "autospace?", xmlattr_filter},
    {"striptags", "", striptags_filter},
};

}  // namespace

std::span<const Builtin> markup_filters() {
  return kFilters;
}

}  // namespace hearth::jinja
