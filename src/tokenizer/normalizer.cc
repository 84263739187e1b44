#include "tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/char_class.h"

namespace hearth {

namespace {

// The result of one step under way: text with its origins.
class Output {
 public:
  Output(const NormalizedText& input, std::size_t expected_bytes) : input_(input) {
    result_.text.reserve(expected_bytes);
    if (tracks()) result_.origins.reserve(expected_bytes + 1);
  }

  // Appends what came from the input's byte `at`.
  void put(std::string_view bytes, std::size_t at) {
    result_.text += bytes;
    if (tracks()) result_.origins.insert(result_.origins.end(), bytes.size(), input_.origins[at]);
  }
  void put(char32_t code_point, std::size_t at) {
    const std::size_t before = result_.text.size();
    utf8::append(result_.text, code_point);
    if (!tracks()) return;
    result_.origins.insert(result_.origins.end(), result_.text.size() - before, input_.origins[at]);
  }
  // Appends the input's bytes [begin, end).
  void keep(std::size_t begin, std::size_t end) {
    result_.text += std::string_view(input_.text).substr(begin, end - begin);
    if (!tracks()) return;
    const auto first = input_.origins.begin();
    result_.origins.insert(result_.origins.end(), first + static_cast<std::ptrdiff_t>(begin),
                           first + static_cast<std::ptrdiff_t>(end));
  }
  NormalizedText take() {
    if (tracks()) result_.origins.push_back(input_.origins.back());
    return std::move(result_);
  }

 private:
  bool tracks() const { return !input_.origins.empty(); }
  const NormalizedText& input_;
  NormalizedText result_;
};

// Calls visit(code_point, begin, end) for each code point.
template <typename Visit>
void for_each_code_point(std::string_view text, const Visit& visit) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const utf8::Decoded decoded =
        byte < 0x80 ? utf8::Decoded{.code_point = byte, .length = 1, .valid = true}
                    : utf8::decode(text.substr(at));
    visit(decoded.code_point, at, at + decoded.length);
    at += decoded.length;
  }
}

// A step that looks at one code point at a time; `change` puts what it becomes.
template <typename Change>
NormalizedText map_code_points(const NormalizedText& input, const Change& change) {
  Output out(input, input.text.size() + input.text.size() / 8);
  for_each_code_point(input.text, [&](char32_t c, std::size_t begin, std::size_t end) {
    change(out, c, begin, end);
  });
  return out.take();
}

// Composition never reaches back over an ASCII character, nor does the order of marks: the stretch
// from one to the next can be treated on its own.
NormalizedText apply_form(const NormalizedText& input, UnicodeForm form) {
  const std::string_view text = input.text;
  Output out(input, text.size());
  for (std::size_t begin = 0; begin < text.size();) {
    const auto is_ascii = [text](std::size_t at) {
      return static_cast<unsigned char>(text[at]) < 0x80;
    };
    std::size_t plain = begin;  // ASCII followed by ASCII stays.
    while (plain < text.size() && is_ascii(plain) &&
           (plain + 1 == text.size() || is_ascii(plain + 1)))
      ++plain;
    out.keep(begin, plain);
    std::size_t end = std::min(plain + 1, text.size());
    while (end < text.size() && !is_ascii(end))
      ++end;
    if (end > plain) out.put(to_form(text.substr(plain, end - plain), form), plain);
    begin = end;
  }
  return out.take();
}

NormalizedText lowercase(const NormalizedText& input) {
  return map_code_points(input, [](Output& out, char32_t c, std::size_t begin, std::size_t end) {
    constexpr char32_t kDottedCapitalI = 0x130;  // The one that becomes two code points.
    if (c == kDottedCapitalI) {
      out.put("i\xCC\x87", begin);
      return;
    }
    const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    if (lower == c) {
      out.keep(begin, end);
    } else {
      out.put(lower, begin);
    }
  });
}

NormalizedText strip_marks(const NormalizedText& input, bool only_nonspacing) {
  return map_code_points(input, [=](Output& out, char32_t c, std::size_t begin, std::size_t end) {
    if (!(only_nonspacing ? is_nonspacing_mark(c) : is_mark(c))) out.keep(begin, end);
  });
}

NormalizedText clean_text(const NormalizedText& input) {
  return map_code_points(input, [](Output& out, char32_t c, std::size_t begin, std::size_t end) {
    // These three are control characters too.
    const bool is_line_space = c == '\t' || c == '\n' || c == '\r';
    if (!is_line_space && (c == 0 || c == utf8::kReplacement || is_control_char(c))) return;
    if (is_line_space || is_white_space(c)) {
      out.put(" ", begin);
    } else {
      out.keep(begin, end);
    }
  });
}

NormalizedText space_ideographs(const NormalizedText& input) {
  return map_code_points(input, [](Output& out, char32_t c, std::size_t begin, std::size_t end) {
    const bool apart = is_cjk_ideograph(c);
    if (apart) out.put(" ", begin);
    out.keep(begin, end);
    if (apart) out.put(" ", begin);
  });
}

NormalizedText nmt(const NormalizedText& input) {
  return map_code_points(input, [](Output& out, char32_t c, std::size_t begin, std::size_t end) {
    const bool dropped = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                         c == 0x7F || c == 0x8F || c == 0x9F;
    const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    if (space) {
      out.put(" ", begin);
    } else if (!dropped) {
      out.keep(begin, end);
    }
  });
}

NormalizedText strip(const NormalizedText& input, const StripStep& step) {
  std::size_t first = input.text.size();
  std::size_t last = 0;
  for_each_code_point(input.text, [&](char32_t c, std::size_t begin, std::size_t end) {
    if (is_white_space(c)) return;
    first = std::min(first, begin);
    last = end;
  });
  Output out(input, input.text.size());
  if (first < last || step.left || step.right) {
    const std::size_t begin = step.left ? first : 0;
    const std::size_t end = step.right ? last : input.text.size();
    if (begin < end) out.keep(begin, end);
  }
  return out.take();
}

NormalizedText collapse_spaces(const NormalizedText& input) {
  const std::string_view text = input.text;
  const std::size_t end = text.find_last_not_of(' ') + 1;  // 0 when there is nothing else.
  Output out(input, text.size());
  bool after_space = true;
  for (std::size_t at = 0; at < end; ++at) {
    const bool is_space = text[at] == ' ';
    if (!is_space || !after_space) out.keep(at, at + 1);
    after_space = is_space;
  }
  return out.take();
}

NormalizedText prepend(const NormalizedText& input, std::string_view text) {
  Output out(input, text.size() + input.text.size());
  if (!input.text.empty()) out.put(text, 0);
  out.keep(0, input.text.size());
  return out.take();
}

NormalizedText map_longest(const NormalizedText& input, const CharsMap& map) {
  const std::string_view text = input.text;
  Output out(input, text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (const auto match = map.longest(text.substr(at))) {
      out.put(match->replacement, at);
      at += match->length;
    } else {
      const std::size_t length = utf8::decode(text.substr(at)).length;
      out.keep(at, at + length);
      at += length;
    }
  }
  return out.take();
}

// End of the user-perceived character (UAX #29) that begins at `begin`; no need to look further
// than `limit` bytes.
std::size_t grapheme_end(std::string_view text, std::size_t begin, std::int32_t& state) {
  utf8::Decoded previous = utf8::decode(text.substr(begin));
  std::size_t end = begin + previous.length;
  while (end < text.size()) {
    const utf8::Decoded next = utf8::decode(text.substr(end));
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous.code_point),
                                         static_cast<utf8proc_int32_t>(next.code_point), &state))
      break;
    end += next.length;
    previous = next;
  }
  return end;
}

NormalizedText map_graphemes(const NormalizedText& input, const CharsMap& map) {
  constexpr std::size_t kMaxGraphemeBytes = 5;  // Longer ones are not looked up as a whole.
  const std::string_view text = input.text;
  Output out(input, text.size());
  std::int32_t state = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = grapheme_end(text, begin, state);
    const std::string_view grapheme = text.substr(begin, end - begin);
    const auto whole = grapheme.size() <= kMaxGraphemeBytes ? map.shortest(grapheme) : std::nullopt;
    if (whole) {
      out.put(whole->replacement, begin);
    } else {
      for_each_code_point(grapheme, [&](char32_t, std::size_t from, std::size_t to) {
        const auto match = map.shortest(grapheme.substr(from, to - from));
        if (match) {
          out.put(match->replacement, begin + from);
        } else {
          out.keep(begin + from, begin + to);
        }
      });
    }
    begin = end;
  }
  return out.take();
}

NormalizedText replace(const NormalizedText& input, const Regex& regex, std::string_view content,
                       RegexScratch& scratch) {
  Output out(input, input.text.size() + input.text.size() / 8);
  std::size_t done = 0;
  for (RegexMatches matches(regex, input.text, scratch); matches.next();) {
    out.keep(done, matches.begin());
    out.put(content, matches.begin());
    done = matches.end();
  }
  out.keep(done, input.text.size());
  return out.take();
}

// How many times longer a step can make a text, apart from a constant.
std::size_t growth_of(const NormalizerStep& step) {
  if (std::holds_alternative<FormStep>(step)) return kMaxFormGrowth;
  if (std::holds_alternative<SpaceIdeographsStep>(step)) return 2;
  if (std::holds_alternative<LowercaseStep>(step)) return 2;
  if (const auto* replacement = std::get_if<ReplaceStep>(&step)) {
    return replacement->content.size() + 1;
  }
  if (const auto* charsmap = std::get_if<CharsMapStep>(&step)) {
    return std::max<std::size_t>(charsmap->map->max_replacement_bytes(), 1);
  }
  return 1;
}

// Where a text stays as long as it is, or becomes longer.
bool never_shrinks(const NormalizerStep& step) {
  if (std::holds_alternative<PrependStep>(step)) return true;
  const auto* replacement = std::get_if<ReplaceStep>(&step);
  return replacement != nullptr && replacement->pattern == escape_regex(" ") &&
         !replacement->content.empty();
}

}  // namespace

struct Normalizer::Impl {
  struct Compiled {
    NormalizerStep step;
    std::optional<Regex> regex;
  };
  std::vector<Compiled> steps;

  static NormalizedText run(const Compiled& compiled, const NormalizedText& in,
                            RegexScratch& scratch) {
    return std::visit(
        [&](const auto& step) -> NormalizedText {
          using Step = std::decay_t<decltype(step)>;
          if constexpr (std::is_same_v<Step, FormStep>) {
            return apply_form(in, step.form);
          } else if constexpr (std::is_same_v<Step, LowercaseStep>) {
            return lowercase(in);
          } else if constexpr (std::is_same_v<Step, StripMarksStep>) {
            return strip_marks(in, step.only_nonspacing);
          } else if constexpr (std::is_same_v<Step, CleanTextStep>) {
            return clean_text(in);
          } else if constexpr (std::is_same_v<Step, SpaceIdeographsStep>) {
            return space_ideographs(in);
          } else if constexpr (std::is_same_v<Step, ReplaceStep>) {
            return replace(in, *compiled.regex, step.content, scratch);
          } else if constexpr (std::is_same_v<Step, PrependStep>) {
            return prepend(in, step.text);
          } else if constexpr (std::is_same_v<Step, StripStep>) {
            return strip(in, step);
          } else if constexpr (std::is_same_v<Step, CollapseSpacesStep>) {
            return collapse_spaces(in);
          } else if constexpr (std::is_same_v<Step, NmtStep>) {
            return nmt(in);
          } else {
            return step.matching == CharsMapStep::Matching::kLongest ? map_longest(in, *step.map)
                                                                     : map_graphemes(in, *step.map);
          }
        },
        compiled.step);
  }
};

std::vector<NormalizerStep> bert_normalizer(const BertNormalizerOptions& options) {
  std::vector<NormalizerStep> steps;
  if (options.clean_text) steps.emplace_back(CleanTextStep{});
  if (options.space_ideographs) steps.emplace_back(SpaceIdeographsStep{});
  if (options.strip_accents.value_or(options.lowercase)) {
    steps.emplace_back(FormStep{.form = UnicodeForm::kD});
    steps.emplace_back(StripMarksStep{.only_nonspacing = true});
  }
  if (options.lowercase) steps.emplace_back(LowercaseStep{});
  return steps;
}

Normalizer::Normalizer() : impl_(std::make_unique<const Impl>()) {}
Normalizer::Normalizer(Normalizer&&) noexcept = default;
Normalizer& Normalizer::operator=(Normalizer&&) noexcept = default;
Normalizer::~Normalizer() = default;

Result<Normalizer> Normalizer::create(std::vector<NormalizerStep> steps) {
  if (steps.size() > kMaxSteps) {
    return error(StatusCode::kOutOfRange, "a normalizer of {} steps; the limit is {}", steps.size(),
                 kMaxSteps);
  }
  auto impl = std::make_unique<Impl>();
  std::size_t growth = 1;
  for (NormalizerStep& step : steps) {
    growth *= growth_of(step);
    if (growth > kMaxGrowth) {
      return error(StatusCode::kOutOfRange,
                   "a normalizer that may make a text {} times longer; the limit is {}", growth,
                   kMaxGrowth);
    }
    Impl::Compiled& compiled = impl->steps.emplace_back();
    if (const auto* replacement = std::get_if<ReplaceStep>(&step)) {
      HEARTH_ASSIGN_OR_RETURN(compiled.regex, Regex::compile(replacement->pattern));
    }
    compiled.step = std::move(step);
  }
  Normalizer normalizer;
  normalizer.impl_ = std::move(impl);
  return normalizer;
}

bool Normalizer::is_identity() const {
  return impl_->steps.empty();
}

NormalizedText Normalizer::apply(std::string_view text, RegexScratch& scratch,
                                 bool with_origins) const {
  HEARTH_CHECK(text.size() < UINT32_MAX);
  NormalizedText current{.text = std::string(text), .origins = {}};
  if (with_origins) {
    current.origins.resize(text.size() + 1);
    for (std::size_t i = 0; i <= text.size(); ++i)
      current.origins[i] = static_cast<std::uint32_t>(i);
  }
  for (const Impl::Compiled& compiled : impl_->steps) {
    const auto* form = std::get_if<FormStep>(&compiled.step);
    if (form != nullptr && is_trivially_in_form(current.text, form->form)) continue;
    current = Impl::run(compiled, current, scratch);
  }
  return current;
}

std::optional<std::size_t> Normalizer::max_shrinking(std::string_view text) const {
  std::size_t shrinking = 1;
  for (const Impl::Compiled& compiled : impl_->steps) {
    if (const auto* form = std::get_if<FormStep>(&compiled.step)) {
      if (!is_trivially_in_form(text, form->form)) shrinking *= kMaxFormShrinking;
    } else if (!never_shrinks(compiled.step) &&
               !std::holds_alternative<CollapseSpacesStep>(compiled.step)) {
      return std::nullopt;
    }
  }
  return shrinking;
}

bool Normalizer::drops_space() const {
  return std::ranges::any_of(impl_->steps, [](const Impl::Compiled& compiled) {
    return std::holds_alternative<CollapseSpacesStep>(compiled.step);
  });
}

}  // namespace hearth
