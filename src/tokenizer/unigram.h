// SentencePiece's unigram model: of all ways to cut a text into pieces the one with the highest sum
// of scores. Reference: google/sentencepiece, unigram_model (EncodeOptimized).
#pragma once

#include <memory>

#include "base/status.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_model.h"

namespace hearth {

struct UnigramOptions {
  TokenId unknown = -1;        // For code points that no piece covers; in the vocabulary.
  bool byte_fallback = false;  // Their bytes instead, where the vocabulary has them.
  // How scores are added: as SentencePiece does it, or in double (Hugging Face `tokenizers`).
  bool add_in_float = false;
  // SentencePiece prefers a user-defined piece to all others.
  bool prefer_user_defined = false;
};

// Longer pieces are refused, so that a text takes time linear in its length.
inline constexpr std::size_t kMaxUnigramPieceBytes = 1024;

// The vocabulary must stay where it is and outlive the model. Control and unknown tokens stand for
// no text. kOutOfRange names a piece beyond the limit.
Result<std::unique_ptr<WordModel>> make_unigram_model(const Vocabulary& vocabulary,
                                                      const UnigramOptions& options);

}  // namespace hearth
