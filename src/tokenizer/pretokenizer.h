// Splits text into the words inside which byte-pair merges happen.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth {

// How one family of tokenizers prepares its text: one row per scheme, found by the names that model
// files use for it in tokenizer.ggml.pre.
struct PreTokenizerScheme {
  std::vector<std::string_view> names;
  // Regular expressions in the dialect of the reference (Oniguruma), applied one after the other:
  // each match becomes a piece of its own, so does each stretch between matches, and the next
  // expression sees every piece as a text of its own.
  std::vector<std::string_view> patterns;
  bool nfc = false;            // Text is brought into Unicode form C first.
  bool ignore_merges = false;  // A word that is a token as a whole is taken without merging.
  bool add_bos = false;        // When the file does not say.
};

std::span<const PreTokenizerScheme> pretokenizer_schemes();

// nullptr for an unknown name.
const PreTokenizerScheme* find_pretokenizer_scheme(std::string_view name);

// A scheme's compiled expressions. Immutable and safe from several threads.
class PreTokenizer {
 public:
  static Result<PreTokenizer> create(std::span<const std::string_view> patterns);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Gets one word after the other; false ends the splitting.
  using Visit = std::function<bool(std::string_view word)>;

  // Visits the words of `text` (valid UTF-8) in order; together they are the text. Linear in its
  // length for the expressions of the table, and keeps nothing that grows with it. Where the
  // matcher gives up (its limit on backtracking), the rest of the piece stays whole.
  void split(std::string_view text, const Visit& visit) const;

 private:
  struct Impl;
  explicit PreTokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace hearth
