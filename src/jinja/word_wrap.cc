#include "jinja/word_wrap.h"

#include <algorithm>
#include <string_view>

#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

// A stretch that is not broken: white space, a word, or part of a hyphenated word.
struct Chunk {
  std::size_t begin = 0, end = 0;  // Code point indices.
  std::size_t size() const { return end - begin; }
};

// textwrap breaks at these spaces only.
bool is_wrap_space(char32_t c) {
  return c == ' ' || (c >= 9 && c <= 13);
}

bool is_letter(char32_t c) {
  return is_word(c) && !is_decimal(c) && c != '_';
}

bool is_word_punctuation(char32_t c) {
  return is_word(c) || std::u32string_view(U"!\"'&.,?").find(c) != std::u32string_view::npos;
}

// Splits a line as textwrap's word-separating patterns do.
class Chunker {
 public:
  Chunker(const std::vector<char32_t>& text, bool hyphens) : text_(text), hyphens_(hyphens) {}

  std::vector<Chunk> run() {
    std::vector<Chunk> chunks;
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t end = chunk_end(at);
      chunks.push_back({at, end});
      at = end;
    }
    return chunks;
  }

 private:
  char32_t at(std::size_t idx) const { return idx < text_.size() ? text_[idx] : U' '; }

  // An em-dash ("--" or longer) with a word on either side is a chunk of its own.
  std::size_t dash_end(std::size_t begin) const {
    if (begin == 0 || at(begin) != '-' || !is_word_punctuation(text_[begin - 1])) return begin;
    std::size_t end = begin;
    while (at(end) == '-' && end < text_.size())
      ++end;
    return end - begin >= 2 && is_word(at(end)) && end < text_.size() ? end : begin;
  }

  // Whether a word may break behind the hyphen at `idx`.
  bool breaks_behind(std::size_t begin, std::size_t idx) const {
    if (at(idx) != '-' || idx < begin + 1) return false;
    const bool two_letters = idx >= 2 && is_letter(text_[idx - 1]) && is_letter(text_[idx - 2]);
    const bool split_letters =
        idx >= 3 && is_letter(text_[idx - 1]) && text_[idx - 2] == '-' && is_letter(text_[idx - 3]);
    if (!two_letters && !split_letters) return false;
    if (!is_letter(at(idx + 1))) return false;
    return is_letter(at(idx + 2)) || (at(idx + 2) == '-' && is_letter(at(idx + 3)));
  }

  std::size_t chunk_end(std::size_t begin) const {
    std::size_t end = begin;
    if (is_wrap_space(text_[begin])) {
      while (end < text_.size() && is_wrap_space(text_[end]))
        ++end;
      return end;
    }
    if (!hyphens_) {
      while (end < text_.size() && !is_wrap_space(text_[end]))
        ++end;
      return end;
    }
    if (const std::size_t dash = dash_end(begin); dash > begin) return dash;
    for (end = begin + 1; end < text_.size() && !is_wrap_space(text_[end]); ++end) {
      if (dash_end(end) > end) return end;
      if (breaks_behind(begin, end)) return end + 1;
    }
    return end;
  }

  const std::vector<char32_t>& text_;
  bool hyphens_;
};

class Wrapper {
 public:
  Wrapper(Runtime& runtime, const Text& line, const WrapStyle& style)
      : runtime_(runtime), line_(line), style_(style) {
    for (TextCursor cursor(line); !cursor.done();) {
      offsets_.push_back(cursor.position());
      text_.push_back(cursor.next());
    }
    offsets_.push_back(line.size);
  }

  std::vector<Value> run() {
    std::vector<Chunk> chunks = Chunker(text_, style_.break_on_hyphens).run();
    std::ranges::reverse(chunks);  // The next one at the back.
    while (!chunks.empty())
      take_line(chunks);
    return std::move(lines_);
  }

 private:
  bool is_space(const Chunk& chunk) const { return is_wrap_space(text_[chunk.begin]); }

  void take_line(std::vector<Chunk>& chunks) {
    if (!lines_.empty() && is_space(chunks.back())) chunks.pop_back();
    std::vector<Chunk> line;
    std::size_t width = 0;
    while (!chunks.empty() && width + chunks.back().size() <= style_.width) {
      width += chunks.back().size();
      line.push_back(chunks.back());
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size() > style_.width)
      break_long_word(chunks, line, width);
    if (!line.empty() && is_space(line.back())) line.pop_back();
    runtime_.spend();
    if (line.empty()) return;
    lines_.push_back(
        runtime_.substring(line_, offsets_[line.front().begin], offsets_[line.back().end]));
  }

  void break_long_word(std::vector<Chunk>& chunks, std::vector<Chunk>& line,
                       std::size_t width) const {
    Chunk& word = chunks.back();
    if (!style_.break_long_words) {
      if (!line.empty()) return;
      line.push_back(word);
      chunks.pop_back();
      return;
    }
    std::size_t space_left = style_.width - width;
    if (style_.break_on_hyphens && word.size() > space_left) {
      space_left = hyphen_break(word, space_left);
    }
    line.push_back({word.begin, word.begin + space_left});
    word.begin += space_left;
  }

  // The break behind the last hyphen within reach that has something other than hyphens before it.
  std::size_t hyphen_break(const Chunk& word, std::size_t reach) const {
    for (std::size_t i = reach; i-- > 1;) {
      if (text_[word.begin + i] != '-') continue;
      const auto begin = text_.begin() + static_cast<std::ptrdiff_t>(word.begin);
      const bool only_hyphens = std::all_of(begin, begin + static_cast<std::ptrdiff_t>(i),
                                            [](char32_t c) { return c == '-'; });
      return only_hyphens ? reach : i + 1;
    }
    return reach;
  }

  Runtime& runtime_;
  const Text& line_;
  const WrapStyle& style_;
  std::vector<char32_t> text_;
  std::vector<std::size_t> offsets_;  // Byte offset of each code point, and the end.
  std::vector<Value> lines_;
};

}  // namespace

std::vector<Value> wrap_line(Runtime& runtime, const Text& line, const WrapStyle& style) {
  runtime.spend_bytes(16 * line.size);
  return Wrapper(runtime, line, style).run();
}

}  // namespace hearth::jinja
