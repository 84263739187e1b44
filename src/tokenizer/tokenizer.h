// Text to token ids and back, exactly as the model's reference implementation does it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

using TokenId = std::int32_t;

enum class TokenKind : std::uint8_t { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

// What a piece of text may turn into. Chat templates mark which spans they wrote themselves and
// which came from a user; only the former may contain special tokens.
enum class SpecialText : std::uint8_t {
  kParse,  // "<|im_end|>" becomes that control token.
  kPlain,  // "<|im_end|>" is ten ordinary characters. User-defined (non-control) tokens still
           // match.
};

struct TextSpan {
  std::string_view text;
  SpecialText special = SpecialText::kPlain;
};

struct SpecialTokens {
  std::optional<TokenId> bos, eos, eot, unknown, padding;
  bool add_bos = false;  // What encode() with add_special does, as the file asks.
  bool add_eos = false;
  std::vector<TokenId>
      end_of_generation;  // Every id that ends an answer (eos, eot, <|im_end|>, ...).
};

// Two texts as one input, for models that read them together (cross-encoders).
struct EncodedPair {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> type_ids;  // Which of the texts each id counts to, as the file says.
};

struct TokenizerMetadata;
struct TokenizerParts;

// Immutable after loading; every method is const and safe from several threads. Keeps nothing of
// the file it was loaded from.
class Tokenizer {
 public:
  // From the tokenizer.json of a model's directory (see hf_tokenizer.h), else from a model file's
  // tokenizer.ggml.* metadata (vocabulary-only files included). kNotFound when
  // the file has none; kUnimplemented names an unknown tokenizer model or pre-tokenizer; kDataLoss
  // a contradiction in the tables; kOutOfRange a table beyond our limits.
  static Result<std::unique_ptr<Tokenizer>> load(const ModelFile& file);
  static Result<std::unique_ptr<Tokenizer>> create(const TokenizerMetadata& metadata);
  static std::unique_ptr<Tokenizer> assemble(TokenizerParts parts);
  ~Tokenizer();

  // Ids of `text`. Invalid UTF-8 is replaced by U+FFFD first, as the references do. add_special
  // adds BOS/EOS if the file says so. Time is O(n log n) whatever the text is.
  //
  // `stop` is for the caller to end the work early, from any thread (the client left, the server
  // shuts down). Once it is requested, encode() returns within milliseconds and what it returns may
  // be unfinished: whoever passes a token looks at it afterwards and then throws the ids away. Left
  // out: never.
  std::vector<TokenId> encode(std::string_view text, bool add_special, SpecialText special,
                              const std::stop_token& stop = {}) const;
  // Ids of several spans as if they were one text. A pre-tokenizer split or a merge crosses the
  // border between spans exactly as it would inside one text. A control token is recognised only
  // where all its bytes lie in neighbouring kParse spans; a user-defined one may cross a border.
  std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add_special,
                              const std::stop_token& stop = {}) const;

  // Whether the file says how two texts are joined.
  bool joins_pairs() const;
  // Ids of two texts with the special tokens that the file puts around and between them. None where
  // joins_pairs() is false.
  EncodedPair encode_pair(std::string_view first, std::string_view second,
                          SpecialText special = SpecialText::kPlain,
                          const std::stop_token& stop = {}) const;

  // A lower bound on the ids that encode() gives: the bytes over those of the longest token,
  // without the bytes that this tokenizer may drop or shorten before it looks for tokens. 0 for
  // text that is not valid UTF-8. One pass, no memory: to refuse what can never fit.
  std::size_t min_tokens(std::span<const TextSpan> spans) const;
  // No token stands for more bytes of a text.
  std::size_t max_token_bytes() const;

  // Raw bytes of one token as it appears in a running text (byte-level decoding applied, leading
  // space kept; control tokens give an empty text unless `render_control`). Ids outside the
  // vocabulary give an empty text. May be part of a code point.
  std::string token_bytes(TokenId id, bool render_control) const;
  // Text of a whole sequence as the reference implementation's decode: control tokens skipped
  // unless asked for, SentencePiece's leading space removed; may contain invalid UTF-8. Spaces in
  // front of punctuation stay (no "clean-up"), so that decoding what encode() gave is the text
  // again.
  std::string decode(std::span<const TokenId> ids, bool render_control) const;

  // The token's text in the vocabulary file, undecoded ("\u0120hello" for " hello"), for `hearth
  // tokenize`.
  std::string_view piece(TokenId id) const;
  TokenKind kind(TokenId id) const;
  // Exact vocabulary entry (undecoded spelling); nullopt when there is none.
  std::optional<TokenId> find_piece(std::string_view piece) const;

  std::size_t vocab_size() const;
  const SpecialTokens& special() const;
  std::string_view description() const;  // "byte-level BPE (smollm)"

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace hearth
