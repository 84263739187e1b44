#include "tokenizer/pretokenizer.h"

#include <algorithm>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace hearth {

namespace {

constexpr std::uint32_t kMatchLimit = 50'000'000;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

// Oniguruma's \s is exactly the Unicode property White_Space; PCRE2's also takes U+180E.
std::string spell_out_white_space(std::string_view pattern) {
  constexpr std::string_view kWhiteSpace = "\\t-\\r\\x{85}\\p{Z}";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\') {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out.push_back(c);
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      out += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
    } else if (escaped == 'S' && !in_class) {
      out += fmt::format("[^{}]", kWhiteSpace);
    } else {
      out.push_back('\\');
      out.push_back(escaped);
    }
  }
  return out;
}

Result<Code> compile(std::string_view pattern) {
  const std::string spelled = spell_out_white_space(pattern);
  int error_number = 0;
  PCRE2_SIZE error_offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error_number,
                          &error_offset, nullptr));
  if (code == nullptr) {
    return error(StatusCode::kInternal, "pre-tokenizer pattern '{}' does not compile at {}",
                 pattern, error_offset);
  }
  // Without a compiler for this machine the interpreter gives the same matches.
  static_cast<void>(pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE));
  return code;
}

}  // namespace

struct PreTokenizer::Impl {
  std::vector<Code> codes;

  struct Matching {
    pcre2_match_data* data = nullptr;
    pcre2_match_context* context = nullptr;
    const Visit* visit = nullptr;
  };

  // Splits `text` by the expressions from `step` on. False: the visitor wants no more.
  bool split(std::string_view text, std::size_t step, const Matching& matching) const {
    if (text.empty()) return true;
    if (step == codes.size()) return (*matching.visit)(text);
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    std::size_t done = 0;    // Everything before is split.
    std::size_t search = 0;  // Where the next search starts.
    while (search < text.size()) {
      const int rc =
          pcre2_match(codes[step].get(), subject, text.size(), search,
                      PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, matching.data, matching.context);
      if (rc < 0) break;
      const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(matching.data);
      const std::size_t begin = bounds[0];
      const std::size_t end = bounds[1];
      if (!split(text.substr(done, begin - done), step + 1, matching)) return false;
      if (!split(text.substr(begin, end - begin), step + 1, matching)) return false;
      done = search = end;
    }
    return split(text.substr(done), step + 1, matching);
  }
};

PreTokenizer::PreTokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::create(std::span<const std::string_view> patterns) {
  auto impl = std::make_unique<Impl>();
  for (const std::string_view pattern : patterns) {
    HEARTH_ASSIGN_OR_RETURN(Code code, compile(pattern));
    impl->codes.push_back(std::move(code));
  }
  return PreTokenizer(std::move(impl));
}

void PreTokenizer::split(std::string_view text, const Visit& visit) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(
      pcre2_match_context_create(nullptr));
  HEARTH_CHECK(data != nullptr && context != nullptr);
  pcre2_set_match_limit(context.get(), kMatchLimit);
  impl_->split(text, 0, {.data = data.get(), .context = context.get(), .visit = &visit});
}

const PreTokenizerScheme* find_pretokenizer_scheme(std::string_view name) {
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    if (std::ranges::find(scheme.names, name) != scheme.names.end()) return &scheme;
  }
  return nullptr;
}

}  // namespace hearth
