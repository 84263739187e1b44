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

constexpr std::uint32_t kMatchLimit = 50'000'000;
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

}  // namespace

struct RegexScratch::Impl {
  std::unique_ptr<pcre2_match_data, FreeMatchData> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context{
      pcre2_match_context_create(nullptr)};
};

RegexScratch::RegexScratch() : impl_(std::make_unique<Impl>()) {
  HEARTH_CHECK(impl_->data != nullptr && impl_->context != nullptr);
  pcre2_set_match_limit(impl_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(impl_->context.get(), kHeapLimitKib);
}
RegexScratch::~RegexScratch() = default;

struct Regex::Impl {
  std::unique_ptr<pcre2_code, FreeCode> code;
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
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  HEARTH_CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error_number = 0;
  PCRE2_SIZE error_offset = 0;
  auto impl = std::make_unique<Impl>();
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &error_number, &error_offset, context.get()));
  if (impl->code == nullptr) {
    return error(StatusCode::kDataLoss,
                 "the regular expression '{}' (translated to '{}') does not compile at {}", pattern,
                 translated, error_offset);
  }
  // Without a compiler for this machine the interpreter gives the same matches.
  static_cast<void>(pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE));
  Regex regex(std::move(impl));
  HEARTH_RETURN_IF_ERROR(regex.probe());
  return regex;
}

// Nested repeats that fail take exponential time; runs of one character show it.
Status Regex::probe() const {
  constexpr std::size_t kRun = 256;
  constexpr std::array<char, 6> kChars = {'a', 'A', '0', ' ', '.', '\n'};
  for (const char c : kChars) {
    RegexScratch scratch;
    const std::string text = std::string(kRun, c) + "\x01";
    for (RegexMatches matches(*this, text, scratch); matches.next();) {
    }
    if (scratch.gave_up()) {
      return make_status(StatusCode::kOutOfRange,
                         "a regular expression backtracks more than {} times on a text of {} bytes",
                         kMatchLimit, text.size());
    }
  }
  return {};
}

bool RegexMatches::next() {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
  pcre2_match_data* data = scratch_.impl_->data.get();
  while (search_ <= text_.size() && !scratch_.gave_up_) {
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(regex_.impl_->code.get(), subject, text_.size(), search_,
                         PCRE2_NO_UTF_CHECK | options, data, scratch_.impl_->context.get());
    };
    int rc = match(0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
      scratch_.gave_up_ = true;
      return false;
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data);
    if (bounds[0] == bounds[1] && bounds[1] == end_) {
      search_ += std::max<std::size_t>(utf8::decode(text_.substr(search_)).length, 1);
      continue;
    }
    begin_ = bounds[0];
    search_ = end_ = bounds[1];
    return true;
  }
  return false;
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
