#include "jinja/text_ops.h"

#include <cstring>

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "jinja/operators.h"
#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

using std::string_view;

constexpr char32_t kSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;

std::size_t code_point_begin(string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  return begin;
}

// The characters that strip() takes away: a look-up costs the same however many they are.
class CharacterSet {
 public:
  CharacterSet(Runtime& runtime, const Text& chars) {
    constexpr std::size_t kSortingCost = 8;
    runtime.spend_bytes(kSortingCost * chars.size);
    runtime.allocate(chars.ascii() ? 0 : chars.size * sizeof(char32_t));
    for (TextCursor cursor(chars); !cursor.done();) {
      const char32_t c = cursor.next();
      if (c < ascii_.size()) {
        ascii_[c] = true;
      } else {
        others_.push_back(c);
      }
    }
    std::ranges::sort(others_);
  }
  bool contains(string_view code_point) const {
    const char32_t c = utf8::decode(code_point).code_point;
    return c < ascii_.size() ? ascii_[c] : std::ranges::binary_search(others_, c);
  }

 private:
  std::array<bool, 128> ascii_{};
  std::vector<char32_t> others_;  // Sorted.
};

std::size_t leading_length(string_view text, const CharacterSet& chars) {
  std::size_t position = 0;
  while (position < text.size()) {
    std::size_t end = position + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
      ++end;
    if (!chars.contains(text.substr(position, end - position))) break;
    position = end;
  }
  return position;
}

std::size_t trailing_length(string_view text, const CharacterSet& chars) {
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t begin = code_point_begin(text, end);
    if (!chars.contains(text.substr(begin, end - begin))) break;
    end = begin;
  }
  return text.size() - end;
}

using Mapping = CaseMapping (*)(char32_t);

void append_mapped(TextBuilder& out, const CaseMapping& mapping, Origin origin) {
  for (std::size_t i = 0; i < mapping.size; ++i)
    out.append(mapping.code_points[i], origin);
}

bool is_case_ignorable(char32_t c) {
  return c == '\'' || c == '.' || c == ':' || c == '^' || c == '`' || c == 0xAD || c == 0xB7 ||
         c == 0x2019;
}

// Whether a sigma between these characters ends a word.
bool sigma_is_final(const std::vector<char32_t>& text, std::size_t idx) {
  std::size_t before = idx;
  while (before > 0 && is_case_ignorable(text[before - 1]))
    --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = idx + 1;
  while (after < text.size() && is_case_ignorable(text[after]))
    ++after;
  return after == text.size() || !is_cased(text[after]);
}

// Lower case of `text`, the code points whose index `first` accepts mapped to title case instead.
template <typename IsFirst>
Value map_case(Runtime& runtime, const Text& text, IsFirst is_first) {
  runtime.spend_bytes(8 * text.size);
  std::vector<char32_t> code_points;
  for (TextCursor cursor(text); !cursor.done();)
    code_points.push_back(cursor.next());
  TextBuilder out;
  std::size_t idx = 0;
  for (TextCursor cursor(text); !cursor.done(); ++idx) {
    const Origin origin = cursor.origin();
    const char32_t c = cursor.next();
    if (is_first(code_points, idx)) {
      append_mapped(out, to_title(c), origin);
    } else if (c == kSigma && sigma_is_final(code_points, idx)) {
      out.append(kFinalSigma, origin);
    } else {
      append_mapped(out, to_lower(c), origin);
    }
  }
  return runtime.text(std::move(out), text.safe);
}

Value map_each(Runtime& runtime, const Text& text, Mapping mapping) {
  runtime.spend_bytes(8 * text.size);
  TextBuilder out;
  for (TextCursor cursor(text); !cursor.done();) {
    const Origin origin = cursor.origin();
    append_mapped(out, mapping(cursor.next()), origin);
  }
  return runtime.text(std::move(out), text.safe);
}

CaseMapping swap_one(char32_t c) {
  if (is_upper(c)) return to_lower(c);
  return to_upper(c);
}

// Between all code points and at both ends.
Value insert_everywhere(Runtime& runtime, const Text& text, const Text& part, std::int64_t count) {
  const std::size_t gaps = text.length() + 1;
  const std::size_t times = count < 0 ? gaps : std::min(gaps, static_cast<std::size_t>(count));
  runtime.allocate_repeated(part.size, times);
  TextBuilder out;
  std::size_t done = 0;
  for (TextCursor cursor(text); !cursor.done();) {
    if (done++ < times) out.append(part);
    const std::size_t begin = cursor.position();
    cursor.next();
    out.append(text, begin, cursor.position());
  }
  if (done < times) out.append(part);
  return runtime.text(std::move(out), text.safe);
}

std::size_t count_splits(std::int64_t max_splits) {
  return max_splits < 0 ? std::numeric_limits<std::size_t>::max()
                        : static_cast<std::size_t>(max_splits);
}

std::vector<Value> split_on_space(Runtime& runtime, const Text& text, std::size_t max_splits) {
  std::vector<Value> parts;
  const string_view view = text.view();
  std::size_t position = leading_space_length(view);
  while (position < view.size()) {
    if (parts.size() == max_splits) {
      parts.push_back(runtime.substring(text, position, view.size()));
      break;
    }
    std::size_t end = position;
    while (end < view.size() && leading_space_length(view.substr(end, 4)) == 0)
      ++end;
    parts.push_back(runtime.substring(text, position, end));
    position = end + leading_space_length(view.substr(end));
  }
  return parts;
}

std::vector<Value> rsplit_on_space(Runtime& runtime, const Text& text, std::size_t max_splits) {
  std::vector<Value> parts;
  const string_view view = text.view();
  std::size_t end = view.size() - trailing_space_length(view);
  while (end > 0) {
    if (parts.size() == max_splits) {
      parts.push_back(runtime.substring(text, 0, end));
      break;
    }
    std::size_t begin = end;
    while (begin > 0 &&
           trailing_space_length(view.substr(code_point_begin(view, begin),
                                             begin - code_point_begin(view, begin))) == 0) {
      begin = code_point_begin(view, begin);
    }
    parts.push_back(runtime.substring(text, begin, end));
    end = begin - trailing_space_length(view.substr(0, begin));
  }
  std::ranges::reverse(parts);
  return parts;
}

}  // namespace

std::size_t find_part(string_view text, string_view part, std::size_t from) {
  if (part.size() > text.size() || from > text.size() - part.size()) return string_view::npos;
  if (part.empty()) return from;
  // glibc's is a two-way search where the part is long (over 256 bytes).
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  if (found == nullptr) return string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

LastPartFinder::LastPartFinder(Runtime& runtime, string_view text, string_view part) {
  runtime.allocate(text.size() + part.size());
  runtime.spend_bytes(text.size() + part.size());
  reversed_text_.assign(text.rbegin(), text.rend());
  reversed_part_.assign(part.rbegin(), part.rend());
}

std::size_t LastPartFinder::find_before(std::size_t end) const {
  const std::size_t size = reversed_text_.size();
  const std::size_t found = find_part(reversed_text_, reversed_part_, size - end);
  return found == string_view::npos ? found : size - found - reversed_part_.size();
}

Value strip(Runtime& runtime, const Text& text, const Text* chars, Side side) {
  const string_view view = text.view();
  std::size_t begin = 0;
  std::size_t end = view.size();
  if (chars == nullptr) {
    if (side != Side::kRight) begin = leading_space_length(view);
    if (side != Side::kLeft) end -= trailing_space_length(view.substr(begin));
  } else {
    const CharacterSet set(runtime, *chars);
    if (side != Side::kRight) begin = leading_length(view, set);
    if (side != Side::kLeft) end -= trailing_length(view.substr(begin), set);
  }
  runtime.spend_bytes(text.size - (end - begin));
  return runtime.substring(text, begin, end);
}

Value replace(Runtime& runtime, const Text& text, const Text& old_part, const Text& new_part,
              std::int64_t count) {
  runtime.spend_bytes(text.size);
  if (old_part.size == 0) return insert_everywhere(runtime, text, new_part, count);
  const std::size_t limit = count_splits(count);
  TextBuilder out;
  std::size_t position = 0;
  for (std::size_t done = 0; done < limit; ++done) {
    const std::size_t found = find_part(text.view(), old_part.view(), position);
    if (found == string_view::npos) break;
    runtime.allocate(new_part.size);
    runtime.spend_bytes(new_part.size);
    out.append(text, position, found);
    out.append(new_part);
    position = found + old_part.size;
  }
  if (position == 0) return Value(&text);
  out.append(text, position, text.size);
  return runtime.text(std::move(out), text.safe);
}

Value upper(Runtime& runtime, const Text& text) {
  return map_each(runtime, text, to_upper);
}

Value lower(Runtime& runtime, const Text& text) {
  return map_case(runtime, text, [](const auto&, std::size_t) { return false; });
}

Value casefold(Runtime& runtime, const Text& text) {
  return map_each(runtime, text, to_casefold);
}

Value swapcase(Runtime& runtime, const Text& text) {
  return map_each(runtime, text, swap_one);
}

Value capitalize(Runtime& runtime, const Text& text) {
  return map_case(runtime, text, [](const auto&, std::size_t idx) { return idx == 0; });
}

Value title(Runtime& runtime, const Text& text) {
  return map_case(runtime, text, [](const std::vector<char32_t>& all, std::size_t idx) {
    return idx == 0 || !is_cased(all[idx - 1]);
  });
}

std::vector<Value> split(Runtime& runtime, const Text& text, const Text* separator,
                         std::int64_t max_splits) {
  runtime.spend_bytes(text.size);
  const std::size_t limit = count_splits(max_splits);
  if (separator == nullptr) return split_on_space(runtime, text, limit);
  if (separator->size == 0) runtime.fail("split: the separator is empty");
  std::vector<Value> parts;
  std::size_t position = 0;
  while (parts.size() < limit) {
    const std::size_t found = find_part(text.view(), separator->view(), position);
    if (found == string_view::npos) break;
    runtime.spend();
    parts.push_back(runtime.substring(text, position, found));
    position = found + separator->size;
  }
  parts.push_back(runtime.substring(text, position, text.size));
  return parts;
}

std::vector<Value> rsplit(Runtime& runtime, const Text& text, const Text* separator,
                          std::int64_t max_splits) {
  runtime.spend_bytes(text.size);
  const std::size_t limit = count_splits(max_splits);
  if (separator == nullptr) return rsplit_on_space(runtime, text, limit);
  if (separator->size == 0) runtime.fail("rsplit: the separator is empty");
  const LastPartFinder finder(runtime, text.view(), separator->view());
  std::vector<Value> parts;
  std::size_t end = text.size;
  while (parts.size() < limit) {
    const std::size_t found = finder.find_before(end);
    if (found == string_view::npos) break;
    runtime.spend();
    parts.push_back(runtime.substring(text, found + separator->size, end));
    end = found;
  }
  parts.push_back(runtime.substring(text, 0, end));
  std::ranges::reverse(parts);
  return parts;
}

std::vector<Value> split_lines(Runtime& runtime, const Text& text, bool keep_ends) {
  runtime.spend_bytes(text.size);
  std::vector<Value> lines;
  std::size_t begin = 0;
  for (TextCursor cursor(text); !cursor.done();) {
    const std::size_t at = cursor.position();
    const char32_t c = cursor.next();
    if (!is_line_break(c)) continue;
    if (c == '\r' && !cursor.done() && text.view()[cursor.position()] == '\n') cursor.next();
    runtime.spend();
    lines.push_back(runtime.substring(text, begin, keep_ends ? cursor.position() : at));
    begin = cursor.position();
  }
  if (begin < text.size) lines.push_back(runtime.substring(text, begin, text.size));
  return lines;
}

Value pad(Runtime& runtime, const Text& text, const Padding& padding) {
  const std::size_t length = text.length();
  const std::size_t width =
      runtime.bounded(padding.width, std::numeric_limits<std::int64_t>::max(), "a width");
  if (width <= length) return Value(&text);
  const std::size_t missing = width - length;
  const string_view fill = padding.fill == nullptr ? string_view(" ") : padding.fill->view();
  const Origin origin = padding.fill == nullptr ? Origin::kTemplate : padding.fill->origin();
  runtime.allocate_repeated(fill.size(), missing);
  std::size_t left = 0;
  if (padding.align == Align::kRight) left = missing;
  // CPython puts the odd cell of str.center on the left when the width is odd too.
  if (padding.align == Align::kCenter) left = missing / 2 + (missing & width & 1);
  TextBuilder out;
  out.append_repeated(fill, left, origin);
  out.append(text);
  out.append_repeated(fill, missing - left, origin);
  return runtime.text(std::move(out), text.safe);
}

bool is_lower_text(const Text& text) {
  bool cased = false;
  for (TextCursor cursor(text); !cursor.done();) {
    const char32_t c = cursor.next();
    if (is_upper(c) || is_title(c)) return false;
    cased = cased || is_lower(c);
  }
  return cased;
}

bool is_upper_text(const Text& text) {
  bool cased = false;
  for (TextCursor cursor(text); !cursor.done();) {
    const char32_t c = cursor.next();
    if (is_lower(c) || is_title(c)) return false;
    cased = cased || is_upper(c);
  }
  return cased;
}

}  // namespace hearth::jinja
