#include "tokenizer/wordpiece.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tokenizer/piece_trie.h"

namespace hearth {

namespace {

class WordPieceModel final : public WordModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, const WordPieceOptions& options)
      : options_(options),
        trie_(entries_of(vocabulary)),
        first_(trie_.walk(PieceTrie::kRoot, options.first_prefix)),
        continuing_(trie_.walk(PieceTrie::kRoot, options.continuing_prefix)) {}

  void encode_word(std::string_view word, WordScratch& /*scratch*/, std::vector<TokenId>& out,
                   const std::stop_token& /*stop*/) const override {
    const std::size_t size_before = out.size();
    const auto num_chars = std::ranges::count_if(
        word, [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0u) != 0x80u; });
    bool known = static_cast<std::size_t>(num_chars) <= options_.max_chars_per_word;
    for (std::size_t begin = 0; begin < word.size() && known;) {
      const Longest longest = find_longest(word.substr(begin), begin == 0 ? first_ : continuing_);
      known = longest.length > 0;
      if (!known) break;
      out.push_back(longest.id);
      begin += longest.length;
    }
    if (known) return;
    out.resize(size_before);
    out.push_back(options_.unknown);
  }

  bool keeps_all_bytes() const override { return false; }
  bool keeps_byte(unsigned char /*byte*/) const override { return false; }

 private:
  struct Longest {
    std::size_t length = 0;
    TokenId id = -1;
  };

  static std::vector<PieceTrie::Entry> entries_of(const Vocabulary& vocabulary) {
    std::vector<PieceTrie::Entry> entries;
    entries.reserve(vocabulary.size());
    for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
      const auto id = static_cast<TokenId>(idx);
      const TokenKind kind = vocabulary.kind(id);
      if (vocabulary.piece(id).empty() || kind == TokenKind::kControl ||
          kind == TokenKind::kUnknown)
        continue;
      entries.push_back({.text = vocabulary.piece(id), .id = id});
    }
    return entries;
  }

  // Only pieces that end between code points.
  Longest find_longest(std::string_view text, PieceTrie::NodeIdx node) const {
    Longest longest;
    for (std::size_t at = 0; at < text.size() && node != PieceTrie::kNone;) {
      node = trie_.child(node, static_cast<unsigned char>(text[at]));
      ++at;
      if (node == PieceTrie::kNone) break;
      const bool at_border =
          at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0u) != 0x80u;
      if (at_border && trie_.id_at(node) >= 0) longest = {.length = at, .id = trie_.id_at(node)};
    }
    return longest;
  }

  WordPieceOptions options_;
  PieceTrie trie_;
  PieceTrie::NodeIdx first_;
  PieceTrie::NodeIdx continuing_;
};

}  // namespace

std::unique_ptr<WordModel> make_wordpiece_model(const Vocabulary& vocabulary,
                                                const WordPieceOptions& options) {
  HEARTH_CHECK(vocabulary.contains(options.unknown));
  return std::make_unique<WordPieceModel>(vocabulary, options);
}

}  // namespace hearth
