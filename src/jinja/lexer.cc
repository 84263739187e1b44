#include "jinja/lexer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/utf8.h"
#include "jinja/failure.h"
#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

using std::string_view;

enum class TagKind { kBlock, kVariable, kComment };

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Length of the run of digits at the start, single underscores between them allowed.
template <typename IsDigit>
std::size_t digits_length(string_view text, IsDigit accepts) {
  std::size_t length = 0;
  while (length < text.size()) {
    const bool is_separator =
        text[length] == '_' && length > 0 && length + 1 < text.size() && accepts(text[length + 1]);
    if (!is_separator && !accepts(text[length])) break;
    ++length;
  }
  return length;
}

std::string without_underscores(string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != '_') out += c;
  }
  return out;
}

// Length of a float literal at the start of `text`; 0 when there is none.
std::size_t float_length(string_view text) {
  const std::size_t whole = digits_length(text, is_digit);
  if (whole == 0) return 0;
  std::size_t length = whole;
  if (length < text.size() && text[length] == '.') {
    const std::size_t fraction = digits_length(text.substr(length + 1), is_digit);
    if (fraction > 0) length += 1 + fraction;
  }
  if (length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
    std::size_t sign = length + 1;
    if (sign < text.size() && (text[sign] == '+' || text[sign] == '-')) ++sign;
    const std::size_t exponent =
        sign < text.size() ? digits_length(text.substr(sign), is_digit) : std::size_t{0};
    if (exponent > 0) return sign + exponent;
  }
  return length > whole ? length : 0;
}

struct Radix {
  char letter;
  int base;
};

class Lexer {
 public:
  explicit Lexer(string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) {
      if (!next_piece()) break;
    }
    push(TokenType::kEnd, source_.size(), "");
    return std::move(tokens_);
  }

 private:
  string_view rest() const { return source_.substr(position_); }

  void push(TokenType type, std::size_t offset, std::string text) {
    tokens_.push_back(
        {.type = type, .offset = static_cast<std::uint32_t>(offset), .text = std::move(text)});
  }

  // Text up to the next tag, then the tag. False when no tag follows.
  bool next_piece() {
    const std::size_t begin = position_;
    std::size_t open = source_.find('{', begin);
    while (open != string_view::npos && open + 1 < source_.size()) {
      const char kind = source_[open + 1];
      if (kind == '%') return tag(begin, open, TagKind::kBlock);
      if (kind == '{') return tag(begin, open, TagKind::kVariable);
      if (kind == '#') return tag(begin, open, TagKind::kComment);
      open = source_.find('{', open + 1);
    }
    push(TokenType::kData, begin, std::string(source_.substr(begin)));
    position_ = source_.size();
    return false;
  }

  bool tag(std::size_t text_begin, std::size_t open, TagKind kind) {
    position_ = open + 2;
    if (kind == TagKind::kBlock) {
      if (const std::optional<std::size_t> raw_end = raw_begin_end(open)) {
        push_data(text_begin, open, sign_at(open + 2), true);
        position_ = *raw_end;
        raw(open);
        return true;
      }
    }
    const char sign = sign_at(position_);
    if (sign != '\0') ++position_;
    push_data(text_begin, open, sign, kind != TagKind::kVariable);
    if (kind == TagKind::kComment) {
      comment(open);
      return true;
    }
    push(kind == TagKind::kBlock ? TokenType::kBlockBegin : TokenType::kVariableBegin, open, "");
    inside(kind);
    return true;
  }

  char sign_at(std::size_t position) const {
    if (position < source_.size() && (source_[position] == '-' || source_[position] == '+')) {
      return source_[position];
    }
    return '\0';
  }

  std::size_t skip_space(std::size_t position) const {
    return position + leading_space_length(source_.substr(position));
  }

  // Text before a tag, stripped as its sign and lstrip_blocks ask.
  void push_data(std::size_t begin, std::size_t end, char sign, bool lstrip) {
    string_view text = source_.substr(begin, end - begin);
    if (sign == '-') {
      text.remove_suffix(trailing_space_length(text));
    } else if (sign != '+' && lstrip) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_starting_) && line < text.size() &&
          leading_space_length(text.substr(line)) == text.size() - line) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) push(TokenType::kData, begin, std::string(text));
  }

  bool at(std::size_t position, string_view what) const {
    return source_.substr(position).starts_with(what);
  }

  // The end of a block or comment tag at `position` (its sign included), past what it strips.
  std::optional<std::size_t> tag_end(std::size_t position, string_view close) const {
    if (at(position, close)) {
      position += close.size();
      return at(position, "\n") ? position + 1 : position;
    }
    const char sign = sign_at(position);
    if (sign == '\0' || !at(position + 1, close)) return std::nullopt;
    position += 1 + close.size();
    return sign == '-' ? skip_space(position) : position;
  }

  void move_to(std::size_t position) {
    position_ = position;
    line_starting_ = position > 0 && source_[position - 1] == '\n';
  }

  void comment(std::size_t open) {
    for (std::size_t i = position_; i + 1 < source_.size(); ++i) {
      if (const auto end = tag_end(i, "#}")) return move_to(*end);
    }
    fail_at(static_cast<std::uint32_t>(open), "the comment has no end");
  }

  // `{% raw %}` at `open`: the position behind it.
  std::optional<std::size_t> raw_begin_end(std::size_t open) const {
    std::size_t position = open + 2;
    if (sign_at(position) != '\0') ++position;
    position = skip_space(position);
    if (!at(position, "raw")) return std::nullopt;
    position = skip_space(position + 3);
    if (at(position, "-%}")) return skip_space(position + 3);
    if (at(position, "%}")) return position + 2;
    return std::nullopt;
  }

  void raw(std::size_t open) {
    line_starting_ = source_[position_ - 1] == '\n';
    const std::size_t begin = position_;
    for (std::size_t i = begin; (i = source_.find("{%", i)) != string_view::npos; ++i) {
      std::size_t name = i + 2;
      const char sign = sign_at(name);
      if (sign != '\0') ++name;
      name = skip_space(name);
      if (!at(name, "endraw")) continue;
      const auto end = tag_end(skip_space(name + 6), "%}");
      if (!end) continue;
      push_data(begin, i, sign, true);
      return move_to(*end);
    }
    fail_at(static_cast<std::uint32_t>(open), "the raw block has no end");
  }

  void inside(TagKind kind) {
    while (true) {
      position_ = skip_space(position_);
      if (position_ >= source_.size()) return;
      if (brackets_.empty() && close_tag(kind)) return;
      expression_token();
    }
  }

  bool close_tag(TagKind kind) {
    const std::size_t begin = position_;
    if (kind == TagKind::kBlock) {
      const auto end = tag_end(begin, "%}");
      if (!end) return false;
      push(TokenType::kBlockEnd, begin, "");
      move_to(*end);
      return true;
    }
    if (!at(begin, "}}") && !at(begin, "-}}")) return false;
    push(TokenType::kVariableEnd, begin, "");
    move_to(at(begin, "}}") ? begin + 2 : skip_space(begin + 3));
    return true;
  }

  void expression_token() {
    if (number() || name() || string() || op()) return;
    const utf8::Decoded decoded = utf8::decode(rest());
    fail_at(static_cast<std::uint32_t>(position_), "unexpected character '{}'",
            rest().substr(0, decoded.length));
  }

  bool number() {
    if (!is_digit(rest().front())) return false;
    const bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    const std::size_t length = after_dot ? 0 : float_length(rest());
    if (length > 0) {
      push_float(length);
    } else {
      integer();
    }
    return true;
  }

  void push_float(std::size_t length) {
    const std::string digits = without_underscores(rest().substr(0, length));
    double value = 0;
    const auto [end, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure == std::errc::result_out_of_range) value = std::strtod(digits.c_str(), nullptr);
    push(TokenType::kFloat, position_, digits);
    tokens_.back().number = value;
    position_ += length;
  }

  void integer() {
    static constexpr std::array<Radix, 3> kRadixes = {{{'b', 2}, {'o', 8}, {'x', 16}}};
    for (const Radix& radix : kRadixes) {
      if (rest().size() < 3 || rest()[0] != '0' || (rest()[1] | 0x20) != radix.letter) continue;
      const auto accepts = [&](char c) { return digit_value(c) < radix.base; };
      const std::size_t skip = rest()[2] == '_' ? 3 : 2;
      const std::size_t length = digits_length(rest().substr(skip), accepts);
      if (length > 0) return push_integer(skip, length, radix.base);
    }
    if (rest().front() == '0') {
      return push_integer(0, digits_length(rest(), [](char c) { return c == '0'; }), 10);
    }
    push_integer(0, digits_length(rest(), is_digit), 10);
  }

  static int digit_value(char c) {
    if (is_digit(c)) return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
  }

  void push_integer(std::size_t prefix, std::size_t length, int base) {
    const std::string digits = without_underscores(rest().substr(prefix, length));
    std::int64_t value = 0;
    const auto [end, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (failure != std::errc()) {
      fail_at(static_cast<std::uint32_t>(position_), "the integer {} does not fit 64 bits", digits);
    }
    push(TokenType::kInteger, position_, digits);
    tokens_.back().integer = value;
    position_ += prefix + length;
  }

  bool name() {
    const std::size_t length = word_length(rest());
    if (length == 0) return false;
    const string_view word = rest().substr(0, length);
    if (!is_identifier(word)) {
      fail_at(static_cast<std::uint32_t>(position_), "'{}' is not a valid name", word);
    }
    push(TokenType::kName, position_, std::string(word));
    position_ += length;
    return true;
  }

  bool string() {
    const char quote = rest().front();
    if (quote != '\'' && quote != '"') return false;
    std::size_t end = 1;
    while (end < rest().size() && rest()[end] != quote)
      end += rest()[end] == '\\' ? 2 : 1;
    if (end >= rest().size()) return false;
    const std::size_t begin = position_;
    std::string value = unescape(rest().substr(1, end - 1), begin + 1);
    push(TokenType::kString, begin, std::move(value));
    position_ += end + 1;
    return true;
  }

  static std::string unescape(string_view text, std::size_t offset) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      if (text[i] != '\\') {
        out += text[i++];
      } else {
        i += escape(text.substr(i), offset + i, out);
      }
    }
    return out;
  }

  // Appends what the escape at the start of `text` stands for; returns its length.
  static std::size_t escape(string_view text, std::size_t offset, std::string& out) {
    static constexpr string_view kLetters = "\\'\"abfnrtv";
    static constexpr string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char letter = text[1];
    if (letter == '\n') return 2;
    if (const std::size_t found = kLetters.find(letter); found != string_view::npos) {
      out += kMeanings[found];
      return 2;
    }
    if (letter == 'x') return hex_escape(text, 2, offset, out);
    if (letter == 'u') return hex_escape(text, 4, offset, out);
    if (letter == 'U') return hex_escape(text, 8, offset, out);
    if (letter == 'N') fail_at(static_cast<std::uint32_t>(offset), "\\N escapes are not supported");
    if (letter >= '0' && letter <= '7') return octal_escape(text, out);
    out += '\\';
    return 1;
  }

  static std::size_t octal_escape(string_view text, std::string& out) {
    char32_t value = 0;
    std::size_t length = 1;
    while (length < 4 && length < text.size() && text[length] >= '0' && text[length] <= '7') {
      value = value * 8 + static_cast<char32_t>(text[length++] - '0');
    }
    utf8::append(out, value);
    return length;
  }

  static std::size_t hex_escape(string_view text, std::size_t digits, std::size_t offset,
                                std::string& out) {
    const string_view hex = text.substr(2, digits);
    std::uint32_t value = 0;
    const auto [end, failure] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    const bool complete = hex.size() == digits && end == hex.data() + hex.size();
    const bool surrogate = value >= 0xD800 && value < 0xE000;
    if (failure != std::errc() || !complete || surrogate || value > 0x10FFFF) {
      fail_at(static_cast<std::uint32_t>(offset), "'\\{}{}' is not a valid escape", text[1], hex);
    }
    utf8::append(out, static_cast<char32_t>(value));
    return digits + 2;
  }

  bool op() {
    static constexpr std::array<string_view, 26> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const string_view candidate : kOperators) {
      if (!rest().starts_with(candidate)) continue;
      balance(candidate.front());
      push(TokenType::kOperator, position_, std::string(candidate));
      position_ += candidate.size();
      return true;
    }
    return false;
  }

  void balance(char c) {
    static constexpr string_view kOpening = "([{";
    static constexpr string_view kClosing = ")]}";
    if (const std::size_t opened = kOpening.find(c); opened != string_view::npos) {
      brackets_ += kClosing[opened];
    } else if (kClosing.find(c) != string_view::npos) {
      if (brackets_.empty()) fail_at(static_cast<std::uint32_t>(position_), "unexpected '{}'", c);
      if (brackets_.back() != c) {
        fail_at(static_cast<std::uint32_t>(position_), "unexpected '{}', expected '{}'", c,
                brackets_.back());
      }
      brackets_.pop_back();
    }
  }

  string_view source_;
  std::size_t position_ = 0;
  bool line_starting_ = true;
  std::string brackets_;  // The closing brackets still expected.
  std::vector<Token> tokens_;
};

}  // namespace

SourcePosition locate(std::string_view source, std::size_t offset) {
  SourcePosition position;
  for (const char c : source.substr(0, offset)) {
    if (c == '\n') {
      ++position.line;
      position.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
      ++position.column;
    }
  }
  return position;
}

std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace hearth::jinja
