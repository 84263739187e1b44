#include "tokenizer/pretokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizer/byte_level.h"

namespace hearth {

namespace {

// Patterns that match white space only, to know what a step that removes them may drop.
bool matches_only_space(std::string_view pattern) {
  return pattern == R"(\s)" || pattern == R"(\s+)" || pattern == escape_regex(" ");
}

std::string spell_bytes(std::string_view text) {
  std::string out;
  byte_level::append_spelling(out, text);
  return out;
}

// A prefix goes in front of each piece, and a piece may be a single byte.
std::size_t growth_of(const PreTokenizerStep& step) {
  if (const auto* prefix = std::get_if<PrefixStep>(&step)) return prefix->prefix.size() + 1;
  if (const auto* substitution = std::get_if<SubstituteStep>(&step)) {
    return growth_of(*substitution);
  }
  return std::holds_alternative<SpellBytesStep>(step) ? 2 : 1;
}

// One step made ready: what changes the text, or an expression.
struct CompiledStep {
  PreTokenizerStep step;
  std::optional<Regex> regex;
};

}  // namespace

struct PreTokenizer::Impl {
  std::vector<CompiledStep> steps;
  bool drops_space = false;
  bool drops_text = false;

  struct Run {
    RegexScratch& scratch;
    const Visit& visit;
  };

  // Applies the steps from `idx` on. False: the visitor wants no more.
  bool run(const Piece& piece, std::size_t idx, const Run& state) const {
    if (piece.text.empty()) return true;
    if (idx == steps.size()) return state.visit(piece.text);
    const CompiledStep& compiled = steps[idx];
    if (compiled.regex) return split(piece, idx, state);
    std::string changed;
    if (const auto* prefix = std::get_if<PrefixStep>(&compiled.step)) {
      const bool wanted = piece.at_start || !prefix->only_at_start;
      if (!wanted || piece.text.starts_with(prefix->prefix)) return run(piece, idx + 1, state);
      changed = prefix->prefix;
      changed += piece.text;
    } else if (const auto* substitution = std::get_if<SubstituteStep>(&compiled.step)) {
      if (!piece.text.contains(substitution->from)) return run(piece, idx + 1, state);
      changed = substitute(piece.text, *substitution);
    } else if (std::holds_alternative<SpellBytesStep>(compiled.step)) {
      changed = spell_bytes(piece.text);
    } else {
      changed = byte_level::bytes_of(piece.text).value_or(std::string(piece.text));
    }
    return run({.text = changed, .at_start = piece.at_start}, idx + 1, state);
  }

  bool split(const Piece& piece, std::size_t idx, const Run& state) const {
    const CompiledStep& compiled = steps[idx];
    const auto& step = std::get<SplitStep>(compiled.step);
    Emitter emitter{.impl = *this, .piece = piece, .next_idx = idx + 1, .state = state};
    emitter.behavior = step.behavior;
    RegexMatches matches(*compiled.regex, piece.text, state.scratch);
    std::size_t done = 0;
    while (matches.next()) {
      if (done < matches.begin() && !emitter.segment(done, matches.begin(), step.invert))
        return false;
      if (!emitter.segment(matches.begin(), matches.end(), !step.invert)) return false;
      done = matches.end();
    }
    if (done < piece.text.size() && !emitter.segment(done, piece.text.size(), step.invert))
      return false;
    return emitter.finish();
  }

 private:
  // Joins matches and what is between them as a behaviour says. At most one piece is held back.
  struct Emitter {
    const Impl& impl;
    const Piece& piece;
    std::size_t next_idx;
    const Run& state;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool holding = false;
    bool held_is_match = false;  // kMergedWithNext: waits for the next segment.
    bool previous_is_match = false;
    std::size_t held_begin = 0, held_end = 0;

    bool emit(std::size_t begin, std::size_t end) const {
      return impl.run(
          {.text = piece.text.substr(begin, end - begin), .at_start = piece.at_start && begin == 0},
          next_idx, state);
    }
    bool finish() {
      const bool had = std::exchange(holding, false);
      return !had || emit(held_begin, held_end);
    }
    // Gives what was held and holds this instead.
    bool hold(std::size_t begin, std::size_t end) {
      if (!finish()) return false;
      holding = true;
      held_begin = begin;
      held_end = end;
      return true;
    }
    bool segment(std::size_t begin, std::size_t end, bool is_match) {
      const bool after_match = std::exchange(previous_is_match, is_match);
      switch (behavior) {
        case SplitBehavior::kRemoved:
          return is_match || emit(begin, end);
        case SplitBehavior::kIsolated:
          return emit(begin, end);
        case SplitBehavior::kMergedWithPrevious:
          if (is_match && !after_match && holding) {
            held_end = end;
            return true;
          }
          return hold(begin, end);
        case SplitBehavior::kMergedWithNext:
          if (!is_match && after_match && holding) {
            held_end = end;
            return true;
          }
          return hold(begin, end);
        case SplitBehavior::kContiguous:
          if (holding && is_match == after_match) {
            held_end = end;
            return true;
          }
          return hold(begin, end);
      }
      return true;
    }
  };
};

std::string substitute(std::string_view text, const SubstituteStep& step) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t at = std::min(text.find(step.from), text.size());
    out += text.substr(0, at);
    text.remove_prefix(at);
    if (text.empty()) break;
    out += step.to;
    text.remove_prefix(step.from.size());
  }
  return out;
}

std::size_t growth_of(const SubstituteStep& step) {
  return std::max<std::size_t>((step.to.size() + step.from.size() - 1) / step.from.size(), 1);
}

std::vector<PreTokenizerStep> bert_pretokenizer() {
  return {SplitStep{.pattern = R"(\s)", .behavior = SplitBehavior::kRemoved},
          SplitStep{.pattern = std::string(kPunctuationPattern)}};
}

PreTokenizer::PreTokenizer() : impl_(std::make_unique<const Impl>()) {}
PreTokenizer::PreTokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::create(std::span<const PreTokenizerStep> steps) {
  if (steps.size() > kMaxSteps) {
    return error(StatusCode::kOutOfRange, "a pre-tokenizer of {} steps; the limit is {}",
                 steps.size(), kMaxSteps);
  }
  auto impl = std::make_unique<Impl>();
  std::size_t growth = 1;
  for (const PreTokenizerStep& step : steps) {
    growth *= growth_of(step);
    if (growth > kMaxGrowth) {
      return error(StatusCode::kOutOfRange,
                   "a pre-tokenizer that may make a text {} times longer; the limit is {}", growth,
                   kMaxGrowth);
    }
    CompiledStep& compiled = impl->steps.emplace_back(step);
    const auto* split = std::get_if<SplitStep>(&step);
    if (split == nullptr) continue;
    HEARTH_ASSIGN_OR_RETURN(compiled.regex, Regex::compile(split->pattern));
    if (split->behavior != SplitBehavior::kRemoved) continue;
    (!split->invert && matches_only_space(split->pattern) ? impl->drops_space : impl->drops_text) =
        true;
  }
  return PreTokenizer(std::move(impl));
}

bool PreTokenizer::split(const Piece& piece, RegexScratch& scratch, const Visit& visit) const {
  return impl_->run(piece, 0, {.scratch = scratch, .visit = visit});
}

bool PreTokenizer::looks_at_start() const {
  return std::ranges::any_of(impl_->steps, [](const CompiledStep& compiled) {
    const auto* prefix = std::get_if<PrefixStep>(&compiled.step);
    return prefix != nullptr && prefix->only_at_start;
  });
}

bool PreTokenizer::drops_space() const {
  return impl_->drops_space;
}
bool PreTokenizer::drops_text() const {
  return impl_->drops_text;
}

std::vector<PreTokenizerStep> PreTokenizerScheme::steps() const {
  std::vector<PreTokenizerStep> steps;
  steps.reserve(patterns.size());
  for (const std::string_view pattern : patterns)
    steps.emplace_back(SplitStep{.pattern = std::string(pattern)});
  return steps;
}

const PreTokenizerScheme* find_pretokenizer_scheme(std::string_view name) {
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    if (std::ranges::find(scheme.names, name) != scheme.names.end()) return &scheme;
  }
  return nullptr;
}

}  // namespace hearth
