#include "tokenizer/regex.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/regex_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace hearth {

namespace {

constexpr std::uint32_t kHeapLimitKib = 64u << 10;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

// An error says what PCRE2 has against the expression.
Result<std::unique_ptr<pcre2_code, FreeCode>> compile_code(std::string_view translated,
                                                           std::uint32_t options) {
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  HEARTH_CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error_number = 0;
  PCRE2_SIZE error_offset = 0;
  std::unique_ptr<pcre2_code, FreeCode> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | options,
                    &error_number, &error_offset, context.get()));
  if (code == nullptr) {
    std::array<PCRE2_UCHAR, 128> message{};
    pcre2_get_error_message(error_number, message.data(), message.size());
    return error(StatusCode::kDataLoss, "{}", reinterpret_cast<const char*>(message.data()));
  }
  // Without a compiler for this machine the interpreter gives the same matches.
  static_cast<void>(pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD));
  return code;
}

// What the expensive attempts on a text may still cost.
struct Effort {
  std::stop_token stop;
  std::uint64_t left = 0;
  std::size_t last_position = 0;
};

// Called before each item of the expression: the bytes passed since the item before are its cost,
// which PCRE2's own limit leaves out.
int count_effort(pcre2_callout_block* block, void* data) {
  auto& effort = *static_cast<Effort*>(data);
  const std::size_t position = block->current_position;
  const std::size_t last = std::exchange(effort.last_position, position);
  const std::size_t cost = 1 + std::max(position, last) - std::min(position, last);
  effort.left -= std::min<std::uint64_t>(effort.left, cost);
  return effort.left == 0 || effort.stop.stop_requested() ? PCRE2_ERROR_CALLOUT : 0;
}

}  // namespace

struct RegexScratch::Impl {
  std::unique_ptr<pcre2_match_data, FreeMatchData> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context{
      pcre2_match_context_create(nullptr)};
  Effort effort;
};

RegexScratch::RegexScratch(std::stop_token stop, std::uint64_t effort)
    : impl_(std::make_unique<Impl>()) {
  HEARTH_CHECK(impl_->data != nullptr && impl_->context != nullptr);
  impl_->effort = {.stop = std::move(stop), .left = effort};
  pcre2_set_heap_limit(impl_->context.get(), kHeapLimitKib);
  pcre2_set_callout(impl_->context.get(), count_effort, &impl_->effort);
}
RegexScratch::~RegexScratch() = default;

struct Regex::Impl {
  std::unique_ptr<pcre2_code, FreeCode> code;     // Searches.
  std::unique_ptr<pcre2_code, FreeCode> counted;  // Matches at its start alone, with callouts.
};

Regex::Regex(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return error(StatusCode::kOutOfRange, "a regular expression has {} bytes; the limit is {}",
                 pattern.size(), kMaxPatternBytes);
  }
  HEARTH_ASSIGN_OR_RETURN(const std::string translated, translate_regex(pattern));
  auto impl = std::make_unique<Impl>();
  auto code = compile_code(translated, 0);
  auto counted = compile_code(translated, PCRE2_ANCHORED | PCRE2_AUTO_CALLOUT);
  if (!code || !counted) {
    return error(StatusCode::kDataLoss, "the regular expression '{}' does not compile: {}",
                 pattern_excerpt(pattern), (code ? counted : code).error().message());
  }
  impl->code = *std::move(code);
  impl->counted = *std::move(counted);
  Regex regex(std::move(impl));
  HEARTH_RETURN_IF_ERROR(regex.probe());
  return regex;
}

// Nested repeats that fail take exponential time; runs of one character show it.
Status Regex::probe() const {
  constexpr std::uint64_t kEffort = 20'000'000;
  constexpr std::size_t kRun = 256;
  constexpr std::array<char, 6> kChars = {'a', 'A', '0', ' ', '.', '\n'};
  for (const char c : kChars) {
    RegexScratch scratch({}, kEffort);
    const std::string text = std::string(kRun, c) + "\x01";
    for (RegexMatches matches(*this, text, scratch); matches.next();) {
    }
    if (scratch.gave_up()) {
      return make_status(
          StatusCode::kOutOfRange,
          "a regular expression backtracks for more than {} steps on a text of {} bytes", kEffort,
          text.size());
    }
  }
  return {};
}

RegexMatches::RegexMatches(const Regex& regex, std::string_view text, RegexScratch& scratch)
    : regex_(regex), text_(text), scratch_(scratch) {
  scratch_.impl_->effort.left += text.size() * RegexScratch::kEffortPerByte;
}

bool RegexMatches::next() {
  while (search_ <= text_.size() && find()) {
    if (found_begin_ == found_end_ && found_end_ == end_) {
      search_ = after_code_point(search_);
      continue;
    }
    begin_ = found_begin_;
    search_ = end_ = found_end_;
    return true;
  }
  return false;
}

// The first match from search_ on. Most matches are short and plain: a search sees little more than
// them. What wants to look further or to step back more is tried at one place at a time and has to
// be paid for, so that the whole effort stays bounded.
bool RegexMatches::find() {
  std::size_t start = search_;
  while (start <= text_.size()) {
    if (scratch_.gave_up_ || scratch_.impl_->effort.stop.stop_requested()) return false;
    const std::size_t end = window_end(start);
    Outcome outcome = search_near(start, end);
    // At the border a match has not seen what follows.
    if (outcome == Outcome::kFound && end < text_.size() && found_begin_ == end) {
      outcome = Outcome::kNone;
    }
    if (outcome == Outcome::kNone) {
      if (end == text_.size()) return false;
      start = end;
      continue;
    }
    if (outcome == Outcome::kLooksFurther) start = found_begin_;
    if (outcome == Outcome::kLooksFurther || outcome == Outcome::kTooManySteps) {
      outcome = find_at(start);
    }
    if (outcome == Outcome::kFound) return true;
    if (outcome == Outcome::kFailed) {
      scratch_.gave_up_ = !scratch_.impl_->effort.stop.stop_requested();
      return false;
    }
    start = after_code_point(start);
  }
  return false;
}

// The first match that begins before `end` and does not have to look beyond it. With kFound the
// match, with kLooksFurther the place where one may begin, is in found_begin_.
RegexMatches::Outcome RegexMatches::search_near(std::size_t start, std::size_t end) {
  constexpr std::uint32_t kMaxSteps = 64;
  const std::uint32_t partial = end < text_.size() ? PCRE2_PARTIAL_HARD : 0;
  RegexScratch::Impl& scratch = *scratch_.impl_;
  pcre2_set_match_limit(scratch.context.get(), kMaxSteps);
  return outcome_of(
      pcre2_match(regex_.impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text_.data()), end, start,
                  PCRE2_NO_UTF_CHECK | partial, scratch.data.get(), scratch.context.get()));
}

// A match that begins at `start`, wherever it ends. kFailed: there is no effort left, or a request
// to stop.
RegexMatches::Outcome RegexMatches::find_at(std::size_t start) {
  RegexScratch::Impl& scratch = *scratch_.impl_;
  scratch.effort.last_position = start;
  pcre2_set_match_limit(scratch.context.get(), UINT32_MAX);
  const auto match = [&](std::uint32_t options) {
    return pcre2_match(regex_.impl_->counted.get(), reinterpret_cast<PCRE2_SPTR>(text_.data()),
                       text_.size(), start, PCRE2_NO_UTF_CHECK | options, scratch.data.get(),
                       scratch.context.get());
  };
  int rc = match(0);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
  return rc == PCRE2_ERROR_MATCHLIMIT ? Outcome::kFailed : outcome_of(rc);
}

RegexMatches::Outcome RegexMatches::outcome_of(int rc) {
  if (rc == PCRE2_ERROR_NOMATCH) return Outcome::kNone;
  if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    return Outcome::kTooManySteps;
  }
  if (rc < 0 && rc != PCRE2_ERROR_PARTIAL) return Outcome::kFailed;
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch_.impl_->data.get());
  found_begin_ = bounds[0];
  found_end_ = bounds[1];
  return rc == PCRE2_ERROR_PARTIAL ? Outcome::kLooksFurther : Outcome::kFound;
}

// How far a search sees before it has to be paid for; never into a code point.
std::size_t RegexMatches::window_end(std::size_t start) const {
  constexpr std::size_t kWindow = 128;
  if (text_.size() - start <= kWindow) return text_.size();
  std::size_t end = start + kWindow;
  while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0) == 0x80)
    ++end;
  return end;
}

std::size_t RegexMatches::after_code_point(std::size_t at) const {
  return at + std::max<std::size_t>(utf8::decode(text_.substr(at)).length, 1);
}

std::string escape_regex(std::string_view text) {
  constexpr std::string_view kMeta = R"(\.+*?()|[]{}^$#&-~)";
  std::string out;
  for (const char c : text) {
    if (kMeta.contains(c)) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace hearth
