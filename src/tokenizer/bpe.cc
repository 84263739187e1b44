#include "tokenizer/bpe.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/byte_level.h"
#include "tokenizer/nfc.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/symbol_merger.h"

namespace hearth {

namespace {

constexpr std::size_t kMaxMerges = 8u << 20;
constexpr TokenId kNoToken = -1;

class BpeModel final : public TextModel {
 public:
  BpeModel(const Vocabulary& vocabulary, const PreTokenizerScheme& scheme, PreTokenizer splitter,
           const BpeOptions& options)
      : vocabulary_(vocabulary),
        nfc_(scheme.nfc),
        ignore_merges_(scheme.ignore_merges),
        pre_(options.pre),
        splitter_(std::move(splitter)),
        merges_(options.merges.size()) {
    for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
      const auto id = vocabulary.find(byte_level::spelling(static_cast<unsigned char>(byte)));
      byte_ids_[byte] = id.value_or(kNoToken);
    }
  }

  Status add_merges(std::span<const std::string_view> merges) {
    std::string joined;
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
      const std::string_view rule = merges[rank];
      // The first byte may be part of the left side whatever it is.
      const std::size_t space = rule.find(' ', 1);
      if (space == std::string_view::npos) {
        return make_status(StatusCode::kDataLoss,
                           "'tokenizer.ggml.merges' entry {} is not two texts with a space between",
                           rank);
      }
      joined.assign(rule.substr(0, space));
      joined += rule.substr(space + 1);
      const auto left = vocabulary_.find(rule.substr(0, space));
      const auto right = vocabulary_.find(rule.substr(space + 1));
      const auto merged = vocabulary_.find(joined);
      if (!left || !right || !merged) {
        return make_status(StatusCode::kDataLoss,
                           "'tokenizer.ggml.merges' entry {} names a text that is no token", rank);
      }
      if (!merges_.insert(*left, *right, {.rank = rank, .merged_id = *merged})) {
        return make_status(StatusCode::kDataLoss,
                           "'tokenizer.ggml.merges' holds pairs made to collide");
      }
    }
    return {};
  }

  void encode(std::string_view text, std::vector<TokenId>& out,
              const std::stop_token& stop) const override {
    std::string normalized;
    if (nfc_ && !is_trivially_nfc(text)) {
      normalized = to_nfc(text);
      text = normalized;
    }
    SymbolMerger merger;
    std::string spelling;
    splitter_.split(text, [&](std::string_view word) {
      if (!ignore_merges_ || !take_whole(word, spelling, out)) encode_word(word, merger, out, stop);
      return !stop.stop_requested();
    });
  }

  std::size_t min_kept_bytes(std::string_view text, bool count_space) const override {
    const auto kept = std::ranges::count_if(text, [&](char byte) {
      return byte_ids_[static_cast<unsigned char>(byte)] != kNoToken &&
             (count_space || !is_ascii_space(byte));
    });
    const auto num_kept = static_cast<std::size_t>(kept);
    if (!nfc_ || is_trivially_nfc(text)) return num_kept;
    const bool keeps_all_bytes = std::ranges::find(byte_ids_, kNoToken) == byte_ids_.end();
    return keeps_all_bytes ? num_kept / kMaxNfcShrinking : 0;
  }

  std::string piece_bytes(std::string_view piece, TokenKind kind) const override {
    if (kind == TokenKind::kUserDefined) return std::string(piece);
    return byte_level::bytes_of(piece).value_or(std::string(piece));
  }

  std::string special_text(std::string_view piece) const override { return std::string(piece); }

  std::string description() const override { return fmt::format("byte-level BPE ({})", pre_); }

 private:
  // Appends the one id of a word that is a token as a whole. `spelling` is working memory.
  bool take_whole(std::string_view word, std::string& spelling, std::vector<TokenId>& out) const {
    spelling.clear();
    byte_level::append_spelling(spelling, word);
    const auto id = vocabulary_.find(spelling);
    // A control token's spelling in the text stays text.
    if (!id || vocabulary_.kind(*id) == TokenKind::kControl) return false;
    out.push_back(*id);
    return true;
  }

  void encode_word(std::string_view word, SymbolMerger& merger, std::vector<TokenId>& out,
                   const std::stop_token& stop) const {
    merger.start(word.size());
    for (const char byte : word) {
      const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
      if (id != kNoToken) merger.add(id);
    }
    merger.merge_all(
        [this](const SymbolPair& pair) -> std::optional<MergeCandidate> {
          const Merge* merge = merges_.find(pair.left_id, pair.right_id);
          if (merge == nullptr) return std::nullopt;
          return MergeCandidate{.order = merge->rank, .merged_id = merge->merged_id};
        },
        stop);
    merger.for_each([&out](TokenId id, std::uint32_t, std::uint32_t) { out.push_back(id); });
  }

  const Vocabulary& vocabulary_;
  bool nfc_;
  bool ignore_merges_;
  std::string pre_;
  PreTokenizer splitter_;
  std::array<TokenId, 256> byte_ids_{};
  MergeTable merges_;
};

std::string known_schemes() {
  std::string names;
  for (const PreTokenizerScheme& scheme : pretokenizer_schemes()) {
    for (const std::string_view name : scheme.names) {
      if (!names.empty()) names += ", ";
      names += name;
    }
  }
  return names;
}

}  // namespace

Result<std::unique_ptr<TextModel>> make_bpe_model(const Vocabulary& vocabulary,
                                                  const BpeOptions& options) {
  const PreTokenizerScheme* scheme = find_pretokenizer_scheme(options.pre);
  if (scheme == nullptr) {
    return error(StatusCode::kUnimplemented, "'tokenizer.ggml.pre' is \"{}\"; supported are {}",
                 options.pre, known_schemes());
  }
  if (options.merges.size() > kMaxMerges) {
    return error(StatusCode::kOutOfRange, "'tokenizer.ggml.merges' has {} entries; the limit is {}",
                 options.merges.size(), kMaxMerges);
  }
  HEARTH_ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::create(scheme->patterns));
  auto model = std::make_unique<BpeModel>(vocabulary, *scheme, std::move(splitter), options);
  HEARTH_RETURN_IF_ERROR(model->add_merges(options.merges));
  return model;
}

}  // namespace hearth
