// Small tokenizer tables made in memory, for tests of the tokenizer and of what stands on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/gguf_tokenizer.h"

namespace hearth::test {

// Token types as the GGUF specification numbers them.
enum : std::int64_t {
  kNormalType = 1,
  kUnknownType = 2,
  kControlType = 3,
  kUserDefinedType = 4,
  kUnusedType = 5,
  kByteType = 6
};

// Owns what a TokenizerMetadata borrows. Change it freely, then ask for metadata().
struct TokenizerTables {
  std::string model = "gpt2";
  std::string pre = "gpt-2";
  std::string model_name;
  std::vector<std::string> tokens;
  std::vector<std::int64_t> types;
  std::vector<std::string> merges;
  TokenizerMetadata rest;  // What is not a table: ids, flags, scores.

  TokenId add(std::string_view token, std::int64_t type = kNormalType) {
    tokens.emplace_back(token);
    types.push_back(type);
    return static_cast<TokenId>(tokens.size() - 1);
  }
  // Adds the merge and its result.
  TokenId add_merge(const std::string& left, const std::string& right) {
    merges.push_back(left + " " + right);
    return add(left + right);
  }

  TokenizerMetadata metadata() {
    token_views_.assign(tokens.begin(), tokens.end());
    merge_views_.assign(merges.begin(), merges.end());
    TokenizerMetadata metadata = rest;
    metadata.model = model;
    metadata.pre = pre;
    metadata.model_name = model_name;
    metadata.tokens = token_views_;
    metadata.token_types = types;
    metadata.merges = merge_views_;
    return metadata;
  }

 private:
  std::vector<std::string_view> token_views_;
  std::vector<std::string_view> merge_views_;
};

// Byte-level BPE whose ids 0 to 255 are the bytes in order, without merges.
inline TokenizerTables byte_tables() {
  TokenizerTables tables;
  for (int byte = 0; byte < 256; ++byte) {
    tables.add(byte_level::spelling(static_cast<unsigned char>(byte)));
  }
  return tables;
}

}  // namespace hearth::test
