#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/special_matcher.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/spm.h"
#include "tokenizer/text_model.h"
#include "tokenizer/vocabulary.h"

namespace hearth {

namespace {

// One text made of spans, valid UTF-8, with the stretches where control tokens may appear.
struct JoinedText {
  struct Stretch {
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  std::string text;
  std::vector<Stretch> parse;  // In order, with gaps between them.

  // End of the stretch that holds `position`, or `position` when none does. Positions must not
  // decrease from call to call; `cursor` remembers the place.
  std::size_t parse_end(std::size_t position, std::size_t& cursor) const {
    while (cursor < parse.size() && parse[cursor].end <= position)
      ++cursor;
    if (cursor == parse.size() || parse[cursor].begin > position) return position;
    return parse[cursor].end;
  }
};

// Replaces malformed bytes by U+FFFD and moves the stretches along. A border inside a code point
// moves to its end.
void sanitize(JoinedText& joined) {
  std::string clean;
  std::vector<std::size_t*> borders;  // Not decreasing.
  for (JoinedText::Stretch& stretch : joined.parse) {
    borders.push_back(&stretch.begin);
    borders.push_back(&stretch.end);
  }
  auto border = borders.begin();
  std::size_t at = 0;
  const std::string_view text = joined.text;
  while (at < text.size()) {
    for (; border != borders.end() && **border <= at; ++border)
      **border = clean.size();
    const utf8::Decoded decoded = utf8::decode(text.substr(at));
    utf8::append(clean, decoded.code_point);
    at += decoded.length;
  }
  for (; border != borders.end(); ++border)
    **border = clean.size();
  joined.text = std::move(clean);
}

JoinedText join(std::span<const TextSpan> spans) {
  JoinedText joined;
  std::size_t size = 0;
  for (const TextSpan& span : spans)
    size += span.text.size();
  joined.text.reserve(size);
  for (const TextSpan& span : spans) {
    const std::size_t begin = joined.text.size();
    joined.text += span.text;
    if (span.special != SpecialText::kParse || span.text.empty()) continue;
    if (!joined.parse.empty() && joined.parse.back().end == begin) {
      joined.parse.back().end = joined.text.size();
    } else {
      joined.parse.push_back({.begin = begin, .end = joined.text.size()});
    }
  }
  if (!utf8::is_valid(joined.text)) sanitize(joined);
  return joined;
}

Result<std::unique_ptr<TextModel>> make_bpe(const TokenizerMetadata& metadata,
                                            const Vocabulary& vocabulary, SpecialTokens& special) {
  std::string_view pre = metadata.pre;
  if (pre.empty()) {
    pre = "default";
    log::warning(
        "'tokenizer.ggml.pre' is missing; texts are split by the scheme '{}', which may "
        "not be the model's",
        pre);
  }
  HEARTH_ASSIGN_OR_RETURN(auto model,
                          make_bpe_model(vocabulary, {.pre = pre, .merges = metadata.merges}));
  special.add_bos = metadata.add_bos.value_or(find_pretokenizer_scheme(pre)->add_bos);
  special.add_eos = metadata.add_eos.value_or(false);
  return model;
}

Result<std::unique_ptr<TextModel>> make_spm(const TokenizerMetadata& metadata,
                                            const Vocabulary& vocabulary, SpecialTokens& special) {
  if (metadata.has_charsmap) {
    return error(StatusCode::kUnimplemented,
                 "'tokenizer.ggml.precompiled_charsmap' with 'tokenizer.ggml.model' \"{}\": "
                 "normalization tables are not supported",
                 metadata.model);
  }
  // Files from before these keys existed rely on SentencePiece's own names.
  if (!special.bos) special.bos = vocabulary.find("<s>");
  if (!special.eos) special.eos = vocabulary.find("</s>");
  if (!special.unknown) special.unknown = vocabulary.find("<unk>");
  HEARTH_ASSIGN_OR_RETURN(
      auto model,
      make_spm_model(vocabulary,
                     {.add_space_prefix = metadata.add_space_prefix.value_or(true),
                      .remove_extra_whitespaces = metadata.remove_extra_whitespaces.value_or(false),
                      .unknown = special.unknown}));
  special.add_bos = metadata.add_bos.value_or(true);
  special.add_eos = metadata.add_eos.value_or(false);
  return model;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(Vocabulary table) : vocabulary(std::move(table)) {}

  Vocabulary vocabulary;
  SpecialTokens special;
  std::unique_ptr<TextModel> model;  // Refers to `vocabulary`.
  SpecialMatcher matcher{{}};
  std::string description;

  // What each token stands for in a running text, one after the other; empty for control tokens.
  std::string bytes;
  std::vector<std::size_t> byte_offsets;

  void decode_pieces() {
    byte_offsets.push_back(0);
    for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
      const auto id = static_cast<TokenId>(idx);
      const TokenKind kind = vocabulary.kind(id);
      if (kind != TokenKind::kControl && kind != TokenKind::kUnknown) {
        bytes += model->piece_bytes(vocabulary.piece(id), kind);
      }
      byte_offsets.push_back(bytes.size());
    }
  }

  std::string_view bytes_of(TokenId id, bool render_control) const {
    if (!vocabulary.contains(id)) return {};
    const TokenKind kind = vocabulary.kind(id);
    if (kind == TokenKind::kControl || kind == TokenKind::kUnknown) {
      return render_control ? vocabulary.piece(id) : std::string_view();
    }
    const auto idx = static_cast<std::size_t>(id);
    return std::string_view(bytes).substr(byte_offsets[idx],
                                          byte_offsets[idx + 1] - byte_offsets[idx]);
  }

  void encode(const JoinedText& joined, std::vector<TokenId>& ids,
              const std::stop_token& stop) const {
    const std::string_view text = joined.text;
    std::size_t cursor = 0;
    const auto parse_end = [&](std::size_t at) { return joined.parse_end(at, cursor); };
    std::size_t done = 0;
    while (done < text.size() && !stop.stop_requested()) {
      const auto match = matcher.find(text, done, parse_end);
      const std::size_t end = match ? match->begin : text.size();
      if (end > done) model->encode(text.substr(done, end - done), ids, stop);
      if (!match) return;
      ids.push_back(match->token->id);
      done = end + match->token->text.size();
      if (!match->token->eats_space_after) continue;
      while (done < text.size() && is_ascii_space(text[done]))
        ++done;
    }
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const TokenizerMetadata metadata, read_tokenizer_metadata(file));
  return create(metadata);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const TokenizerMetadata& metadata) {
  if (metadata.model != "gpt2" && metadata.model != "llama") {
    return error(StatusCode::kUnimplemented,
                 "'tokenizer.ggml.model' is \"{}\"; supported are gpt2 (byte-level BPE) and llama "
                 "(SentencePiece BPE)",
                 metadata.model);
  }
  HEARTH_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::create(metadata));
  HEARTH_ASSIGN_OR_RETURN(SpecialTokens special, find_special_tokens(metadata, vocabulary));
  auto impl = std::make_unique<Impl>(std::move(vocabulary));
  HEARTH_ASSIGN_OR_RETURN(impl->model, metadata.model == "gpt2"
                                           ? make_bpe(metadata, impl->vocabulary, special)
                                           : make_spm(metadata, impl->vocabulary, special));
  if (special.add_bos && !special.bos) {
    if (metadata.add_bos) {
      return error(StatusCode::kDataLoss,
                   "'tokenizer.ggml.add_bos_token' is true but there is no BOS token");
    }
    special.add_bos = false;
  }
  if (special.add_eos && !special.eos) {
    return error(StatusCode::kDataLoss,
                 "'tokenizer.ggml.add_eos_token' is true but there is no EOS token");
  }
  if (special.eos && std::ranges::find(special.end_of_generation, *special.eos) ==
                         special.end_of_generation.end()) {
    special.end_of_generation.push_back(*special.eos);
  }
  impl->special = std::move(special);
  impl->matcher = SpecialMatcher(tokens_to_match(metadata, impl->vocabulary, *impl->model));
  impl->description = impl->model->description();
  impl->decode_pieces();
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special, SpecialText special,
                                       const std::stop_token& stop) const {
  const TextSpan span{.text = text, .special = special};
  return encode(std::span(&span, 1), add_special, stop);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextSpan> spans, bool add_special,
                                       const std::stop_token& stop) const {
  const SpecialTokens& roles = impl_->special;
  std::vector<TokenId> ids;
  if (add_special && roles.add_bos) ids.push_back(*roles.bos);
  impl_->encode(join(spans), ids, stop);
  if (add_special && roles.add_eos) ids.push_back(*roles.eos);
  return ids;
}

std::size_t Tokenizer::min_tokens(std::span<const TextSpan> spans) const {
  const bool count_space = !impl_->matcher.eats_space();
  std::size_t num_bytes = 0;
  for (const TextSpan& span : spans) {
    if (!utf8::is_valid(span.text)) return 0;
    num_bytes += impl_->model->min_kept_bytes(span.text, count_space);
  }
  const std::size_t longest = std::max<std::size_t>(max_token_bytes(), 1);
  return num_bytes / longest + (num_bytes % longest == 0 ? 0 : 1);
}

std::size_t Tokenizer::max_token_bytes() const {
  return impl_->vocabulary.max_piece_bytes();
}

std::string Tokenizer::token_bytes(TokenId id, bool render_control) const {
  return std::string(impl_->bytes_of(id, render_control));
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool render_control) const {
  std::string text;
  for (const TokenId id : ids)
    text += impl_->bytes_of(id, render_control);
  if (impl_->model->adds_space_prefix() && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string_view Tokenizer::piece(TokenId id) const {
  return impl_->vocabulary.contains(id) ? impl_->vocabulary.piece(id) : std::string_view();
}

TokenKind Tokenizer::kind(TokenId id) const {
  return impl_->vocabulary.contains(id) ? impl_->vocabulary.kind(id) : TokenKind::kUnused;
}

std::optional<TokenId> Tokenizer::find_piece(std::string_view piece) const {
  return impl_->vocabulary.find(piece);
}

std::size_t Tokenizer::vocab_size() const {
  return impl_->vocabulary.size();
}
const SpecialTokens& Tokenizer::special() const {
  return impl_->special;
}
std::string_view Tokenizer::description() const {
  return impl_->description;
}

}  // namespace hearth
