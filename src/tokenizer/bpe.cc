#include "tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/byte_pieces.h"

namespace hearth {

namespace {

constexpr TokenId kNoToken = -1;

bool stands_for_text(TokenKind kind) {
  return kind != TokenKind::kControl && kind != TokenKind::kUnknown;
}

class BpeModel final : public WordModel {
 public:
  BpeModel(const Vocabulary& vocabulary, MergeRules rules, const BpeOptions& options)
      : vocabulary_(vocabulary),
        options_(options),
        rules_(std::move(rules)),
        bytes_(options.byte_fallback ? BytePieces(vocabulary) : BytePieces()) {
    for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
      const auto id = vocabulary.find(byte_level::spelling(static_cast<unsigned char>(byte)));
      byte_ids_[byte] = id.value_or(kNoToken);
    }
  }

  void encode_word(std::string_view word, WordScratch& scratch, std::vector<TokenId>& out,
                   const std::stop_token& stop) const override {
    if (options_.ignore_merges && take_whole(word, scratch.spelling, out)) return;
    SymbolMerger& merger = scratch.merger;
    merger.start(word.size());
    if (options_.of_bytes) {
      add_bytes(word, merger);
    } else {
      add_code_points(word, merger);
    }
    merger.merge_all(
        [this](const SymbolPair& pair) -> std::optional<MergeCandidate> {
          const Merge* merge = rules_.table().find(pair.left_id, pair.right_id);
          if (merge == nullptr) return std::nullopt;
          return MergeCandidate{.order = merge->rank, .merged_id = merge->merged_id};
        },
        stop);
    merger.for_each([&out](TokenId id, std::uint32_t, std::uint32_t) { out.push_back(id); });
  }

  bool keeps_all_bytes() const override {
    if (!options_.of_bytes) return bytes_.has_all();
    return std::ranges::find(byte_ids_, kNoToken) == byte_ids_.end();
  }
  bool keeps_byte(unsigned char byte) const override {
    return options_.of_bytes ? byte_ids_[byte] != kNoToken : bytes_.has(byte);
  }

 private:
  // Appends the one id of a word that is a token as a whole. `spelling` is working memory.
  bool take_whole(std::string_view word, std::string& spelling, std::vector<TokenId>& out) const {
    if (options_.of_bytes) {
      spelling.clear();
      byte_level::append_spelling(spelling, word);
      word = spelling;
    }
    const auto id = vocabulary_.find(word);
    // A control token's spelling in the text stays text.
    if (!id || !stands_for_text(vocabulary_.kind(*id))) return false;
    out.push_back(*id);
    return true;
  }

  // Adds the unknown token, if there is one, unless it continues another one.
  void add_unknown(SymbolMerger& merger, bool& after_unknown) const {
    if (!options_.unknown) return;
    if (!after_unknown || !options_.fuse_unknown) merger.add(*options_.unknown);
    after_unknown = true;
  }

  void add_bytes(std::string_view word, SymbolMerger& merger) const {
    bool after_unknown = false;
    for (const char byte : word) {
      const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
      if (id == kNoToken) {
        add_unknown(merger, after_unknown);
      } else {
        merger.add(id);
        after_unknown = false;
      }
    }
  }

  void add_code_points(std::string_view word, SymbolMerger& merger) const {
    bool after_unknown = false;
    std::vector<TokenId> byte_ids;
    while (!word.empty()) {
      const std::string_view one = word.substr(0, utf8::decode(word).length);
      word.remove_prefix(one.size());
      const auto id = vocabulary_.find(one);
      byte_ids.clear();
      if (id && stands_for_text(vocabulary_.kind(*id))) {
        merger.add(*id);
        after_unknown = false;
      } else if (bytes_.append(one, byte_ids)) {
        for (const TokenId byte_id : byte_ids)
          merger.add(byte_id);
        after_unknown = false;
      } else {
        add_unknown(merger, after_unknown);
      }
    }
  }

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  MergeRules rules_;
  BytePieces bytes_;
  std::array<TokenId, 256> byte_ids_{};
};

}  // namespace

Result<MergeRules> MergeRules::create(const Vocabulary& vocabulary, std::size_t num_rules,
                                      std::string_view name, RepeatedPair repeated) {
  if (num_rules > kMaxRules) {
    return error(StatusCode::kOutOfRange, "'{}' has {} entries; the limit is {}", name, num_rules,
                 kMaxRules);
  }
  return MergeRules(vocabulary, name, MergeTable(num_rules, repeated));
}

Status MergeRules::add(std::string_view rule) {
  // The first byte may be part of the left side whatever it is.
  const std::size_t space = rule.find(' ', 1);
  if (space == std::string_view::npos) {
    return make_status(StatusCode::kDataLoss, "'{}' entry {} is not two texts with a space between",
                       name_, next_rank_);
  }
  return add(rule.substr(0, space), rule.substr(space + 1));
}

Status MergeRules::add(std::string_view left, std::string_view right) {
  const std::uint32_t rank = next_rank_++;
  joined_.assign(left);
  joined_ += right;
  const auto left_id = vocabulary_->find(left);
  const auto right_id = vocabulary_->find(right);
  const auto merged_id = vocabulary_->find(joined_);
  if (!left_id || !right_id || !merged_id) {
    return make_status(StatusCode::kDataLoss, "'{}' entry {} names a text that is no token", name_,
                       rank);
  }
  if (!stands_for_text(vocabulary_->kind(*merged_id))) return {};
  if (!table_.insert(*left_id, *right_id, {.rank = rank, .merged_id = *merged_id})) {
    return make_status(StatusCode::kDataLoss, "'{}' holds pairs made to collide", name_);
  }
  return {};
}

std::unique_ptr<WordModel> make_bpe_model(const Vocabulary& vocabulary, MergeRules rules,
                                          const BpeOptions& options) {
  return std::make_unique<BpeModel>(vocabulary, std::move(rules), options);
}

}  // namespace hearth
