#include "tokenizer/token_decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "tokenizer/byte_level.h"
#include "tokenizer/byte_pieces.h"

namespace hearth {

namespace {

std::string trim_ends(std::string_view text, const TrimEnds& step) {
  for (std::size_t i = 0; i < step.num_start && text.starts_with(step.character); ++i)
    text.remove_prefix(step.character.size());
  for (std::size_t i = 0; i < step.num_stop && text.ends_with(step.character); ++i)
    text.remove_suffix(step.character.size());
  return std::string(text);
}

std::string join_word(std::string_view text, const JoinWords& step) {
  if (!step.continuing_prefix.empty() && text.starts_with(step.continuing_prefix)) {
    return std::string(text.substr(step.continuing_prefix.size()));
  }
  std::string word = " ";
  word += text;
  if (!step.cleanup) return word;
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanup = {
      {{" .", "."},
       {" ?", "?"},
       {" !", "!"},
       {" ,", ","},
       {" ' ", "'"},
       {" n't", "n't"},
       {" 'm", "'m"},
       {" do not", " don't"},
       {" 's", "'s"},
       {" 've", "'ve"},
       {" 're", "'re"}}};
  for (const auto& [from, to] : kCleanup)
    word = substitute(word, {.from = std::string(from), .to = std::string(to)});
  return word;
}

std::string replace(std::string_view text, const Regex& regex, std::string_view content,
                    RegexScratch& scratch) {
  std::string out;
  std::size_t done = 0;
  for (RegexMatches matches(regex, text, scratch); matches.next();) {
    out += text.substr(done, matches.begin() - done);
    out += content;
    done = matches.end();
  }
  out += text.substr(done);
  return out;
}

std::size_t growth_of_step(const TokenDecoderStep& step) {
  if (const auto* substitution = std::get_if<SubstituteStep>(&step)) {
    return growth_of(*substitution);
  }
  // An expression may match the nothing between two characters.
  if (const auto* replacement = std::get_if<RegexSubstitute>(&step)) {
    return replacement->content.size() + 1;
  }
  return std::holds_alternative<JoinWords>(step) ? 2 : 1;
}

}  // namespace

Result<TokenDecoder> TokenDecoder::create(std::vector<TokenDecoderStep> steps,
                                          std::size_t num_leading_spaces) {
  TokenDecoder decoder;
  std::size_t growth = 1;
  for (const TokenDecoderStep& step : steps) {
    growth *= growth_of_step(step);
    if (growth > kMaxGrowth) {
      return error(StatusCode::kOutOfRange,
                   "a decoder that may make a token {} times longer; the limit is {}", growth,
                   kMaxGrowth);
    }
    const auto* substitution = std::get_if<RegexSubstitute>(&step);
    if (substitution == nullptr) continue;
    HEARTH_ASSIGN_OR_RETURN(Regex regex, Regex::compile(substitution->pattern));
    decoder.regexes_.push_back(std::move(regex));
  }
  decoder.steps_ = std::move(steps);
  decoder.num_leading_spaces_ = num_leading_spaces;
  return decoder;
}

std::string TokenDecoder::bytes_of(std::string_view piece, TokenKind kind,
                                   RegexScratch& scratch) const {
  std::string text(piece);
  std::size_t num_regexes = 0;
  for (const TokenDecoderStep& step : steps_) {
    if (std::holds_alternative<SpelledBytes>(step)) {
      if (kind == TokenKind::kUserDefined || kind == TokenKind::kControl) continue;
      if (auto bytes = byte_level::bytes_of(text)) text = *std::move(bytes);
    } else if (std::holds_alternative<NumberedBytes>(step)) {
      const auto byte =
          kind == TokenKind::kByte ? parse_byte_piece(text) : std::optional<unsigned char>();
      if (byte) text.assign(1, static_cast<char>(*byte));
    } else if (const auto* substitution = std::get_if<SubstituteStep>(&step)) {
      if (text.contains(substitution->from)) text = substitute(text, *substitution);
    } else if (const auto* replacement = std::get_if<RegexSubstitute>(&step)) {
      text = replace(text, regexes_[num_regexes++], replacement->content, scratch);
    } else if (const auto* trim = std::get_if<TrimEnds>(&step)) {
      text = trim_ends(text, *trim);
    } else if (const auto* join = std::get_if<JoinWords>(&step)) {
      text = join_word(text, *join);
    }
  }
  return text;
}

}  // namespace hearth
