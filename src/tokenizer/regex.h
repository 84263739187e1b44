// The regular expressions of tokenizers. Model files write them in Oniguruma's dialect; they are
// translated to PCRE2's and run by it; characters newer than its tables (Unicode 14 in 10.42) count
// as unassigned.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

// Working memory of searches. Not thread-safe: one per text under way.
class RegexScratch {
 public:
  RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;
  ~RegexScratch();

  // A search went beyond its limit on backtracking; further searches find nothing, so that an
  // expression made to be slow cannot take its time again and again.
  bool gave_up() const { return gave_up_; }

 private:
  friend class RegexMatches;
  struct Impl;
  std::unique_ptr<Impl> impl_;
  bool gave_up_ = false;
};

// A compiled expression. Immutable and safe from several threads.
class Regex {
 public:
  static constexpr std::size_t kMaxPatternBytes = 16u << 10;

  // kUnimplemented names a construct that has no exact translation; kDataLoss an expression that is
  // not well-formed; kOutOfRange one that is too long or that backtracks without bounds already on
  // plain texts.
  static Result<Regex> compile(std::string_view pattern);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

 private:
  friend class RegexMatches;
  struct Impl;
  explicit Regex(std::unique_ptr<const Impl> impl);
  Status probe() const;
  std::unique_ptr<const Impl> impl_;
};

// The matches of an expression in a text (valid UTF-8) from left to right, without overlap; empty
// ones too, unless they touch the match before. Borrows all three.
class RegexMatches {
 public:
  RegexMatches(const Regex& regex, std::string_view text, RegexScratch& scratch)
      : regex_(regex), text_(text), scratch_(scratch) {}

  // Finds the next match; false when there is none.
  bool next();
  std::size_t begin() const { return begin_; }
  std::size_t end() const { return end_; }

 private:
  const Regex& regex_;
  std::string_view text_;
  RegexScratch& scratch_;
  std::size_t search_ = 0;  // Where the next search starts.
  std::size_t begin_ = 0;
  std::size_t end_ = std::string_view::npos;
};

// The expression that matches exactly `text`.
std::string escape_regex(std::string_view text);

}  // namespace hearth
