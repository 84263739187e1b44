// Which tokens have a role: the ids a model file names, and those whose spelling every runtime
// knows.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace hearth {

bool is_special(TokenKind kind);

void add_once(std::vector<TokenId>& ids, std::optional<TokenId> id);

// Adds the tokens whose spelling says that they end an answer, and makes control tokens of those
// that a file calls user-defined. With `mark_normal` also of those that it calls normal although
// nobody writes them by chance.
void add_well_known_ends(Vocabulary& vocabulary, SpecialTokens& special, bool mark_normal);

// "Phi 3" models drop white space after their control tokens; GGUF files say it by their name only.
bool is_phi3(std::string_view model_name);
bool keeps_space_after_in_phi3(std::string_view text);

}  // namespace hearth
