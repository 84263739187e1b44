// What a tokenizer is put together from, whatever the files that describe it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/special_matcher.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_model.h"

namespace hearth {

// One part of what a model reads: a text, or a token of its own.
struct TemplateItem {
  enum class What : std::uint8_t { kFirstText, kSecondText, kToken };
  What what = What::kFirstText;
  TokenId id = -1;           // kToken
  std::uint8_t type_id = 0;  // Which of two texts it counts to, for models that are told.
};

struct TokenizerParts {
  std::unique_ptr<const Vocabulary> vocabulary;
  std::unique_ptr<const WordModel> model;  // Refers to the vocabulary.
  SpecialTokens special;
  std::vector<SpecialToken> raw_tokens;         // Looked for in the raw text,
  std::vector<SpecialToken> normalized_tokens;  // in the normalized text; spelled so.
  Normalizer normalizer;
  PreTokenizer pretokenizer;
  TokenDecoder decoder;
  std::vector<TemplateItem> single, pair;
  std::string description;
};

// [BOS] text [EOS], as special.add_bos and add_eos say; and the same for two texts.
void set_plain_templates(TokenizerParts& parts);

}  // namespace hearth
