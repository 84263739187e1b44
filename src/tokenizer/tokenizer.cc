#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/hf_tokenizer.h"
#include "tokenizer/tokenizer_parts.h"

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

  // End of the stretch that holds `position`, or `position` when none does.
  std::size_t parse_end(std::size_t position) const {
    const auto after = std::ranges::upper_bound(parse, position, {}, &Stretch::begin);
    if (after == parse.begin()) return position;
    return std::max(std::prev(after)->end, position);
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

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerParts given)
      : parts(std::move(given)),
        raw_matcher(std::move(parts.raw_tokens)),
        normalized_matcher(std::move(parts.normalized_tokens)) {
    decode_pieces();
  }

  TokenizerParts parts;
  SpecialMatcher raw_matcher;
  SpecialMatcher normalized_matcher;

  // What each token stands for in a running text, one after the other.
  std::string bytes;
  std::vector<std::size_t> byte_offsets;

  void decode_pieces() {
    const Vocabulary& vocabulary = *parts.vocabulary;
    RegexScratch scratch;
    byte_offsets.reserve(vocabulary.size() + 1);
    byte_offsets.push_back(0);
    for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
      const auto id = static_cast<TokenId>(idx);
      bytes += parts.decoder.bytes_of(vocabulary.piece(id), vocabulary.kind(id), scratch);
      byte_offsets.push_back(bytes.size());
    }
  }

  std::string_view bytes_of(TokenId id, bool render_control) const {
    if (!parts.vocabulary->contains(id)) return {};
    const TokenKind kind = parts.vocabulary->kind(id);
    if (!render_control && (kind == TokenKind::kControl || kind == TokenKind::kUnknown)) return {};
    const auto idx = static_cast<std::size_t>(id);
    return std::string_view(bytes).substr(byte_offsets[idx],
                                          byte_offsets[idx + 1] - byte_offsets[idx]);
  }

  std::size_t min_kept_bytes(std::string_view text, bool count_space) const;
};

namespace {

// One text on its way to ids.
class Encoding {
 public:
  Encoding(const TokenizerParts& parts, const JoinedText& joined, std::vector<TokenId>& ids,
           const std::stop_token& stop)
      : parts_(parts), joined_(joined), ids_(ids), stop_(stop), regex_scratch_(stop) {}

  void run(const SpecialMatcher& raw, const SpecialMatcher& normalized) {
    const std::string_view text = joined_.text;
    const auto parse_end = [this](std::size_t at) { return joined_.parse_end(at); };
    std::size_t done = 0;
    while (done < text.size() && !stop_.stop_requested()) {
      const auto match = raw.find(text, done, parse_end);
      const std::size_t end = match ? match->begin : text.size();
      if (end > done) encode_piece(done, end, normalized);
      if (!match) return;
      ids_.push_back(match->id);
      done = match->end;
    }
  }

 private:
  // The stretch [begin, end) of the raw text, between matches.
  void encode_piece(std::size_t begin, std::size_t end, const SpecialMatcher& matcher) {
    const std::string_view raw = std::string_view(joined_.text).substr(begin, end - begin);
    bool at_start = begin == 0;
    if (matcher.empty() && parts_.normalizer.is_identity()) {
      encode_words({.text = raw, .at_start = at_start});
      return;
    }
    const bool may_parse = matcher.has_control() && !joined_.parse.empty();
    const bool with_origins = may_parse || (at_start && parts_.pretokenizer.looks_at_start());
    const NormalizedText normalized = parts_.normalizer.apply(raw, regex_scratch_, with_origins);
    if (with_origins && normalized.origins.front() != 0) at_start = false;
    const std::string_view text = normalized.text;
    // A place in the normalized text is in a stretch that may be parsed if what it came from is.
    const auto parse_end = [&](std::size_t at) -> std::size_t {
      if (!may_parse) return at;
      const std::size_t raw_at = normalized.origins[at];
      const std::size_t raw_end = joined_.parse_end(begin + raw_at) - begin;
      if (raw_end <= raw_at) return at;
      const auto limit = std::ranges::lower_bound(normalized.origins, raw_end);
      return static_cast<std::size_t>(limit - normalized.origins.begin());
    };
    std::size_t done = 0;
    while (done < text.size() && !stop_.stop_requested()) {
      const auto match = matcher.empty() ? std::nullopt : matcher.find(text, done, parse_end);
      const std::size_t piece_end = match ? match->begin : text.size();
      if (piece_end > done) {
        encode_words(
            {.text = text.substr(done, piece_end - done), .at_start = at_start && done == 0});
      }
      if (!match) return;
      ids_.push_back(match->id);
      done = match->end;
    }
  }

  void encode_words(const PreTokenizer::Piece& piece) {
    parts_.pretokenizer.split(piece, regex_scratch_, [this](std::string_view word) {
      parts_.model->encode_word(word, word_scratch_, ids_, stop_);
      return !stop_.stop_requested();
    });
  }

  const TokenizerParts& parts_;
  const JoinedText& joined_;
  std::vector<TokenId>& ids_;
  const std::stop_token& stop_;
  RegexScratch regex_scratch_;
  WordScratch word_scratch_;
};

}  // namespace

// By the least that each part keeps of it.
std::size_t Tokenizer::Impl::min_kept_bytes(std::string_view text, bool count_space) const {
  const auto shrinking = parts.normalizer.max_shrinking(text);
  if (!shrinking || parts.pretokenizer.drops_text()) return 0;
  const WordModel& model = *parts.model;
  if (*shrinking != 1 && !model.keeps_all_bytes()) return 0;
  const bool space_counts =
      count_space && !parts.normalizer.drops_space() && !parts.pretokenizer.drops_space();
  const auto kept = std::ranges::count_if(text, [&](char byte) {
    return model.keeps_byte(static_cast<unsigned char>(byte)) &&
           (space_counts || !is_ascii_space(byte));
  });
  return static_cast<std::size_t>(kept) / *shrinking;
}

void set_plain_templates(TokenizerParts& parts) {
  using enum TemplateItem::What;
  const SpecialTokens& special = parts.special;
  const auto around = [&](TemplateItem::What text, std::vector<TemplateItem>& items) {
    const std::uint8_t type_id = text == kSecondText ? 1 : 0;
    if (special.add_bos) items.push_back({.what = kToken, .id = *special.bos, .type_id = type_id});
    items.push_back({.what = text, .type_id = type_id});
    if (special.add_eos) items.push_back({.what = kToken, .id = *special.eos, .type_id = type_id});
  };
  around(kFirstText, parts.single);
  around(kFirstText, parts.pair);
  around(kSecondText, parts.pair);
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const ModelFile& file) {
  if (const auto tokenizer_json = file.side_file("tokenizer.json")) {
    HfTokenizerFiles files;
    files.tokenizer_json = *tokenizer_json;
    files.tokenizer_config = file.side_file("tokenizer_config.json").value_or("");
    return make_hf_tokenizer(files);
  }
  HEARTH_ASSIGN_OR_RETURN(const TokenizerMetadata metadata, read_tokenizer_metadata(file));
  return create(metadata);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const TokenizerMetadata& metadata) {
  HEARTH_ASSIGN_OR_RETURN(TokenizerParts parts, make_gguf_parts(metadata));
  return assemble(std::move(parts));
}

std::unique_ptr<Tokenizer> Tokenizer::assemble(TokenizerParts parts) {
  HEARTH_CHECK(parts.vocabulary != nullptr && parts.model != nullptr);
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::make_unique<const Impl>(std::move(parts))));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special, SpecialText special,
                                       const std::stop_token& stop) const {
  const TextSpan span{.text = text, .special = special};
  return encode(std::span(&span, 1), add_special, stop);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextSpan> spans, bool add_special,
                                       const std::stop_token& stop) const {
  std::vector<TokenId> ids;
  const JoinedText joined = join(spans);
  for (const TemplateItem& item : impl_->parts.single) {
    if (item.what == TemplateItem::What::kFirstText) {
      Encoding(impl_->parts, joined, ids, stop).run(impl_->raw_matcher, impl_->normalized_matcher);
    } else if (add_special) {
      ids.push_back(item.id);
    }
  }
  return ids;
}

bool Tokenizer::joins_pairs() const {
  return !impl_->parts.pair.empty();
}

EncodedPair Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                   SpecialText special, const std::stop_token& stop) const {
  EncodedPair pair;
  for (const TemplateItem& item : impl_->parts.pair) {
    if (item.what == TemplateItem::What::kToken) {
      pair.ids.push_back(item.id);
    } else {
      const bool is_first = item.what == TemplateItem::What::kFirstText;
      const TextSpan span{.text = is_first ? first : second, .special = special};
      const JoinedText joined = join(std::span(&span, 1));
      Encoding(impl_->parts, joined, pair.ids, stop)
          .run(impl_->raw_matcher, impl_->normalized_matcher);
    }
    pair.type_ids.resize(pair.ids.size(), item.type_id);
  }
  return pair;
}

std::size_t Tokenizer::min_tokens(std::span<const TextSpan> spans) const {
  const bool count_space =
      !impl_->raw_matcher.eats_space() && !impl_->normalized_matcher.eats_space();
  std::size_t num_bytes = 0;
  for (const TextSpan& span : spans) {
    if (!utf8::is_valid(span.text)) return 0;
    num_bytes += impl_->min_kept_bytes(span.text, count_space);
  }
  const std::size_t longest = std::max<std::size_t>(max_token_bytes(), 1);
  return num_bytes / longest + (num_bytes % longest == 0 ? 0 : 1);
}

std::size_t Tokenizer::max_token_bytes() const {
  return impl_->parts.vocabulary->max_piece_bytes();
}

std::string Tokenizer::token_bytes(TokenId id, bool render_control) const {
  return std::string(impl_->bytes_of(id, render_control));
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool render_control) const {
  std::string text;
  for (const TokenId id : ids)
    text += impl_->bytes_of(id, render_control);
  std::size_t num_spaces = 0;
  while (num_spaces < impl_->parts.decoder.num_leading_spaces() && text.size() > num_spaces &&
         text[num_spaces] == ' ')
    ++num_spaces;
  text.erase(0, num_spaces);
  return text;
}

std::string_view Tokenizer::piece(TokenId id) const {
  return impl_->parts.vocabulary->contains(id) ? impl_->parts.vocabulary->piece(id)
                                               : std::string_view();
}

TokenKind Tokenizer::kind(TokenId id) const {
  return impl_->parts.vocabulary->contains(id) ? impl_->parts.vocabulary->kind(id)
                                               : TokenKind::kUnused;
}

std::optional<TokenId> Tokenizer::find_piece(std::string_view piece) const {
  return impl_->parts.vocabulary->find(piece);
}

std::size_t Tokenizer::vocab_size() const {
  return impl_->parts.vocabulary->size();
}
const SpecialTokens& Tokenizer::special() const {
  return impl_->parts.special;
}
std::string_view Tokenizer::description() const {
  return impl_->parts.description;
}

}  // namespace hearth
