// Tokenizers from the files of a Hugging Face model directory: tokenizer.json and what stands
// beside it (format of the `tokenizers` library, version "1.0").
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/status.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// The texts of the files. Only tokenizer.json is needed; a missing file is an empty text. What else
// the directory says of chats and of the ends of answers is the model's: see models/hf_directory.h.
struct HfTokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config;  // tokenizer_config.json: BOS, EOS
};

// `path` is a directory with a tokenizer.json, or the path of such a file whatever its name; the
// other file is looked for in the same directory. Errors name the file and, where they can, the
// part of it: kNotFound (no such file), kDataLoss (malformed, contradicts itself), kOutOfRange (a
// limit), kUnimplemented (a part that we do not have, with the list of those we have).
//
// Left out knowingly: the sections "truncation" and "padding" (the length of a request is its
// receiver's business, and it never shortens a text silently) and "dropout" 0.
Result<std::unique_ptr<Tokenizer>> load_hf_tokenizer(const std::filesystem::path& path);

// The same from memory; keeps nothing of `files`.
Result<std::unique_ptr<Tokenizer>> make_hf_tokenizer(const HfTokenizerFiles& files);

}  // namespace hearth
