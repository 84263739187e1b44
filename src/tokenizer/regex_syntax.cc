#include "tokenizer/regex_syntax.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>

#include "base/utf8.h"

namespace hearth {

namespace {

// What the classes contain, without the brackets around it.
constexpr std::string_view kWhiteSpace = R"(\t-\r\x{85}\p{Z})";  // PCRE2's \s also takes U+180E.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{N}\p{Pc})";
// \b's: of the other numbers only those of Latin-1.
constexpr std::string_view kBorderWord =
    R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

bool is_general_category(std::string_view name) {
  constexpr std::array<std::string_view, 36> kNames = {
      "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu",
      "M",  "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe",
      "Pf", "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zs"};
  return std::ranges::find(kNames, name) != kNames.end() || name == "Zp";
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) {
      HEARTH_RETURN_IF_ERROR(step());
    }
    if (in_class_) return refuse("an unfinished class");
    return std::move(out_);
  }

 private:
  std::unexpected<Status> refuse(std::string_view what) const {
    return error(StatusCode::kUnimplemented,
                 "the regular expression '{}' has {} at byte {}, which has no translation",
                 pattern_excerpt(pattern_), what, at_);
  }

  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  void copy(std::size_t num_bytes) {
    out_ += pattern_.substr(at_, num_bytes);
    at_ += num_bytes;
  }

  Status step() {
    const char c = pattern_[at_];
    if (c == '\\') return escape();
    if (in_class_) return class_member(c);
    switch (c) {
      case '[':
        return open_class();
      case '(':
        return open_group();
      case '{':
        return repeat();
      case '^':
        return line_start();
      default:
        copy(1);
        return {};
    }
  }

  // These two see the end of a text, and with it the end of a window on a text, by \z alone.
  // Oniguruma finds no line behind the last line break.
  Status line_start() {
    out_ += R"((?:\A|(?<=\n)(?!\z)))";
    ++at_;
    return {};
  }
  Status before_last_break() {
    if (in_class_) return refuse("'\\Z' in a class").error();
    out_ += R"((?=\n?\z))";
    at_ += 2;
    return {};
  }

  Status open_class() {
    in_class_ = true;
    copy(1);
    if (next_is("^")) copy(1);
    // Oniguruma takes a bracket at the start for itself, as PCRE2 does.
    if (next_is("]")) copy(1);
    return {};
  }

  Status class_member(char c) {
    if (c == ']') {
      in_class_ = false;
    } else if (c == '[') {
      return refuse("a class within a class").error();
    } else if (next_is("&&")) {
      return refuse("an intersection of classes").error();
    }
    copy(1);
    return {};
  }

  Status open_group() {
    constexpr std::array<std::string_view, 7> kKnown = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    constexpr std::string_view kIgnoreCase = "(?i)";
    if (at_ == 0 && next_is(kIgnoreCase)) {
      copy(kIgnoreCase.size());
      return {};
    }
    if (next_is("(*")) return refuse("a verb").error();
    if (!next_is("(?")) {
      copy(1);
      return {};
    }
    for (const std::string_view known : kKnown) {
      if (!next_is(known)) continue;
      copy(known.size());
      return {};
    }
    return refuse("a group of this kind").error();
  }

  // "{2}", "{2,}", "{2,3}", "{,3}"; anything else in braces is plain text.
  Status repeat() {
    std::size_t end = at_ + 1;
    const auto digits = [&] {
      const std::size_t begin = end;
      while (end < pattern_.size() && pattern_[end] >= '0' && pattern_[end] <= '9')
        ++end;
      return pattern_.substr(begin, end - begin);
    };
    const std::string_view least = digits();
    const bool has_comma = end < pattern_.size() && pattern_[end] == ',';
    if (has_comma) ++end;
    const std::string_view most = has_comma ? digits() : std::string_view();
    const bool is_repeat =
        end < pattern_.size() && pattern_[end] == '}' && !(least.empty() && most.empty());
    if (!is_repeat) {
      out_ += "\\{";
      ++at_;
      return {};
    }
    ++end;
    for (const std::string_view count : {least, most}) {
      if (count.size() > 3 || (count.size() == 3 && count > "512")) {
        return refuse("a repeat of more than 512").error();
      }
    }
    // Possessive in PCRE2, a repeated repeat in Oniguruma.
    if (end < pattern_.size() && pattern_[end] == '+') {
      return refuse("a counted repeat with '+' behind it").error();
    }
    out_ += fmt::format("{{{}{}{}}}", least.empty() ? "0" : least, has_comma ? "," : "", most);
    at_ = end;
    return {};
  }

  void put_class(std::string_view members, bool negated) {
    if (in_class_) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    at_ += 2;
  }

  Status escape() {
    if (at_ + 1 >= pattern_.size()) return refuse("a backslash at the end").error();
    const char c = pattern_[at_ + 1];
    switch (c) {
      case 's':
      case 'S':
      case 'w':
      case 'W':
      case 'd':
      case 'D':
      case 'h':
      case 'H':
        return shorthand(c);
      case 'p':
      case 'P':
        return property();
      case 'x':
      case 'u':
        return code_point(c);
      case 'b':
      case 'B':
        return word_border(c == 'b');
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'v':
        return control(c);
      case 'Z':
        return before_last_break();
      case 'A':
      case 'z':
        if (in_class_) break;
        copy(2);
        return {};
      default:
        if (static_cast<unsigned char>(c) < 0x80 && std::ispunct(static_cast<unsigned char>(c))) {
          copy(2);
          return {};
        }
        if (c == ' ') {
          copy(2);
          return {};
        }
        break;
    }
    return refuse(fmt::format("'\\{}'", static_cast<unsigned char>(c) < 0x80 ? c : '?')).error();
  }

  Status shorthand(char c) {
    const bool negated = c >= 'A' && c <= 'Z';
    if (negated && in_class_) {
      if (c != 'S' && c != 'D') return refuse(fmt::format("'\\{}' in a class", c)).error();
      out_ += c == 'S' ? R"(\S\x{180E})" : R"(\P{Nd})";
      at_ += 2;
      return {};
    }
    const char lower = static_cast<char>(std::tolower(c));
    put_class(lower == 's'   ? kWhiteSpace
              : lower == 'w' ? kWord
              : lower == 'h' ? kHexDigits
                             : std::string_view(R"(\p{Nd})"),
              negated);
    return {};
  }

  Status control(char c) {
    out_ += c == 'v' ? std::string_view("\\x0B") : pattern_.substr(at_, 2);
    at_ += 2;
    return {};
  }

  Status word_border(bool at_border) {
    if (in_class_) return refuse("'\\b' in a class").error();
    out_ += at_border ? fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kBorderWord)
                      : fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", kBorderWord);
    at_ += 2;
    return {};
  }

  // \p{L}, \p{^L}, \P{L}; scripts by name. PCRE2 would take a bare script name for the script
  // extensions.
  Status property() {
    bool negated = pattern_[at_ + 1] == 'P';
    const std::size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos || pattern_.substr(at_ + 2, 1) != "{") {
      return refuse("a property without braces").error();
    }
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool is_plain_name = !name.empty() && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    });
    if (!is_plain_name) return refuse("a property of this kind").error();
    if (is_general_category(name) || name == "Alphabetic") {
      out_ += fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
    } else if (name.size() > 2 && name != "Any" && name != "Assigned") {
      out_ += fmt::format("\\{}{{sc:{}}}", negated ? 'P' : 'p', name);
    } else {
      return refuse("a property of this name").error();
    }
    at_ = end + 1;
    return {};
  }

  // \x{1F600}, \x41, \u0041. Two-digit ones above 7F are single bytes to Oniguruma.
  Status code_point(char kind) {
    std::size_t begin = at_ + 2;
    std::size_t end = begin;
    if (kind == 'x' && pattern_.substr(begin, 1) == "{") {
      begin += 1;
      end = std::min(pattern_.find('}', begin), pattern_.size());
    } else {
      end = std::min(begin + (kind == 'x' ? 2u : 4u), pattern_.size());
    }
    std::uint32_t value = 0;
    const auto [stopped, code] =
        std::from_chars(pattern_.data() + begin, pattern_.data() + end, value, 16);
    const bool complete = code == std::errc() && stopped == pattern_.data() + end;
    const bool in_braces = begin != at_ + 2;
    if (!complete || value > 0x10FFFF || (kind == 'x' && !in_braces && value > 0x7F)) {
      return refuse("a code point of this form").error();
    }
    out_ += fmt::format("\\x{{{:X}}}", value);
    at_ = end + (in_braces ? 1 : 0);
    return {};
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

std::string pattern_excerpt(std::string_view pattern) {
  constexpr std::size_t kMaxChars = 80;
  std::size_t end = 0;
  for (std::size_t num_chars = 0; end < pattern.size(); ++num_chars) {
    if (num_chars == kMaxChars) return fmt::format("{}...", pattern.substr(0, end));
    end += utf8::decode(pattern.substr(end)).length;
  }
  return std::string(pattern);
}

Result<std::string> translate_regex(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace hearth
