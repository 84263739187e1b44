// Tokenizers from the files of a Hugging Face model directory: tokenizer.json and what stands
// beside it (format of the `tokenizers` library, version "1.0").
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// The texts of the files. Only tokenizer.json is needed; a missing file is an empty text.
struct HfTokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config;   // tokenizer_config.json: BOS, EOS, chat templates
  std::string generation_config;  // generation_config.json: further ids that end an answer
  std::string chat_template;      // chat_template.jinja; goes before tokenizer_config.json's
};

struct NamedChatTemplate {
  std::string name;  // "default" for a model's only one; others: "tool_use", "rag", ...
  std::string source;
};

struct HfTokenizer {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<NamedChatTemplate> chat_templates;  // As the files order them; may be empty.

  // Source of the template named "default", or of the only one; nullptr when there is none.
  const std::string* default_chat_template() const;
};

// `path` is a directory with a tokenizer.json, or the path of such a file whatever its name; the
// other files are looked for in the same directory. Errors name the file and, where they can, the
// part of it: kNotFound (no such file), kDataLoss (malformed, contradicts itself), kOutOfRange (a
// limit), kUnimplemented (a part that we do not have, with the list of those we have).
//
// Left out knowingly: the sections "truncation" and "padding" (the length of a request is its
// receiver's business, and it never shortens a text silently) and "dropout" 0.
Result<HfTokenizer> load_hf_tokenizer(const std::filesystem::path& path);

// The same from memory; keeps nothing of `files`.
Result<HfTokenizer> make_hf_tokenizer(const HfTokenizerFiles& files);

}  // namespace hearth
