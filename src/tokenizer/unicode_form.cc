#include "tokenizer/unicode_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/utf8.h"

namespace hearth {

namespace {

constexpr unsigned char kFirstLeadByteOf0300 = 0xCC;
constexpr unsigned char kFirstNonAscii = 0x80;

utf8proc_propval_t combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// Sorts each run of combining marks by class, keeping the order within a class. utf8proc's own
// ordering takes quadratic time for a long run.
void put_in_canonical_order(std::span<utf8proc_int32_t> code_points) {
  struct Mark {
    utf8proc_propval_t combining_class;
    std::size_t idx;
    utf8proc_int32_t code_point;
  };
  std::vector<Mark> marks;
  for (std::size_t begin = 0; begin < code_points.size(); ++begin) {
    marks.clear();
    for (std::size_t idx = begin; idx < code_points.size(); ++idx) {
      const utf8proc_propval_t found = combining_class(code_points[idx]);
      if (found == 0) break;
      marks.push_back({.combining_class = found, .idx = idx, .code_point = code_points[idx]});
    }
    if (marks.size() > 1) {
      std::ranges::sort(marks, {},
                        [](const Mark& mark) { return std::pair(mark.combining_class, mark.idx); });
      for (std::size_t i = 0; i < marks.size(); ++i)
        code_points[begin + i] = marks[i].code_point;
    }
    begin += marks.size();
  }
}

}  // namespace

bool is_trivially_in_form(std::string_view text, UnicodeForm form) {
  const unsigned char limit = form == UnicodeForm::kC ? kFirstLeadByteOf0300 : kFirstNonAscii;
  return std::ranges::all_of(
      text, [limit](char byte) { return static_cast<unsigned char>(byte) < limit; });
}

std::string to_form(std::string_view text, UnicodeForm form) {
  const bool compatible = form == UnicodeForm::kKC || form == UnicodeForm::kKD;
  const bool compose = form == UnicodeForm::kC || form == UnicodeForm::kKC;
  const int options =
      UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? static_cast<int>(UTF8PROC_COMPAT) : 0);
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size() + 1);
  std::array<utf8proc_int32_t, 32> expansion{};  // The longest has 18.
  while (!text.empty()) {
    const utf8::Decoded decoded = utf8::decode(text);
    text.remove_prefix(decoded.length);
    int last_class = 0;
    const auto length =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(decoded.code_point), expansion.data(),
                                static_cast<utf8proc_ssize_t>(expansion.size()),
                                static_cast<utf8proc_option_t>(options), &last_class);
    code_points.insert(code_points.end(), expansion.begin(), expansion.begin() + length);
  }
  put_in_canonical_order(code_points);
  auto length = static_cast<utf8proc_ssize_t>(code_points.size());
  if (compose) {
    length = utf8proc_normalize_utf32(
        code_points.data(), length,
        static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  }
  std::string out;
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    utf8::append(out, static_cast<char32_t>(code_points[static_cast<std::size_t>(i)]));
  }
  return out;
}

}  // namespace hearth
