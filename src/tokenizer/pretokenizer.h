// Splits text into the words that a model encodes one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "tokenizer/regex.h"

namespace hearth {

// What becomes of the matches of an expression (Hugging Face `tokenizers`,
// SplitDelimiterBehavior).
enum class SplitBehavior : std::uint8_t {
  kRemoved,
  kIsolated,            // Each is a piece.
  kMergedWithPrevious,  // Ends the piece before it; of several in a row only the first.
  kMergedWithNext,      // Begins the piece after it; of several in a row only the last.
  kContiguous           // Neighbours are one piece.
};

struct SplitStep {
  std::string pattern;  // See Regex.
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // The stretches between the matches are the matches.
};

// Puts `prefix` in front of a piece that does not begin with it.
struct PrefixStep {
  std::string prefix;
  bool only_at_start = false;  // Only with the raw text's first character.
};

// Writes `to` for each `from`; neither is empty.
struct SubstituteStep {
  std::string from, to;
};
std::string substitute(std::string_view text, const SubstituteStep& step);
// How many times longer it can make a text.
std::size_t growth_of(const SubstituteStep& step);

// Writes each byte as the code point that stands for it (byte_level.h), for steps that expect it;
// and back.
struct SpellBytesStep {};
struct UnspellBytesStep {};

using PreTokenizerStep =
    std::variant<SplitStep, PrefixStep, SubstituteStep, SpellBytesStep, UnspellBytesStep>;

// BERT's: white space away, each punctuation mark a word.
std::vector<PreTokenizerStep> bert_pretokenizer();

// How one family of byte-level tokenizers prepares its text: one row per scheme, found by the names
// that model files use for it in tokenizer.ggml.pre.
struct PreTokenizerScheme {
  std::vector<std::string_view> names;
  // Regular expressions in the dialect of the reference (Oniguruma), applied one after the other:
  // each match becomes a piece of its own, so does each stretch between matches, and the next
  // expression sees every piece as a text of its own.
  std::vector<std::string_view> patterns;
  bool nfc = false;            // Text is brought into Unicode form C first.
  bool ignore_merges = false;  // A word that is a token as a whole is taken without merging.
  bool add_bos = false;        // When the file does not say.

  std::vector<PreTokenizerStep> steps() const;
};

std::span<const PreTokenizerScheme> pretokenizer_schemes();

// nullptr for an unknown name.
const PreTokenizerScheme* find_pretokenizer_scheme(std::string_view name);

// Punctuation as Hugging Face `tokenizers` counts it: ASCII's, and the general category P.
inline constexpr std::string_view kPunctuationPattern = R"([\p{P}\$\+<=>\^~\|`])";

// GPT-2's words (OpenAI, encoder.py), which tokenizer.json names without spelling them out.
inline constexpr std::string_view kGpt2Pattern =
    R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

// Steps, one after the other; each sees every piece of the one before as a text of its own.
// Immutable and safe from several threads.
class PreTokenizer {
 public:
  static constexpr std::size_t kMaxSteps = 32;
  // No step list may make a text longer than this many times.
  static constexpr std::size_t kMaxGrowth = 128;

  // kOutOfRange beyond the limits; errors of a pattern as Regex::compile() gives them.
  static Result<PreTokenizer> create(std::span<const PreTokenizerStep> steps);
  PreTokenizer();  // No steps: a piece is a word.

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Gets one word after the other; false ends the splitting.
  using Visit = std::function<bool(std::string_view word)>;

  // A stretch of the text (valid UTF-8) between special tokens, after normalization.
  struct Piece {
    std::string_view text;
    bool at_start = true;  // It begins with what the raw text begins with.
  };

  // Visits the words of a piece in order; none is empty. Linear in the text's length for the
  // expressions of the table. Where the matcher gives up (its limit on backtracking), the rest of
  // the piece stays whole. False: the visitor wanted no more.
  bool split(const Piece& piece, RegexScratch& scratch, const Visit& visit) const;

  // Whether Piece::at_start matters.
  bool looks_at_start() const;

  // What may be missing from the words together.
  bool drops_space() const;  // White space.
  bool drops_text() const;   // Anything.

 private:
  struct Impl;
  explicit PreTokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace hearth
