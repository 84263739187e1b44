// SentencePiece's BPE: the whole text, spaces written as U+2581 by then, is merged by the scores of
// the pieces that result. Reference: google/sentencepiece, bpe_model.
#pragma once

#include <memory>
#include <optional>

#include "base/status.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_model.h"

namespace hearth {

// `unknown` is for code points without a token, nor one for each byte. The vocabulary must stay
// where it is and outlive the model. kDataLoss when some text could not be encoded at all: neither
// an unknown token nor a token for each of the 256 bytes ("<0x0A>").
Result<std::unique_ptr<WordModel>> make_spm_model(const Vocabulary& vocabulary,
                                                  std::optional<TokenId> unknown);

}  // namespace hearth
