#include "tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/byte_pieces.h"
#include "tokenizer/piece_trie.h"

namespace hearth {

namespace {

constexpr double kUnknownPenalty = 10.0;

bool stands_for_text(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kByte;
}

class UnigramModel final : public WordModel {
 public:
  UnigramModel(const Vocabulary& vocabulary, const UnigramOptions& options,
               std::vector<PieceTrie::Entry> entries)
      : vocabulary_(vocabulary),
        options_(options),
        trie_(std::move(entries)),
        bytes_(options.byte_fallback ? BytePieces(vocabulary) : BytePieces()) {
    double lowest = std::numeric_limits<double>::infinity();
    for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
      const auto id = static_cast<TokenId>(idx);
      // SentencePiece looks at ordinary pieces alone, `tokenizers` at all.
      const bool counts = !options.add_in_float || vocabulary.kind(id) == TokenKind::kNormal;
      if (!counts) continue;
      lowest = std::min<double>(lowest, vocabulary.score(id));
      highest_ = std::max<double>(highest_, vocabulary.score(id));
    }
    unknown_score_ = lowest - kUnknownPenalty;
  }

  void encode_word(std::string_view word, WordScratch& /*scratch*/, std::vector<TokenId>& out,
                   const std::stop_token& stop) const override {
    std::vector<Best> best(word.size() + 1);
    if (!find_best(word, best, stop)) return;
    // The best path is known from its end.
    std::vector<Part> parts;
    for (std::size_t end = word.size(); end > 0;) {
      const std::size_t begin = best[end].begin;
      parts.push_back({.begin = begin, .end = end, .id = best[end].id});
      end = begin;
    }
    std::ranges::reverse(parts);
    append_ids(word, parts, out);
  }

  bool keeps_all_bytes() const override { return bytes_.has_all(); }
  bool keeps_byte(unsigned char byte) const override { return bytes_.has(byte); }

 private:
  // The best way to cut the text up to one place: its last piece.
  struct Best {
    double score = 0.0;
    TokenId id = kUnreached;
    std::uint32_t begin = 0;
  };
  struct Part {
    std::size_t begin = 0, end = 0;
    TokenId id = 0;
  };
  static constexpr TokenId kUnreached = -1;

  double add(double sum, double score) const {
    if (!options_.add_in_float) return sum + score;
    return static_cast<float>(sum) + static_cast<float>(score);
  }

  double score_of(TokenId id, std::size_t length) const {
    constexpr double kUserDefinedMalus = 0.1;
    if (options_.prefer_user_defined && vocabulary_.kind(id) == TokenKind::kUserDefined) {
      return static_cast<double>(length) * highest_ - kUserDefinedMalus;
    }
    return vocabulary_.score(id);
  }

  // False: stopped.
  bool find_best(std::string_view word, std::vector<Best>& best,
                 const std::stop_token& stop) const {
    const auto improve = [&](std::size_t begin, std::size_t end, TokenId id, double score) {
      const double sum = add(best[begin].score, score);
      if (best[end].id != kUnreached && !(sum > best[end].score)) return;
      best[end] = {.score = sum, .id = id, .begin = static_cast<std::uint32_t>(begin)};
    };
    std::size_t num_steps = 0;
    for (std::size_t begin = 0; begin < word.size();) {
      if (++num_steps % SymbolMerger::kStepsPerStopCheck == 0 && stop.stop_requested())
        return false;
      const std::size_t one = utf8::decode(word.substr(begin)).length;
      bool has_one = false;
      PieceTrie::NodeIdx node = PieceTrie::kRoot;
      for (std::size_t end = begin; end < word.size();) {
        node = trie_.child(node, static_cast<unsigned char>(word[end]));
        if (node == PieceTrie::kNone) break;
        ++end;
        const TokenId id = trie_.id_at(node);
        if (id < 0) continue;
        improve(begin, end, id, score_of(id, end - begin));
        has_one = has_one || end - begin == one;
      }
      if (!has_one) improve(begin, begin + one, options_.unknown, unknown_score_);
      begin += one;
    }
    return true;
  }

  // Neighbours that no piece covers are one unknown text.
  void append_ids(std::string_view word, const std::vector<Part>& parts,
                  std::vector<TokenId>& out) const {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].id != options_.unknown) {
        out.push_back(parts[i].id);
        continue;
      }
      const std::size_t begin = parts[i].begin;
      while (i + 1 < parts.size() && parts[i + 1].id == options_.unknown)
        ++i;
      if (!bytes_.append(word.substr(begin, parts[i].end - begin), out)) {
        out.push_back(options_.unknown);
      }
    }
  }

  const Vocabulary& vocabulary_;
  UnigramOptions options_;
  PieceTrie trie_;
  BytePieces bytes_;
  double highest_ = -std::numeric_limits<double>::infinity();
  double unknown_score_ = 0.0;
};

}  // namespace

Result<std::unique_ptr<WordModel>> make_unigram_model(const Vocabulary& vocabulary,
                                                      const UnigramOptions& options) {
  HEARTH_CHECK(vocabulary.contains(options.unknown));
  std::vector<PieceTrie::Entry> entries;
  entries.reserve(vocabulary.size());
  for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
    const auto id = static_cast<TokenId>(idx);
    const std::string_view piece = vocabulary.piece(id);
    if (piece.empty() || id == options.unknown || !stands_for_text(vocabulary.kind(id))) continue;
    // A byte's own spelling is no text to SentencePiece.
    if (options.add_in_float && vocabulary.kind(id) == TokenKind::kByte) continue;
    if (piece.size() > kMaxUnigramPieceBytes) {
      return error(StatusCode::kOutOfRange, "token {} has {} bytes; the limit of a unigram is {}",
                   idx, piece.size(), kMaxUnigramPieceBytes);
    }
    entries.push_back({.text = piece, .id = id});
  }
  return std::make_unique<UnigramModel>(vocabulary, options, std::move(entries));
}

}  // namespace hearth
