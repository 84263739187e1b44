// Tokenizers from the metadata of GGUF files.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_parts.h"

namespace hearth {

// A model file's tokenizer.ggml.* metadata (keys as in the GGUF specification) with types checked,
// before anything is made of it. Texts and spans borrow from the file.
struct TokenizerMetadata {
  std::string_view model;         // tokenizer.ggml.model: "gpt2", "llama", "bert", "t5"
  std::string_view pre;           // tokenizer.ggml.pre; empty when absent.
  std::string_view model_name;    // general.name; empty when absent.
  std::string_view architecture;  // general.architecture; empty when absent.
  std::span<const std::string_view> tokens;
  std::span<const std::int64_t> token_types;  // Empty: all normal.
  std::span<const std::string_view> merges;
  std::vector<float> scores;  // Empty: all 0.
  std::string charsmap;       // tokenizer.ggml.precompiled_charsmap; empty when absent.

  struct NamedId {
    std::string_view key;  // Without the "tokenizer.ggml." in front.
    std::uint32_t id = 0;
  };
  std::vector<NamedId> ids;  // Those present, of kSpecialIdKeys.

  // add_sep: a second separator stands between two texts.
  std::optional<bool> add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces;

  std::optional<TokenId> id_of(std::string_view key) const;
};

// kNotFound when the file has no tokenizer, kDataLoss for a value of a wrong type.
Result<TokenizerMetadata> read_tokenizer_metadata(const ModelFile& file);

// The parts as the metadata describes them; errors as Tokenizer::load() gives them.
Result<TokenizerParts> make_gguf_parts(const TokenizerMetadata& metadata);

}  // namespace hearth
