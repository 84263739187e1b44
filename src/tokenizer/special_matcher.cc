#include "tokenizer/special_matcher.h"

#include <algorithm>
#include <utility>

namespace hearth {

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

bool SpecialMatcher::eats_space() const {
  return std::ranges::any_of(tokens_, &SpecialToken::eats_space_after);
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
