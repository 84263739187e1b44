#include "tokenizer/hf_tokenizer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_pieces.h"
#include "tokenizer/hf_fields.h"
#include "tokenizer/hf_json.h"
#include "tokenizer/hf_sections.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/unigram.h"
#include "tokenizer/wordpiece.h"

namespace hearth {

namespace {

constexpr std::uint64_t kMaxConfigBytes = 16u << 20;

enum class ModelType { kBpe, kUnigram, kWordPiece };

const json::Value& member_or_null(const json::Object& object, std::string_view key) {
  static const json::Value null;
  const json::Value* value = object.find(key);
  return value == nullptr ? null : *value;
}

// Early files do not name the type; their members do.
Result<ModelType> type_of(const HfDocument& document) {
  const json::Value& type = member_or_null(document.model(), "type");
  if (type.is_null()) {
    if (document.has_merges()) return ModelType::kBpe;
    if (!document.scores().empty()) return ModelType::kUnigram;
    if (document.model().find("max_input_chars_per_word") != nullptr) return ModelType::kWordPiece;
    return error(StatusCode::kDataLoss, "'model.type' is missing");
  }
  const std::string* name = type.as_string();
  if (name != nullptr && *name == "BPE") return ModelType::kBpe;
  if (name != nullptr && *name == "Unigram") return ModelType::kUnigram;
  if (name != nullptr && *name == "WordPiece") return ModelType::kWordPiece;
  return error(StatusCode::kUnimplemented,
               "'model.type' is {}; supported are BPE, Unigram, WordPiece", json::dump(type));
}

// Puts one file's parts together.
class Assembler {
 public:
  explicit Assembler(const HfDocument& document) : document_(document) {}

  Result<TokenizerParts> run() {
    HEARTH_RETURN_IF_ERROR(read_sections());
    HEARTH_RETURN_IF_ERROR(make_vocabulary());
    HEARTH_RETURN_IF_ERROR(make_model());
    HEARTH_ASSIGN_OR_RETURN(parts_.pretokenizer, PreTokenizer::create(pretokenizer_steps_));
    add_matched_tokens();
    HEARTH_RETURN_IF_ERROR(set_templates());
    return std::move(parts_);
  }

 private:
  Status read_sections() {
    const json::Object& sections = document_.sections();
    HEARTH_ASSIGN_OR_RETURN(type_, type_of(document_));
    HEARTH_ASSIGN_OR_RETURN(auto steps, read_hf_normalizer(member_or_null(sections, "normalizer")));
    auto normalizer = Normalizer::create(std::move(steps));
    if (!normalizer) return normalizer.error().with_context("'normalizer'");
    parts_.normalizer = *std::move(normalizer);
    HEARTH_ASSIGN_OR_RETURN(pretokenizer_steps_,
                            read_hf_pretokenizer(member_or_null(sections, "pre_tokenizer")));
    HEARTH_ASSIGN_OR_RETURN(HfDecoder decoder,
                            read_hf_decoder(member_or_null(sections, "decoder")));
    HEARTH_ASSIGN_OR_RETURN(
        parts_.decoder, TokenDecoder::create(std::move(decoder.steps), decoder.num_leading_spaces));
    HEARTH_ASSIGN_OR_RETURN(templates_,
                            read_hf_post_processor(member_or_null(sections, "post_processor")));
    HEARTH_ASSIGN_OR_RETURN(added_, read_hf_added_tokens(member_or_null(sections, "added_tokens")));
    return {};
  }

  // A text with one id in the model and another among the added tokens.
  Status check_added_ids() const {
    std::map<std::string_view, TokenId> added;
    for (const HfAddedToken& token : added_) {
      if (token.content.empty() || added.try_emplace(token.content, token.id).second) continue;
      return make_status(StatusCode::kDataLoss, "'added_tokens' has \"{}\" twice", token.content);
    }
    for (std::size_t idx = 0; idx < document_.tokens().size() && !added.empty(); ++idx) {
      const auto found = added.find(document_.tokens()[idx]);
      if (found == added.end() || static_cast<std::size_t>(found->second) == idx) continue;
      return make_status(StatusCode::kDataLoss,
                         "'added_tokens' gives \"{}\" the id {}; it is {} in 'model.vocab'",
                         found->first, found->second, idx);
    }
    return {};
  }

  Status make_vocabulary() {
    HEARTH_RETURN_IF_ERROR(check_added_ids());
    std::vector<std::string_view> tokens = document_.tokens();
    for (const HfAddedToken& token : added_) {
      const auto idx = static_cast<std::size_t>(token.id);
      if (idx >= tokens.size()) tokens.resize(idx + 1);
      if (!tokens[idx].empty() && tokens[idx] != token.content) {
        return make_status(
            StatusCode::kDataLoss,
            "'added_tokens' gives \"{}\" the id {}, which is \"{}\" in 'model.vocab'",
            token.content, token.id, tokens[idx]);
      }
      tokens[idx] = token.content;
    }
    VocabularyTables tables{
        .name = "model.vocab", .tokens = tokens, .kinds = {}, .scores = document_.scores()};
    if (!tables.scores.empty()) tables.scores.resize(tokens.size());
    HEARTH_ASSIGN_OR_RETURN(const bool byte_fallback, flag("byte_fallback"));
    tables.kinds.assign(tokens.size(), TokenKind::kNormal);
    for (std::size_t idx = 0; idx < tokens.size(); ++idx) {
      if (tokens[idx].empty()) tables.kinds[idx] = TokenKind::kUnused;
      if (byte_fallback && parse_byte_piece(tokens[idx])) tables.kinds[idx] = TokenKind::kByte;
    }
    for (const HfAddedToken& token : added_) {
      tables.kinds[static_cast<std::size_t>(token.id)] =
          token.special ? TokenKind::kControl : TokenKind::kUserDefined;
    }
    HEARTH_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::create(std::move(tables)));
    add_well_known_ends(vocabulary, parts_.special, /*mark_normal=*/false);
    parts_.vocabulary = std::make_unique<const Vocabulary>(std::move(vocabulary));
    return {};
  }

  Result<bool> flag(std::string_view key) const {
    return HfFields(document_.model(), "model").boolean(key, false);
  }

  // The id of a token that the model names by its text; nullopt when it names none.
  Result<std::optional<TokenId>> unknown_by_text() const {
    const HfFields model(document_.model(), "model");
    if (model.find("unk_token") == nullptr) return std::nullopt;
    HEARTH_ASSIGN_OR_RETURN(const std::string text, model.text("unk_token"));
    const auto id = parts_.vocabulary->find(text);
    if (!id) {
      return error(StatusCode::kDataLoss, "'model.unk_token' is \"{}\", which is no token", text);
    }
    return id;
  }

  Status make_model() {
    switch (type_) {
      case ModelType::kBpe:
        return make_bpe();
      case ModelType::kUnigram:
        return make_unigram();
      case ModelType::kWordPiece:
        return make_wordpiece();
    }
    return {};
  }

  // Members of a BPE model that would change its ids.
  Status refuse_bpe_extras() const {
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json::Value& value = member_or_null(document_.model(), key);
      const std::string* text = value.as_string();
      if (value.is_null() || (text != nullptr && text->empty())) continue;
      return make_status(StatusCode::kUnimplemented, "'model.{}' is {}; supported is none", key,
                         json::dump(value));
    }
    const json::Value& dropout = member_or_null(document_.model(), "dropout");
    double rate = 0.0;
    if (!dropout.is_null() && (!dropout.to_double(rate) || rate != 0.0)) {
      return make_status(StatusCode::kUnimplemented, "'model.dropout' is {}; supported is none",
                         json::dump(dropout));
    }
    return {};
  }

  // Whether words reach the model as bytes; if so the spelling of bytes happens inside it, and what
  // steps behind ByteLevel cut is turned back.
  bool take_byte_spelling() {
    const auto is_spelling = [](const PreTokenizerStep& step) {
      return std::holds_alternative<SpellBytesStep>(step);
    };
    const auto spelling = std::ranges::find_if(pretokenizer_steps_, is_spelling);
    if (spelling == pretokenizer_steps_.end()) return false;
    if (std::next(spelling) == pretokenizer_steps_.end()) {
      pretokenizer_steps_.pop_back();
    } else {
      pretokenizer_steps_.emplace_back(UnspellBytesStep{});
    }
    return true;
  }

  Status make_bpe() {
    HEARTH_RETURN_IF_ERROR(refuse_bpe_extras());
    HEARTH_ASSIGN_OR_RETURN(MergeRules rules,
                            MergeRules::create(*parts_.vocabulary, document_.merges().size(),
                                               "model.merges", RepeatedPair::kLastStays));
    for (const HfMerge& merge : document_.merges()) {
      HEARTH_RETURN_IF_ERROR(merge.right.empty() ? rules.add(merge.left)
                                                 : rules.add(merge.left, merge.right));
    }
    BpeOptions options;
    HEARTH_ASSIGN_OR_RETURN(options.ignore_merges, flag("ignore_merges"));
    HEARTH_ASSIGN_OR_RETURN(options.byte_fallback, flag("byte_fallback"));
    HEARTH_ASSIGN_OR_RETURN(options.fuse_unknown, flag("fuse_unk"));
    HEARTH_ASSIGN_OR_RETURN(options.unknown, unknown_by_text());
    options.of_bytes = take_byte_spelling();
    parts_.special.unknown = options.unknown;
    parts_.model = make_bpe_model(*parts_.vocabulary, std::move(rules), options);
    parts_.description = options.of_bytes        ? "byte-level BPE (tokenizer.json)"
                         : options.byte_fallback ? "BPE with byte fallback (tokenizer.json)"
                                                 : "BPE (tokenizer.json)";
    return {};
  }

  Status make_unigram() {
    const HfFields model(document_.model(), "model");
    HEARTH_ASSIGN_OR_RETURN(const std::size_t unknown, model.size("unk_id"));
    if (unknown >= document_.scores().size()) {
      return make_status(StatusCode::kDataLoss, "'model.unk_id' is {}; there are {} tokens",
                         unknown, document_.scores().size());
    }
    UnigramOptions options{.unknown = static_cast<TokenId>(unknown)};
    HEARTH_ASSIGN_OR_RETURN(options.byte_fallback, flag("byte_fallback"));
    parts_.special.unknown = options.unknown;
    HEARTH_ASSIGN_OR_RETURN(parts_.model, make_unigram_model(*parts_.vocabulary, options));
    parts_.description = "unigram (tokenizer.json)";
    return {};
  }

  Status make_wordpiece() {
    const HfFields model(document_.model(), "model");
    HEARTH_ASSIGN_OR_RETURN(const auto unknown, unknown_by_text());
    if (!unknown) return make_status(StatusCode::kDataLoss, "'model.unk_token' is missing");
    WordPieceOptions options;
    options.unknown = *unknown;
    if (model.find("continuing_subword_prefix") != nullptr) {
      HEARTH_ASSIGN_OR_RETURN(options.continuing_prefix, model.text("continuing_subword_prefix"));
    }
    HEARTH_ASSIGN_OR_RETURN(options.max_chars_per_word,
                            model.size("max_input_chars_per_word", options.max_chars_per_word));
    parts_.special.unknown = unknown;
    parts_.model = make_wordpiece_model(*parts_.vocabulary, options);
    parts_.description = "WordPiece (tokenizer.json)";
    return {};
  }

  void add_matched_tokens() {
    RegexScratch scratch;
    for (const HfAddedToken& token : added_) {
      SpecialToken matched{.text = token.content,
                           .id = token.id,
                           .is_control = parts_.vocabulary->kind(token.id) == TokenKind::kControl,
                           .eats_space_before = token.lstrip,
                           .eats_space_after = token.rstrip,
                           .whole_words_only = token.single_word};
      if (token.normalized) {
        matched.text = parts_.normalizer.apply(token.content, scratch, false).text;
      }
      if (matched.text.empty()) continue;
      (token.normalized ? parts_.normalized_tokens : parts_.raw_tokens)
          .push_back(std::move(matched));
    }
  }

  Status check_template(const std::vector<TemplateItem>& items, std::string_view name,
                        std::ptrdiff_t num_second) const {
    for (const TemplateItem& item : items) {
      if (item.what != TemplateItem::What::kToken || parts_.vocabulary->contains(item.id)) continue;
      return make_status(StatusCode::kDataLoss,
                         "'post_processor' has the id {}; there are {} tokens", item.id,
                         parts_.vocabulary->size());
    }
    const auto count = [&items](TemplateItem::What what) {
      return std::ranges::count(items, what, &TemplateItem::what);
    };
    if (count(TemplateItem::What::kFirstText) == 1 &&
        count(TemplateItem::What::kSecondText) == num_second) {
      return {};
    }
    return make_status(StatusCode::kDataLoss,
                       "'post_processor.{}' does not have each of its texts once", name);
  }

  Status set_templates() {
    HEARTH_RETURN_IF_ERROR(check_template(templates_.single, "single", 0));
    HEARTH_RETURN_IF_ERROR(check_template(templates_.pair, "pair", 1));
    parts_.single = std::move(templates_.single);
    parts_.pair = std::move(templates_.pair);
    return {};
  }

  const HfDocument& document_;
  ModelType type_ = ModelType::kBpe;
  TokenizerParts parts_;
  HfTemplates templates_;
  std::vector<PreTokenizerStep> pretokenizer_steps_;
  std::vector<HfAddedToken> added_;
};

// A role in tokenizer_config.json: "<s>" or {"content": "<s>", ...}.
std::optional<TokenId> find_role(const json::Object& config, std::string_view key,
                                 const Vocabulary& vocabulary) {
  const json::Value* value = config.find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (const json::Object* object = value->as_object()) value = object->find("content");
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  const auto id = text == nullptr ? std::nullopt : vocabulary.find(*text);
  if (!id) log::warning("'tokenizer_config.json': '{}' is no token of tokenizer.json", key);
  return id;
}

void set_roles(const json::Object& config, TokenizerParts& parts) {
  const Vocabulary& vocabulary = *parts.vocabulary;
  SpecialTokens& special = parts.special;
  special.bos = find_role(config, "bos_token", vocabulary);
  special.eos = find_role(config, "eos_token", vocabulary);
  if (!special.bos) special.bos = find_role(config, "cls_token", vocabulary);
  if (!special.eos) special.eos = find_role(config, "sep_token", vocabulary);
  if (!special.unknown) special.unknown = find_role(config, "unk_token", vocabulary);
  special.padding = find_role(config, "pad_token", vocabulary);
  // What the template puts first and last serves where the config names nothing.
  const TemplateItem& first = parts.single.front();
  const TemplateItem& last = parts.single.back();
  const bool begins_with_token = first.what == TemplateItem::What::kToken;
  const bool ends_with_token = last.what == TemplateItem::What::kToken;
  if (begins_with_token && !special.bos) special.bos = first.id;
  if (ends_with_token && !special.eos) special.eos = last.id;
  special.add_bos = begins_with_token && special.bos == first.id;
  special.add_eos = ends_with_token && special.eos == last.id;
  add_once(special.end_of_generation, special.eos);
}

Result<json::Object> parse_config(const std::string& text, std::string_view file) {
  if (text.empty()) return json::Object();
  auto value = json::parse(text);
  if (!value) return std::unexpected(value.error().with_context(file));
  const json::Object* object = value->as_object();
  if (object == nullptr) {
    return error(StatusCode::kDataLoss, "{}: the file is {}, not an object", file,
                 value->type_name());
  }
  return *object;
}

// An empty text for a file that is not there.
Result<std::string> read_beside(const std::filesystem::path& directory, std::string_view name) {
  auto text = read_text_file(directory / name, kMaxConfigBytes);
  if (!text && text.error().code() == StatusCode::kNotFound) return std::string();
  return text;
}

Result<std::unique_ptr<Tokenizer>> make_from(const HfTokenizerFiles& files,
                                             std::string_view tokenizer_name) {
  HEARTH_ASSIGN_OR_RETURN(const json::Object config,
                          parse_config(files.tokenizer_config, "tokenizer_config.json"));
  const auto in_file = [tokenizer_name](const Status& status) {
    return std::unexpected(status.with_context(tokenizer_name));
  };
  auto document = HfDocument::parse(files.tokenizer_json);
  if (!document) return in_file(document.error());
  auto parts = Assembler(*document).run();
  if (!parts) return in_file(parts.error());
  set_roles(config, *parts);
  return Tokenizer::assemble(*std::move(parts));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_hf_tokenizer(const std::filesystem::path& path) {
  const bool is_directory = std::filesystem::is_directory(path);
  const std::filesystem::path directory = is_directory ? path : path.parent_path();
  const std::filesystem::path file = is_directory ? path / "tokenizer.json" : path;
  HfTokenizerFiles files;
  HEARTH_ASSIGN_OR_RETURN(files.tokenizer_json, read_text_file(file, HfDocument::kMaxBytes));
  HEARTH_ASSIGN_OR_RETURN(files.tokenizer_config, read_beside(directory, "tokenizer_config.json"));
  return make_from(files, file.string());
}

Result<std::unique_ptr<Tokenizer>> make_hf_tokenizer(const HfTokenizerFiles& files) {
  return make_from(files, "tokenizer.json");
}

}  // namespace hearth
