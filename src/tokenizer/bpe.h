// Byte-pair encoding by ranked merge rules: the symbols of a word are its bytes (GPT-2 and
// descendants) or its code points (tokenizers made from SentencePiece models), and neighbours are
// joined as the rules say.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "tokenizer/piece_index.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_model.h"

namespace hearth {

// The rules in the order of their rank, as ids. Borrows the vocabulary.
class MergeRules {
 public:
  static constexpr std::size_t kMaxRules = 8u << 20;

  // `name` is what error messages call the list. kOutOfRange beyond the limit. The references
  // disagree about which of several rules for one pair stays.
  static Result<MergeRules> create(const Vocabulary& vocabulary, std::size_t num_rules,
                                   std::string_view name, RepeatedPair repeated);

  // The next rule. kDataLoss when a side or the result is no token, or the rules collide. A rule
  // whose result is a control token is left out: no text may become one.
  Status add(std::string_view left, std::string_view right);
  // The same for "left right".
  Status add(std::string_view rule);

  const MergeTable& table() const { return table_; }

 private:
  MergeRules(const Vocabulary& vocabulary, std::string_view name, MergeTable table)
      : vocabulary_(&vocabulary), name_(name), table_(std::move(table)) {}

  const Vocabulary* vocabulary_;
  std::string name_;
  MergeTable table_;
  std::uint32_t next_rank_ = 0;
  std::string joined_;
};

struct BpeOptions {
  bool of_bytes = true;        // Symbols are bytes, spelled as byte_level.h does it.
  bool ignore_merges = false;  // A word that is a token as a whole is taken without merging.
  // For symbols that have no token, in this order: nothing of it, they are dropped, as the
  // reference does (SmolLM2 lacks a few control bytes).
  bool byte_fallback = false;
  std::optional<TokenId> unknown = {};
  bool fuse_unknown = false;  // One unknown token for neighbours.
};

// The vocabulary must stay where it is and outlive the model.
std::unique_ptr<WordModel> make_bpe_model(const Vocabulary& vocabulary, MergeRules rules,
                                          const BpeOptions& options);

}  // namespace hearth
