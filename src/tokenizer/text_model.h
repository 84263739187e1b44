// The algorithm that turns ordinary text into ids, and an id's spelling back into bytes.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace hearth {

inline bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Immutable and safe from several threads. Borrows the vocabulary it was made with.
class TextModel {
 public:
  virtual ~TextModel() = default;

  // Appends the ids of `text`: valid UTF-8, not empty, a stretch of the input between special
  // tokens (or its ends). Takes O(n log n) steps whatever the text is. Ends early, the ids
  // unfinished, once `stop` is requested.
  virtual void encode(std::string_view text, std::vector<TokenId>& out,
                      const std::stop_token& stop) const = 0;

  // How many bytes of `text` (valid UTF-8) its ids stand for at the least, white space not counted
  // unless `count_space`. One pass, no memory.
  virtual std::size_t min_kept_bytes(std::string_view text, bool count_space) const = 0;

  // The bytes that the spelling of a normal, unused, user-defined or byte token stands for.
  virtual std::string piece_bytes(std::string_view piece, TokenKind kind) const = 0;

  // The text of a user-defined or control token as it appears in the input.
  virtual std::string special_text(std::string_view piece) const = 0;

  // Whether encode() puts a space in front of a text, which decoding must take away.
  virtual bool adds_space_prefix() const { return false; }

  virtual std::string description() const = 0;
};

}  // namespace hearth
