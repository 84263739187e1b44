// The algorithm that turns a word into ids.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/symbol_merger.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

inline bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Working memory, reused from word to word of one text.
struct WordScratch {
  SymbolMerger merger;
  std::string spelling;
};

// Immutable and safe from several threads. Borrows the vocabulary it was made with.
class WordModel {
 public:
  virtual ~WordModel() = default;

  // Appends the ids of `word`: not empty, valid UTF-8 unless the model is one of bytes. What a word
  // is depends on the model; SentencePiece's is a whole stretch of text. Takes O(n log n) steps
  // whatever the word is. Ends early, the ids unfinished, once `stop` is requested.
  virtual void encode_word(std::string_view word, WordScratch& scratch, std::vector<TokenId>& out,
                           const std::stop_token& stop) const = 0;

  // Whether each byte of a word is among those that its ids stand for. If not, `keeps_byte` says
  // which of them are at the least.
  virtual bool keeps_all_bytes() const = 0;
  virtual bool keeps_byte(unsigned char byte) const = 0;
};

}  // namespace hearth
