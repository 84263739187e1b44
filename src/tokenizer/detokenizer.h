// Token ids of one answer, one at a time, to text that is safe to send.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/stop_finder.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

struct DetokenizerOptions {
  std::vector<std::string> stop = {};  // Stop strings; empty ones are not allowed.
  bool include_stop_in_output = false;
  bool render_control = false;      // Show control tokens as text.
  bool skip_leading_space = false;  // SentencePiece: the answer starts a text of its own.
};

// Feeds on ids, gives text in pieces whose concatenation is the whole answer's text: always valid
// UTF-8, the same however the text was cut into tokens. Never emits part of a code point (bytes
// that can still become one wait for the next token; bytes that cannot become U+FFFD), never emits
// text that may still turn out to be the start of a stop string, and finds stop strings across
// token borders. The answer ends where the first stop string is complete; of several that end at
// the same place the longest counts. Borrows the tokenizer. Not thread-safe: one per choice.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, DetokenizerOptions options);

  // Text that became safe with this token; may be empty. After a stop was found nothing more comes.
  std::string push(TokenId id);
  // What was held back, at the end of the answer. Must be called once.
  std::string finish();

  // Set once a stop string was found; index into options.stop.
  std::optional<std::size_t> matched_stop() const { return matched_stop_; }

  // How many bytes of the tokens (Tokenizer::token_bytes) the text given so far stands for: not the
  // text's own length where a leading space was skipped or bytes became U+FFFD.
  std::size_t num_bytes_released() const { return num_bytes_released_; }

 private:
  // Moves the code points of pending_bytes_ that are complete (all of them `at_end`) to held_text_.
  void take_code_points(bool at_end);
  // Feeds it to the stop strings; ends the answer at a match.
  void hold(char32_t code_point);
  std::string release(std::size_t num_bytes);

  const Tokenizer& tokenizer_;
  DetokenizerOptions options_;
  StopFinder stop_finder_;
  std::string pending_bytes_;           // An incomplete code point.
  std::string held_text_;               // Not emitted yet: may be the start of a stop string.
  std::vector<std::size_t> held_ends_;  // Of each byte of it: num_bytes_taken_ then.
  std::size_t num_bytes_taken_ = 0;     // Of the tokens, into held_text_.
  std::size_t num_bytes_released_ = 0;
  std::optional<std::size_t> matched_stop_;
  bool at_start_ = true;
};

}  // namespace hearth
