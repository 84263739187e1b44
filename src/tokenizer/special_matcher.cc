#include "tokenizer/special_matcher.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/char_class.h"

namespace hearth {

namespace {

// The code point that ends at `end`, which is not 0.
utf8::Decoded code_point_before(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u)
    --begin;
  return utf8::decode(text.substr(begin, end - begin));
}

}  // namespace

SpecialMatcher::SpecialMatcher(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
  std::ranges::sort(tokens_, {}, [](const SpecialToken& token) {
    return std::pair<std::string_view, TokenId>(token.text, token.id);
  });
  for (std::uint32_t idx = 0; idx < tokens_.size(); ++idx) {
    Range& bucket = buckets_[static_cast<unsigned char>(tokens_[idx].text.front())];
    if (bucket.begin == bucket.end) bucket.begin = idx;
    bucket.end = idx + 1;
  }
}

bool SpecialMatcher::has_control() const {
  return std::ranges::any_of(tokens_, &SpecialToken::is_control);
}

bool SpecialMatcher::eats_space() const {
  return std::ranges::any_of(tokens_, [](const SpecialToken& token) {
    return token.eats_space_before || token.eats_space_after;
  });
}

bool SpecialMatcher::stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  const bool after_word = begin > 0 && is_word_char(code_point_before(text, begin).code_point);
  const bool before_word =
      end < text.size() && is_word_char(utf8::decode(text.substr(end)).code_point);
  return !after_word && !before_word;
}

SpecialMatcher::Match SpecialMatcher::with_spaces(std::string_view text, std::size_t from,
                                                  std::size_t at, const SpecialToken& token) {
  Match match{.begin = at, .end = at + token.text.size(), .id = token.id};
  while (token.eats_space_before && match.begin > from) {
    const utf8::Decoded before = code_point_before(text, match.begin);
    if (!is_white_space(before.code_point)) break;
    match.begin -= before.length;
  }
  while (token.eats_space_after && match.end < text.size()) {
    const utf8::Decoded after = utf8::decode(text.substr(match.end));
    if (!is_white_space(after.code_point)) break;
    match.end += after.length;
  }
  return match;
}

const SpecialToken* SpecialMatcher::longest_at(std::string_view text, Range range,
                                               std::size_t parse_bytes) const {
  const SpecialToken* longest = nullptr;
  const auto first = tokens_.begin();
  auto begin = first + range.begin;
  auto end = first + range.end;
  // All of [begin, end) share their first `depth` bytes with the text.
  for (std::size_t depth = 1;; ++depth) {
    for (; begin != end && begin->text.size() == depth; ++begin) {
      if (!begin->is_control || depth <= parse_bytes) longest = &*begin;
    }
    if (begin == end || depth == text.size()) return longest;
    const auto byte_at = [depth](const SpecialToken& token) {
      return static_cast<unsigned char>(token.text[depth]);
    };
    const auto narrowed =
        std::ranges::equal_range(begin, end, static_cast<unsigned char>(text[depth]), {}, byte_at);
    begin = narrowed.begin();
    end = narrowed.end();
  }
}

}  // namespace hearth
