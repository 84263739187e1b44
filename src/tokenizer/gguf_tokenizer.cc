#include "tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/log.h"
#include "tokenizer/bpe.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/spm.h"
#include "tokenizer/unigram.h"
#include "tokenizer/wordpiece.h"

namespace hearth {

namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";
// What 'tokenizer.ggml.pre' is in files of RoBERTa.
constexpr std::string_view kRobertaScheme = "roberta-bpe";

constexpr std::array<std::string_view, 11> kSpecialIdKeys = {
    "bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id",
    "padding_token_id", "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id",
    // The second is spelled so in the files.
    "cls_token_id", "seperator_token_id"};

std::string full_key(std::string_view key) {
  return fmt::format("{}{}", kPrefix, key);
}

// token_type as the GGUF specification numbers it.
std::optional<TokenKind> kind_from(std::int64_t token_type) {
  switch (token_type) {
    case 1:
      return TokenKind::kNormal;
    case 2:
      return TokenKind::kUnknown;
    case 3:
      return TokenKind::kControl;
    case 4:
      return TokenKind::kUserDefined;
    case 5:
      return TokenKind::kUnused;
    case 6:
      return TokenKind::kByte;
    default:
      return std::nullopt;
  }
}

Status read_scores(const ModelFile& file, std::vector<float>& scores) {
  const std::string key = full_key("scores");
  const MetadataValue* value = file.find(key);
  if (value == nullptr) return {};
  if (const auto* doubles = std::get_if<std::vector<double>>(value)) {
    scores.reserve(doubles->size());
    for (const double score : *doubles)
      scores.push_back(static_cast<float>(score));
  } else if (const auto* integers = std::get_if<std::vector<std::int64_t>>(value)) {
    scores.reserve(integers->size());
    for (const std::int64_t score : *integers)
      scores.push_back(static_cast<float>(score));
  } else {
    return make_status(StatusCode::kDataLoss, "'{}' is not an array of numbers", key);
  }
  for (std::size_t idx = 0; idx < scores.size(); ++idx) {
    if (std::isnan(scores[idx])) {
      return make_status(StatusCode::kDataLoss, "'{}' entry {} is not a number", key, idx);
    }
  }
  return {};
}

Status read_token_types(const ModelFile& file, std::span<const std::int64_t>& types) {
  const std::string key = full_key("token_type");
  const MetadataValue* value = file.find(key);
  if (value == nullptr) return {};
  const auto* integers = std::get_if<std::vector<std::int64_t>>(value);
  if (integers == nullptr) {
    return make_status(StatusCode::kDataLoss, "'{}' is not an array of integers", key);
  }
  types = *integers;
  return {};
}

Status read_charsmap(const ModelFile& file, std::string& charsmap) {
  const std::string key = full_key("precompiled_charsmap");
  const MetadataValue* value = file.find(key);
  if (value == nullptr) return {};
  const auto* integers = std::get_if<std::vector<std::int64_t>>(value);
  if (integers == nullptr) {
    return make_status(StatusCode::kDataLoss, "'{}' is not an array of integers", key);
  }
  charsmap.reserve(integers->size());
  for (const std::int64_t byte : *integers)
    charsmap.push_back(static_cast<char>(byte));
  return {};
}

Status read_flags(const ModelFile& file, TokenizerMetadata& metadata) {
  HEARTH_ASSIGN_OR_RETURN(metadata.add_bos, file.find_bool(full_key("add_bos_token")));
  HEARTH_ASSIGN_OR_RETURN(metadata.add_eos, file.find_bool(full_key("add_eos_token")));
  HEARTH_ASSIGN_OR_RETURN(metadata.add_sep, file.find_bool(full_key("add_sep_token")));
  HEARTH_ASSIGN_OR_RETURN(metadata.add_space_prefix, file.find_bool(full_key("add_space_prefix")));
  HEARTH_ASSIGN_OR_RETURN(metadata.remove_extra_whitespaces,
                          file.find_bool(full_key("remove_extra_whitespaces")));
  return {};
}

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

Result<VocabularyTables> tables_of(const TokenizerMetadata& metadata) {
  VocabularyTables tables{
      .name = "tokenizer.ggml.tokens", .tokens = metadata.tokens, .kinds = {}, .scores = {}};
  for (const std::size_t size : {metadata.token_types.size(), metadata.scores.size()}) {
    if (size == 0 || size == metadata.tokens.size()) continue;
    const bool of_types = size == metadata.token_types.size();
    return error(StatusCode::kDataLoss, "'{}' has {} entries for {} tokens",
                 full_key(of_types ? "token_type" : "scores"), size, metadata.tokens.size());
  }
  tables.kinds.reserve(metadata.token_types.size());
  for (std::size_t idx = 0; idx < metadata.token_types.size(); ++idx) {
    const auto kind = kind_from(metadata.token_types[idx]);
    if (!kind) {
      return error(StatusCode::kDataLoss, "'{}' of token {} is {}; known are 1 to 6",
                   full_key("token_type"), idx, metadata.token_types[idx]);
    }
    tables.kinds.push_back(*kind);
  }
  tables.scores.assign(metadata.scores.begin(), metadata.scores.end());
  return tables;
}

Result<SpecialTokens> find_special_tokens(const TokenizerMetadata& metadata,
                                          Vocabulary& vocabulary) {
  for (const TokenizerMetadata::NamedId& named : metadata.ids) {
    if (named.id >= vocabulary.size()) {
      return error(StatusCode::kDataLoss, "'tokenizer.ggml.{}' is {}; there are {} tokens",
                   named.key, named.id, vocabulary.size());
    }
  }
  SpecialTokens special;
  special.bos = metadata.id_of("bos_token_id");
  special.eos = metadata.id_of("eos_token_id");
  special.eot = metadata.id_of("eot_token_id");
  special.unknown = metadata.id_of("unknown_token_id");
  special.padding = metadata.id_of("padding_token_id");
  for (const std::string_view key : {"eos_token_id", "eot_token_id", "eom_token_id",
                                     "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id"}) {
    add_once(special.end_of_generation, metadata.id_of(key));
  }
  add_well_known_ends(vocabulary, special, /*mark_normal=*/true);
  return special;
}

// What the families differ in.
struct Family {
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pretokenizer;
  std::vector<TokenDecoderStep> decoder;
  std::size_t num_leading_spaces = 0;
};

// What SentencePiece does before it looks for pieces.
Status add_sentencepiece_steps(const TokenizerMetadata& metadata, Family& family) {
  if (!metadata.charsmap.empty()) {
    auto map = CharsMap::parse(metadata.charsmap);
    if (!map) return map.error().with_context("'tokenizer.ggml.precompiled_charsmap'");
    family.normalizer.emplace_back(
        CharsMapStep{.map = std::make_shared<const CharsMap>(*std::move(map))});
  }
  if (metadata.remove_extra_whitespaces.value_or(false)) {
    family.normalizer.emplace_back(CollapseSpacesStep{});
  }
  const bool add_space_prefix = metadata.add_space_prefix.value_or(true);
  if (add_space_prefix) {
    family.normalizer.emplace_back(PrependStep{.text = std::string(kSpaceSymbol)});
  }
  family.normalizer.emplace_back(
      ReplaceStep{.pattern = escape_regex(" "), .content = std::string(kSpaceSymbol)});
  family.decoder = {NumberedBytes{}, SubstituteStep{.from = std::string(kSpaceSymbol), .to = " "}};
  family.num_leading_spaces = add_space_prefix ? 1 : 0;
  return {};
}

// Files from before these keys existed rely on SentencePiece's own names.
void find_sentencepiece_roles(const Vocabulary& vocabulary, SpecialTokens& special) {
  if (!special.bos) special.bos = vocabulary.find("<s>");
  if (!special.eos) special.eos = vocabulary.find("</s>");
  if (!special.unknown) special.unknown = vocabulary.find("<unk>");
}

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

Status make_bpe(const TokenizerMetadata& metadata, TokenizerParts& parts, Family& family) {
  std::string_view pre = metadata.pre;
  if (pre.empty()) {
    pre = "default";
    log::warning(
        "'tokenizer.ggml.pre' is missing; texts are split by the scheme '{}', which may "
        "not be the model's",
        pre);
  }
  const PreTokenizerScheme* scheme = find_pretokenizer_scheme(pre);
  if (scheme == nullptr) {
    return make_status(StatusCode::kUnimplemented,
                       "'tokenizer.ggml.pre' is \"{}\"; supported are {}", pre, known_schemes());
  }
  HEARTH_ASSIGN_OR_RETURN(MergeRules rules,
                          MergeRules::create(*parts.vocabulary, metadata.merges.size(),
                                             "tokenizer.ggml.merges", RepeatedPair::kFirstStays));
  for (const std::string_view merge : metadata.merges) {
    HEARTH_RETURN_IF_ERROR(rules.add(merge));
  }
  parts.model =
      make_bpe_model(*parts.vocabulary, std::move(rules), {.ignore_merges = scheme->ignore_merges});
  if (scheme->nfc) family.normalizer.emplace_back(FormStep{.form = UnicodeForm::kC});
  family.pretokenizer = scheme->steps();
  family.decoder = {SpelledBytes{}};
  parts.special.add_bos = metadata.add_bos.value_or(scheme->add_bos);
  parts.special.add_eos = metadata.add_eos.value_or(false);
  parts.description = fmt::format("byte-level BPE ({})", pre);
  return {};
}

Status make_spm(const TokenizerMetadata& metadata, TokenizerParts& parts, Family& family) {
  find_sentencepiece_roles(*parts.vocabulary, parts.special);
  HEARTH_ASSIGN_OR_RETURN(parts.model, make_spm_model(*parts.vocabulary, parts.special.unknown));
  HEARTH_RETURN_IF_ERROR(add_sentencepiece_steps(metadata, family));
  parts.special.add_bos = metadata.add_bos.value_or(true);
  parts.special.add_eos = metadata.add_eos.value_or(false);
  parts.description = "SentencePiece BPE";
  return {};
}

Status make_unigram(const TokenizerMetadata& metadata, TokenizerParts& parts, Family& family) {
  find_sentencepiece_roles(*parts.vocabulary, parts.special);
  if (!parts.special.unknown) {
    return make_status(StatusCode::kDataLoss, "'{}' is missing, and there is no token \"<unk>\"",
                       full_key("unknown_token_id"));
  }
  HEARTH_ASSIGN_OR_RETURN(parts.model,
                          make_unigram_model(*parts.vocabulary, {.unknown = *parts.special.unknown,
                                                                 .byte_fallback = true,
                                                                 .add_in_float = true,
                                                                 .prefer_user_defined = true}));
  HEARTH_RETURN_IF_ERROR(add_sentencepiece_steps(metadata, family));
  parts.special.add_bos = metadata.add_bos.value_or(false);
  parts.special.add_eos = metadata.add_eos.value_or(true);
  parts.description = "SentencePiece unigram";
  return {};
}

// A vocabulary made of lower-case text has no capital letters in it.
bool is_uncased(const Vocabulary& vocabulary) {
  for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
    const auto id = static_cast<TokenId>(idx);
    if (vocabulary.kind(id) != TokenKind::kNormal) continue;
    const std::string_view piece = vocabulary.piece(id);
    if (piece.starts_with('[')) continue;  // "[unused1]", "[MASK]" where they are not marked.
    const bool has_capital =
        std::ranges::any_of(piece, [](char c) { return c >= 'A' && c <= 'Z'; });
    if (has_capital) return false;
  }
  return true;
}

Status make_wordpiece(const TokenizerMetadata& metadata, TokenizerParts& parts, Family& family) {
  const Vocabulary& vocabulary = *parts.vocabulary;
  SpecialTokens& special = parts.special;
  if (const auto cls = metadata.id_of("cls_token_id")) special.bos = cls;
  if (const auto separator = metadata.id_of("seperator_token_id")) special.eos = separator;
  if (!special.bos) special.bos = vocabulary.find("[CLS]");
  if (!special.eos) special.eos = vocabulary.find("[SEP]");
  if (!special.unknown) special.unknown = vocabulary.find("[UNK]");
  if (!special.unknown) {
    return make_status(StatusCode::kDataLoss, "'{}' is missing, and there is no token \"[UNK]\"",
                       full_key("unknown_token_id"));
  }
  parts.model = make_wordpiece_model(vocabulary, {.first_prefix = std::string(kSpaceSymbol),
                                                  .continuing_prefix = "",
                                                  .unknown = *special.unknown});
  family.normalizer = bert_normalizer({.lowercase = is_uncased(vocabulary)});
  family.pretokenizer = bert_pretokenizer();
  family.decoder = {SubstituteStep{.from = std::string(kSpaceSymbol), .to = " "}};
  family.num_leading_spaces = 1;
  special.add_bos = metadata.add_bos.value_or(special.bos.has_value());
  special.add_eos = metadata.add_eos.value_or(special.eos.has_value());
  parts.description = "WordPiece";
  return {};
}

using MakeFamily = Status (*)(const TokenizerMetadata&, TokenizerParts&, Family&);

MakeFamily find_family(std::string_view model) {
  if (model == "gpt2") return make_bpe;
  if (model == "llama") return make_spm;
  if (model == "t5") return make_unigram;
  if (model == "bert") return make_wordpiece;
  return nullptr;
}

Status check_roles(const TokenizerMetadata& metadata, SpecialTokens& special) {
  if (special.add_bos && !special.bos) {
    if (metadata.add_bos) {
      return make_status(StatusCode::kDataLoss,
                         "'tokenizer.ggml.add_bos_token' is true but there is no BOS token");
    }
    special.add_bos = false;
  }
  if (special.add_eos && !special.eos) {
    if (metadata.add_eos) {
      return make_status(StatusCode::kDataLoss,
                         "'tokenizer.ggml.add_eos_token' is true but there is no EOS token");
    }
    special.add_eos = false;
  }
  add_once(special.end_of_generation, special.eos);
  return {};
}

std::vector<SpecialToken> tokens_to_match(const TokenizerMetadata& metadata,
                                          const TokenizerParts& parts) {
  std::vector<SpecialToken> tokens;
  const Vocabulary& vocabulary = *parts.vocabulary;
  const bool phi3 = is_phi3(metadata.model_name);
  const bool of_bytes = metadata.model == "gpt2";
  for (std::size_t idx = 0; idx < vocabulary.size(); ++idx) {
    const auto id = static_cast<TokenId>(idx);
    const TokenKind kind = vocabulary.kind(id);
    if (!is_special(kind) && kind != TokenKind::kUnknown) continue;
    const std::string_view piece = vocabulary.piece(id);
    if (piece.empty()) continue;
    const std::string text =
        of_bytes ? std::string(piece)
                 : substitute(piece, {.from = std::string(kSpaceSymbol), .to = " "});
    tokens.push_back({.text = text,
                      .id = id,
                      .is_control = kind != TokenKind::kUserDefined,
                      .eats_space_after = phi3 && !keeps_space_after_in_phi3(piece)});
  }
  return tokens;
}

// [CLS] first [SEP] second [SEP], or with another separator for the models that read so.
void set_pair_of_encoder(TokenizerParts& parts, bool twice) {
  using enum TemplateItem::What;
  const SpecialTokens& special = parts.special;
  parts.pair.clear();
  if (special.add_bos) parts.pair.push_back({.what = kToken, .id = *special.bos});
  parts.pair.push_back({.what = kFirstText});
  if (special.add_eos) parts.pair.push_back({.what = kToken, .id = *special.eos});
  if (special.add_eos && twice) parts.pair.push_back({.what = kToken, .id = *special.eos});
  const std::uint8_t second = twice ? 0 : 1;
  parts.pair.push_back({.what = kSecondText, .type_id = second});
  if (special.add_eos) {
    parts.pair.push_back({.what = kToken, .id = *special.eos, .type_id = second});
  }
}

// Byte-level BPE is the tokenizer of encoders of two kinds. RoBERTa reads two separators between
// texts, and some of its kin, which share the architecture, read one: files from before the key
// was invented tell by the scheme at best. Decoders read no pairs.
void set_pair_of_byte_level(const TokenizerMetadata& metadata, TokenizerParts& parts) {
  if (metadata.architecture == "modern-bert") return set_pair_of_encoder(parts, /*twice=*/false);
  if (metadata.architecture != "bert" && metadata.architecture != "nomic-bert") return;
  const bool is_roberta = metadata.pre == kRobertaScheme;
  if (!metadata.add_sep && !is_roberta) return parts.pair.clear();
  set_pair_of_encoder(parts, /*twice=*/metadata.add_sep.value_or(true));
}

}  // namespace

std::optional<TokenId> TokenizerMetadata::id_of(std::string_view key) const {
  for (const NamedId& named : ids) {
    if (named.key == key) return static_cast<TokenId>(named.id);
  }
  return std::nullopt;
}

Result<TokenizerMetadata> read_tokenizer_metadata(const ModelFile& file) {
  TokenizerMetadata metadata;
  HEARTH_ASSIGN_OR_RETURN(const auto model, file.find_text(full_key("model")));
  if (!model) {
    return error(StatusCode::kNotFound,
                 "the model has no tokenizer (neither a file tokenizer.json nor the key '{}')",
                 full_key("model"));
  }
  metadata.model = *model;
  HEARTH_ASSIGN_OR_RETURN(const auto pre, file.find_text(full_key("pre")));
  metadata.pre = pre.value_or("");
  HEARTH_ASSIGN_OR_RETURN(const auto name, file.find_text("general.name"));
  metadata.model_name = name.value_or("");
  HEARTH_ASSIGN_OR_RETURN(const auto architecture, file.find_text("general.architecture"));
  metadata.architecture = architecture.value_or("");

  HEARTH_ASSIGN_OR_RETURN(const auto* tokens, file.find_texts(full_key("tokens")));
  if (tokens == nullptr) {
    return error(StatusCode::kDataLoss, "'{}' is missing", full_key("tokens"));
  }
  metadata.tokens = *tokens;
  HEARTH_ASSIGN_OR_RETURN(const auto* merges, file.find_texts(full_key("merges")));
  if (merges != nullptr) metadata.merges = *merges;
  HEARTH_RETURN_IF_ERROR(read_scores(file, metadata.scores));
  HEARTH_RETURN_IF_ERROR(read_token_types(file, metadata.token_types));
  HEARTH_RETURN_IF_ERROR(read_charsmap(file, metadata.charsmap));

  for (const std::string_view key : kSpecialIdKeys) {
    HEARTH_ASSIGN_OR_RETURN(const auto id, file.find_uint32(full_key(key)));
    if (id) metadata.ids.push_back({.key = key, .id = *id});
  }
  HEARTH_RETURN_IF_ERROR(read_flags(file, metadata));
  return metadata;
}

Result<TokenizerParts> make_gguf_parts(const TokenizerMetadata& metadata) {
  const MakeFamily make_family = find_family(metadata.model);
  if (make_family == nullptr) {
    return error(StatusCode::kUnimplemented,
                 "'tokenizer.ggml.model' is \"{}\"; supported are gpt2 (byte-level BPE), llama "
                 "(SentencePiece BPE), t5 (SentencePiece unigram) and bert (WordPiece)",
                 metadata.model);
  }
  HEARTH_ASSIGN_OR_RETURN(VocabularyTables tables, tables_of(metadata));
  HEARTH_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::create(std::move(tables)));
  TokenizerParts parts;
  HEARTH_ASSIGN_OR_RETURN(parts.special, find_special_tokens(metadata, vocabulary));
  parts.vocabulary = std::make_unique<const Vocabulary>(std::move(vocabulary));
  Family family;
  HEARTH_RETURN_IF_ERROR(make_family(metadata, parts, family));
  HEARTH_RETURN_IF_ERROR(check_roles(metadata, parts.special));
  HEARTH_ASSIGN_OR_RETURN(parts.normalizer, Normalizer::create(std::move(family.normalizer)));
  HEARTH_ASSIGN_OR_RETURN(parts.pretokenizer, PreTokenizer::create(family.pretokenizer));
  HEARTH_ASSIGN_OR_RETURN(
      parts.decoder, TokenDecoder::create(std::move(family.decoder), family.num_leading_spaces));
  parts.raw_tokens = tokens_to_match(metadata, parts);
  set_plain_templates(parts);
  if (metadata.model == "gpt2") set_pair_of_byte_level(metadata, parts);
  if (metadata.model == "bert") set_pair_of_encoder(parts, /*twice=*/false);
  if (metadata.model == "t5") set_pair_of_encoder(parts, /*twice=*/parts.special.add_bos);
  return parts;
}

}  // namespace hearth
