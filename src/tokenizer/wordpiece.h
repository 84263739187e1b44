// WordPiece (BERT): a word is cut from its start into the longest pieces there are.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/status.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_model.h"

namespace hearth {

struct WordPieceOptions {
  // How a piece at the start of a word is spelled, and one within it: "" and "##" in
  // tokenizer.json, U+2581 and "" in GGUF files.
  std::string first_prefix, continuing_prefix = "##";
  std::size_t max_chars_per_word = 100;  // Longer words are unknown.
  TokenId unknown = -1;                  // In the vocabulary.
};

// The vocabulary must stay where it is and outlive the model. A word that cannot be cut is one
// unknown token. Control tokens stand for no text.
std::unique_ptr<WordModel> make_wordpiece_model(const Vocabulary& vocabulary,
                                                const WordPieceOptions& options);

}  // namespace hearth
