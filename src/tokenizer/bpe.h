// Byte-level byte-pair encoding (GPT-2 and descendants): text is split into words, each word's
// bytes are symbols, and ranked merge rules join neighbours.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/status.h"
#include "tokenizer/text_model.h"
#include "tokenizer/vocabulary.h"

namespace hearth {

// Bytes that have no token are dropped, as the reference does (SmolLM2 lacks a few control bytes).
// `merges` are "left right" in the order of their rank. The vocabulary must stay where it is and
// outlive the model. kUnimplemented lists the known pre-tokenizers when `pre` is not one of them;
// kDataLoss names a merge whose parts or result are not in the vocabulary.
struct BpeOptions {
  std::string_view pre;
  std::span<const std::string_view> merges;
};
Result<std::unique_ptr<TextModel>> make_bpe_model(const Vocabulary& vocabulary,
                                                  const BpeOptions& options);

}  // namespace hearth
