// What happens to a text before it is split into words: a list of steps, as the model's files name
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode_form.h"

namespace hearth {

struct FormStep {
  UnicodeForm form = UnicodeForm::kC;
};
struct LowercaseStep {};
// Drops combining marks: all of them, or those that take no room of their own (Mn).
struct StripMarksStep {
  bool only_nonspacing = false;
};
// BERT's: control characters away, all white space to " ".
struct CleanTextStep {};
// BERT's: a space on both sides of each CJK ideograph.
struct SpaceIdeographsStep {};
struct ReplaceStep {
  std::string pattern;  // See Regex; escape_regex() for a plain text.
  std::string content;
};
struct PrependStep {
  std::string text;  // Not in front of an empty text.
};
struct StripStep {
  bool left = false, right = false;
};
// One space where there are several, none at the ends (SentencePiece).
struct CollapseSpacesStep {};
// Neural machine translation's rules for control characters and spaces.
struct NmtStep {};
struct CharsMapStep {
  enum class Matching : std::uint8_t {
    kLongest,   // At each place the longest key (SentencePiece).
    kGraphemes  // A user-perceived character by its shortest key, else its code points one by one
                // (Hugging Face `tokenizers`).
  };
  std::shared_ptr<const CharsMap> map;  // Shared so that steps are values; never null.
  Matching matching = Matching::kLongest;
};

using NormalizerStep =
    std::variant<FormStep, LowercaseStep, StripMarksStep, CleanTextStep, SpaceIdeographsStep,
                 ReplaceStep, PrependStep, StripStep, CollapseSpacesStep, NmtStep, CharsMapStep>;

// BERT's normalizer as steps.
struct BertNormalizerOptions {
  bool clean_text = true;
  bool space_ideographs = true;
  std::optional<bool> strip_accents = {};  // Unset: as `lowercase`.
  bool lowercase = true;
};
std::vector<NormalizerStep> bert_normalizer(const BertNormalizerOptions& options);

// A text on its way through the steps. With `origins` each byte, and the end, knows the place in
// the raw text that it came from.
struct NormalizedText {
  std::string text;
  std::vector<std::uint32_t> origins;  // text.size() + 1, or empty.
};

// Immutable and safe from several threads.
class Normalizer {
 public:
  static constexpr std::size_t kMaxSteps = 32;
  // No step list may make a text longer than this many times.
  static constexpr std::size_t kMaxGrowth = 1024;

  // kOutOfRange beyond the limits; errors of a pattern as Regex::compile() gives them.
  static Result<Normalizer> create(std::vector<NormalizerStep> steps);
  Normalizer();  // No steps.

  Normalizer(Normalizer&&) noexcept;
  Normalizer& operator=(Normalizer&&) noexcept;
  ~Normalizer();

  bool is_identity() const;

  // `text` is valid UTF-8 below 4 GiB, and so is the result.
  NormalizedText apply(std::string_view text, RegexScratch& scratch, bool with_origins) const;

  // The result may be shorter than the text by this factor; nullopt: it may be anything.
  std::optional<std::size_t> max_shrinking(std::string_view text) const;
  bool drops_space() const;  // Apart from that factor.

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace hearth
