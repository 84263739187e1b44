// The regular expressions of tokenizers. Model files write them in Oniguruma's dialect; they are
// translated to PCRE2's and run by it; characters newer than its tables (Unicode 14 in 10.42) count
// as unassigned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

// Working memory of searches. Not thread-safe: one per text under way.
class RegexScratch {
 public:
  // What searches that look far or backtrack much may cost together, in steps of the matcher; more
  // for each byte of their texts.
  static constexpr std::uint64_t kEffort = 20'000'000;
  static constexpr std::uint64_t kEffortPerByte = 200;

  // A request to stop ends the searches.
  explicit RegexScratch(std::stop_token stop = {}, std::uint64_t effort = kEffort);
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;
  ~RegexScratch();

  // The searches cost more than they may; further ones find nothing, so that an expression made to
  // be slow cannot take its time again and again.
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
  RegexMatches(const Regex& regex, std::string_view text, RegexScratch& scratch);

  // Finds the next match; false when there is none.
  bool next();
  std::size_t begin() const { return begin_; }
  std::size_t end() const { return end_; }

 private:
  enum class Outcome : std::uint8_t { kFound, kNone, kLooksFurther, kTooManySteps, kFailed };
  Outcome search_near(std::size_t start, std::size_t end);
  Outcome find_at(std::size_t start);
  Outcome outcome_of(int rc);
  bool find();
  std::size_t window_end(std::size_t start) const;
  std::size_t after_code_point(std::size_t at) const;
  bool give_up();

  const Regex& regex_;
  std::string_view text_;
  RegexScratch& scratch_;
  std::size_t search_ = 0;  // Where the next search starts.
  std::size_t found_begin_ = 0, found_end_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = std::string_view::npos;
};

// The expression that matches exactly `text`.
std::string escape_regex(std::string_view text);

}  // namespace hearth
