// From a chat's template context to the prompt's token ids: what a template needs from a tokenizer
// and a tokenizer from a rendered prompt.
#pragma once

#include <span>
#include <stop_token>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// Adds the members bos_token, eos_token, unk_token and pad_token as the vocabulary spells them,
// where `context` does not have them and the model does.
void add_special_tokens(const Tokenizer& tokenizer, json::Object& context);

// Borrows the texts of `prompt`.
std::vector<TextSpan> text_spans(const RenderedPrompt& prompt);

// Ids of a rendered prompt. Special tokens arise from the template's own text alone. BOS is added
// when the model file asks for it and the template did not write it; EOS never. `stop` as for
// Tokenizer::encode().
std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::span<const TextSpan> spans,
                                   const std::stop_token& stop = {});

}  // namespace hearth
