// The sections of tokenizer.json that list steps, as the steps of our own parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/tokenizer_parts.h"

namespace hearth {

// Each takes its section, or null where the file has none. kUnimplemented names a type (or a
// setting) that we do not have and lists those we have; kDataLoss a member that is missing or of
// the wrong kind.
Result<std::vector<NormalizerStep>> read_hf_normalizer(const json::Value& section);
Result<std::vector<PreTokenizerStep>> read_hf_pretokenizer(const json::Value& section);

struct HfDecoder {
  std::vector<TokenDecoderStep> steps;
  std::size_t num_leading_spaces = 0;
};
Result<HfDecoder> read_hf_decoder(const json::Value& section);

struct HfTemplates {
  std::vector<TemplateItem> single, pair;
};
Result<HfTemplates> read_hf_post_processor(const json::Value& section);

struct HfAddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
};
Result<std::vector<HfAddedToken>> read_hf_added_tokens(const json::Value& section);

}  // namespace hearth
