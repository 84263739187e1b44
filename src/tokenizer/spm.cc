#include "tokenizer/spm.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tokenizer/byte_pieces.h"
#include "tokenizer/symbol_merger.h"

namespace hearth {

namespace {

constexpr TokenId kNoToken = -1;

// Where the code points of a text begin. Borrows the text: valid UTF-8, shorter than 4 GiB.
class CodePoints {
 public:
  explicit CodePoints(std::string_view text) : text_(text) {
    HEARTH_CHECK(text.size() < UINT32_MAX);
    const auto begins_one = [](char byte) {
      return (static_cast<unsigned char>(byte) & 0xC0u) != 0x80u;
    };
    begins_.reserve(static_cast<std::size_t>(std::ranges::count_if(text, begins_one)) + 1);
    for (std::uint32_t at = 0; at < text.size(); ++at) {
      if (begins_one(text[at])) begins_.push_back(at);
    }
    begins_.push_back(static_cast<std::uint32_t>(text.size()));
  }
  std::size_t size() const { return begins_.size() - 1; }
  // Of the code points [begin, end).
  std::string_view text(std::uint32_t begin, std::uint32_t end) const {
    return text_.substr(begins_[begin], begins_[end] - begins_[begin]);
  }

 private:
  std::string_view text_;
  std::vector<std::uint32_t> begins_;  // size() + 1
};

class SpmModel final : public WordModel {
 public:
  SpmModel(const Vocabulary& vocabulary, std::optional<TokenId> unknown)
      : vocabulary_(vocabulary), unknown_(unknown), bytes_(vocabulary) {}

  bool can_encode_everything() const { return unknown_.has_value() || bytes_.has_all(); }

  void encode_word(std::string_view word, WordScratch& scratch, std::vector<TokenId>& out,
                   const std::stop_token& stop) const override {
    const CodePoints code_points(word);
    SymbolMerger& merger = scratch.merger;
    merger.start(code_points.size());
    for (std::uint32_t at = 0; at < code_points.size(); ++at)
      merger.add(find_piece(code_points.text(at, at + 1)));
    Splits splits;
    merger.merge_all(
        [&](const SymbolPair& pair) -> std::optional<MergeCandidate> {
          const std::string_view piece = code_points.text(pair.begin, pair.end);
          const TokenId id = find_piece(piece);
          if (id == kNoToken) return std::nullopt;
          if (vocabulary_.kind(id) == TokenKind::kUnused)
            splits.try_emplace(piece, code_points.text(pair.begin, pair.middle).size());
          const auto score = static_cast<float>(vocabulary_.score(id));
          return MergeCandidate{.order = order_of_score(score), .merged_id = id};
        },
        stop);
    Output output{.ids = out};
    merger.for_each([&](TokenId id, std::uint32_t begin, std::uint32_t end) {
      emit(code_points.text(begin, end), id, splits, output);
    });
  }

  // Without all bytes one unknown token may stand for any text.
  bool keeps_all_bytes() const override { return bytes_.has_all(); }
  bool keeps_byte(unsigned char /*byte*/) const override { return bytes_.has_all(); }

 private:
  // Where a piece that must not be used was put together: the length of its left part.
  using Splits = std::unordered_map<std::string_view, std::size_t>;

  struct Output {
    std::vector<TokenId>& ids;
    bool after_unknown = false;  // Neighbours without a token share one unknown token.
  };

  // Only pieces that stand for text: "<s>" in the text never becomes the control token.
  TokenId find_piece(std::string_view piece) const {
    if (piece.size() > vocabulary_.max_piece_bytes()) return kNoToken;
    const auto id = vocabulary_.find(piece);
    if (!id) return kNoToken;
    const TokenKind kind = vocabulary_.kind(*id);
    const bool is_text =
        kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
    return is_text ? *id : kNoToken;
  }

  bool is_unused(TokenId id) const {
    return id != kNoToken && vocabulary_.kind(id) == TokenKind::kUnused;
  }

  // Appends one merged symbol; a piece that must not be used goes back to the parts it came from.
  void emit(std::string_view piece, TokenId id, const Splits& splits, Output& out) const {
    if (is_unused(id)) {
      if (const auto split = splits.find(piece); split != splits.end()) {
        const std::string_view left = piece.substr(0, split->second);
        const std::string_view right = piece.substr(split->second);
        emit(left, find_piece(left), splits, out);
        emit(right, find_piece(right), splits, out);
        return;
      }
    }
    if (id != kNoToken) {
      out.ids.push_back(id);
      out.after_unknown = false;
    } else if (bytes_.append(piece, out.ids)) {
      out.after_unknown = false;
    } else {
      if (!out.after_unknown) out.ids.push_back(*unknown_);
      out.after_unknown = true;
    }
  }

  const Vocabulary& vocabulary_;
  std::optional<TokenId> unknown_;
  BytePieces bytes_;
};

}  // namespace

Result<std::unique_ptr<WordModel>> make_spm_model(const Vocabulary& vocabulary,
                                                  std::optional<TokenId> unknown) {
  auto model = std::make_unique<SpmModel>(vocabulary, unknown);
  if (!model->can_encode_everything()) {
    return error(StatusCode::kDataLoss,
                 "'tokenizer.ggml.tokens' has neither all 256 byte tokens nor an unknown token");
  }
  return model;
}

}  // namespace hearth
