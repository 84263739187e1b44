// Which tokens have a role: the ids a model file names, and those whose spelling every runtime
// knows.
#pragma once

#include <vector>

#include "base/status.h"
#include "tokenizer/special_matcher.h"
#include "tokenizer/text_model.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace hearth {

// Reads the roles, and marks tokens that end an answer as control tokens in `vocabulary` where a
// file calls them normal ones. kDataLoss names a key whose id is outside the vocabulary.
Result<SpecialTokens> find_special_tokens(const TokenizerMetadata& metadata,
                                          Vocabulary& vocabulary);

// The tokens to look for in the input.
std::vector<SpecialToken> tokens_to_match(const TokenizerMetadata& metadata,
                                          const Vocabulary& vocabulary, const TextModel& model);

}  // namespace hearth
