#include "tokenizer/spm.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/symbol_merger.h"

namespace hearth {

namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581
constexpr TokenId kNoToken = -1;

std::string unescape_spaces(std::string_view piece) {
  std::string out;
  out.reserve(piece.size());
  while (!piece.empty()) {
    if (piece.starts_with(kSpaceSymbol)) {
      out.push_back(' ');
      piece.remove_prefix(kSpaceSymbol.size());
    } else {
      out.push_back(piece.front());
      piece.remove_prefix(1);
    }
  }
  return out;
}

// The byte that "<0x0A>" stands for.
std::optional<unsigned char> parse_byte_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  const char* const digits_end = piece.data() + 5;
  const auto [end, code] = std::from_chars(piece.data() + 3, digits_end, value, 16);
  if (code != std::errc() || end != digits_end) return std::nullopt;
  return static_cast<unsigned char>(value);
}

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

class SpmModel final : public TextModel {
 public:
  SpmModel(const Vocabulary& vocabulary, const SpmOptions& options)
      : vocabulary_(vocabulary), options_(options) {
    byte_ids_.fill(kNoToken);
    for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
      const auto id = static_cast<TokenId>(idx);
      if (vocabulary.kind(id) != TokenKind::kByte) continue;
      if (const auto byte = parse_byte_piece(vocabulary.piece(id))) byte_ids_[*byte] = id;
    }
  }

  bool can_encode_everything() const { return options_.unknown.has_value() || has_all_bytes(); }

  void encode(std::string_view text, std::vector<TokenId>& out,
              const std::stop_token& stop) const override {
    const std::string escaped = escape(text);
    const CodePoints code_points(escaped);
    SymbolMerger merger;
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
          return MergeCandidate{.order = order_of_score(vocabulary_.score(id)), .merged_id = id};
        },
        stop);
    Output output{.ids = out};
    merger.for_each([&](TokenId id, std::uint32_t begin, std::uint32_t end) {
      emit(code_points.text(begin, end), id, splits, output);
    });
  }

  std::size_t min_kept_bytes(std::string_view text, bool count_space) const override {
    if (!has_all_bytes()) return 0;  // One unknown token may stand for all of it.
    if (count_space && !options_.remove_extra_whitespaces) return text.size();
    return text.size() - static_cast<std::size_t>(std::ranges::count_if(text, is_ascii_space));
  }

  std::string piece_bytes(std::string_view piece, TokenKind kind) const override {
    if (kind == TokenKind::kByte) {
      if (const auto byte = parse_byte_piece(piece)) return {static_cast<char>(*byte)};
    }
    return unescape_spaces(piece);
  }

  std::string special_text(std::string_view piece) const override { return unescape_spaces(piece); }

  bool adds_space_prefix() const override { return options_.add_space_prefix; }

  std::string description() const override { return "SentencePiece BPE"; }

 private:
  // Where a piece that must not be used was put together: the length of its left part.
  using Splits = std::unordered_map<std::string_view, std::size_t>;

  struct Output {
    std::vector<TokenId>& ids;
    bool after_unknown = false;  // Neighbours without a token share one unknown token.
  };

  std::string escape(std::string_view text) const {
    std::string collapsed;
    if (options_.remove_extra_whitespaces) {
      for (const char c : text) {
        if (c != ' ' || (!collapsed.empty() && collapsed.back() != ' ')) collapsed.push_back(c);
      }
      if (collapsed.ends_with(' ')) collapsed.pop_back();
      text = collapsed;
    }
    std::string escaped;
    escaped.reserve(text.size() + text.size() / 2);
    if (options_.add_space_prefix && !text.empty()) escaped += kSpaceSymbol;
    for (const char c : text) {
      if (c == ' ') {
        escaped += kSpaceSymbol;
      } else {
        escaped.push_back(c);
      }
    }
    return escaped;
  }

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

  bool has_bytes_of(std::string_view piece) const {
    return std::ranges::all_of(piece, [this](char byte) {
      return byte_ids_[static_cast<unsigned char>(byte)] != kNoToken;
    });
  }

  bool has_all_bytes() const { return std::ranges::find(byte_ids_, kNoToken) == byte_ids_.end(); }

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
    } else if (has_bytes_of(piece)) {
      for (const char byte : piece)
        out.ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
      out.after_unknown = false;
    } else {
      if (!out.after_unknown) out.ids.push_back(*options_.unknown);
      out.after_unknown = true;
    }
  }

  const Vocabulary& vocabulary_;
  SpmOptions options_;
  std::array<TokenId, 256> byte_ids_{};
};

}  // namespace

Result<std::unique_ptr<TextModel>> make_spm_model(const Vocabulary& vocabulary,
                                                  const SpmOptions& options) {
  auto model = std::make_unique<SpmModel>(vocabulary, options);
  if (!model->can_encode_everything()) {
    return error(StatusCode::kDataLoss,
                 "'tokenizer.ggml.tokens' has neither all 256 byte tokens nor an unknown token");
  }
  return model;
}

}  // namespace hearth
