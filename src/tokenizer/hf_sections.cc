#include "tokenizer/hf_sections.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/hf_fields.h"

namespace hearth {

namespace {

constexpr std::size_t kMaxTextBytes = 1024;  // Of one text that a step puts somewhere.

// Rows of a table of types: what a type is called and how it is read into `Out`.
template <typename Out>
struct TypeRow {
  std::string_view name;
  Status (*read)(const HfFields&, Out&);
};

template <typename Out>
Status read_by_type(std::span<const TypeRow<Out>> rows, const HfFields& fields, Out& out) {
  HEARTH_ASSIGN_OR_RETURN(const std::string type, fields.type());
  const auto row = std::ranges::find(rows, type, &TypeRow<Out>::name);
  if (row != rows.end()) return row->read(fields, out);
  std::string known;
  for (const TypeRow<Out>& each : rows) {
    if (!known.empty()) known += ", ";
    known += each.name;
  }
  return make_status(StatusCode::kUnimplemented, "'{}' has the type \"{}\"; supported are {}",
                     fields.where(), type, known);
}

// A list of sections in the member `key`; its depth is bounded by the JSON parser's.
template <typename Out>
Status read_sequence(std::span<const TypeRow<Out>> rows, const HfFields& fields,
                     std::string_view key, Out& out) {
  HEARTH_ASSIGN_OR_RETURN(const json::Array* items, fields.array(key));
  for (std::size_t i = 0; i < items->size(); ++i) {
    HEARTH_ASSIGN_OR_RETURN(
        const HfFields item,
        HfFields::of(&(*items)[i], fmt::format("{}.{}[{}]", fields.where(), key, i)));
    HEARTH_RETURN_IF_ERROR(read_by_type(rows, item, out));
  }
  return {};
}

Result<std::string> bounded_text(const HfFields& fields, std::string_view key) {
  HEARTH_ASSIGN_OR_RETURN(std::string text, fields.text(key));
  if (text.size() > kMaxTextBytes) {
    return error(StatusCode::kOutOfRange, "'{}.{}' has {} bytes; the limit is {}", fields.where(),
                 key, text.size(), kMaxTextBytes);
  }
  return text;
}

// {"String": "..."} or {"Regex": "..."}
struct Pattern {
  std::string text;
  bool is_regex = false;
  std::string regex() const { return is_regex ? text : escape_regex(text); }
};

Result<Pattern> read_pattern(const HfFields& fields) {
  HEARTH_ASSIGN_OR_RETURN(const HfFields pattern,
                          HfFields::of(fields.find("pattern"), fields.where() + ".pattern"));
  const bool is_regex = pattern.find("Regex") != nullptr;
  HEARTH_ASSIGN_OR_RETURN(std::string text, pattern.text(is_regex ? "Regex" : "String"));
  return Pattern{.text = std::move(text), .is_regex = is_regex};
}

// --- Normalizers ---

using NormalizerSteps = std::vector<NormalizerStep>;

template <UnicodeForm kForm>
Status read_form(const HfFields& /*fields*/, NormalizerSteps& steps) {
  steps.emplace_back(FormStep{.form = kForm});
  return {};
}

template <typename Step>
Status read_plain(const HfFields& /*fields*/, NormalizerSteps& steps) {
  steps.emplace_back(Step{});
  return {};
}

Status read_bert_normalizer(const HfFields& fields, NormalizerSteps& steps) {
  BertNormalizerOptions options;
  HEARTH_ASSIGN_OR_RETURN(options.clean_text, fields.boolean("clean_text", true));
  HEARTH_ASSIGN_OR_RETURN(options.space_ideographs, fields.boolean("handle_chinese_chars", true));
  HEARTH_ASSIGN_OR_RETURN(options.lowercase, fields.boolean("lowercase", true));
  HEARTH_ASSIGN_OR_RETURN(options.strip_accents,
                          fields.boolean("strip_accents", options.lowercase));
  for (NormalizerStep& step : bert_normalizer(options))
    steps.push_back(std::move(step));
  return {};
}

Status read_replace(const HfFields& fields, NormalizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(const Pattern pattern, read_pattern(fields));
  HEARTH_ASSIGN_OR_RETURN(std::string content, bounded_text(fields, "content"));
  steps.emplace_back(ReplaceStep{.pattern = pattern.regex(), .content = std::move(content)});
  return {};
}

Status read_prepend(const HfFields& fields, NormalizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(std::string text, bounded_text(fields, "prepend"));
  steps.emplace_back(PrependStep{.text = std::move(text)});
  return {};
}

Status read_strip(const HfFields& fields, NormalizerSteps& steps) {
  StripStep step;
  HEARTH_ASSIGN_OR_RETURN(step.left, fields.boolean("strip_left"));
  HEARTH_ASSIGN_OR_RETURN(step.right, fields.boolean("strip_right"));
  steps.emplace_back(step);
  return {};
}

Status read_precompiled(const HfFields& fields, NormalizerSteps& steps) {
  // Null stands for a table that changes nothing.
  if (fields.find("precompiled_charsmap") == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(const std::string encoded, fields.text("precompiled_charsmap"));
  if (encoded.empty()) return {};
  const auto blob = decode_base64(encoded);
  if (!blob) return blob.error().with_context(fields.where());
  auto map = CharsMap::parse(*blob);
  if (!map) return map.error().with_context(fields.where());
  steps.emplace_back(CharsMapStep{.map = std::make_shared<const CharsMap>(*std::move(map)),
                                  .matching = CharsMapStep::Matching::kGraphemes});
  return {};
}

Status read_normalizers(const HfFields& fields, NormalizerSteps& steps);

constexpr TypeRow<NormalizerSteps> kNormalizers[] = {
    {"Sequence", read_normalizers},
    {"NFC", read_form<UnicodeForm::kC>},
    {"NFD", read_form<UnicodeForm::kD>},
    {"NFKC", read_form<UnicodeForm::kKC>},
    {"NFKD", read_form<UnicodeForm::kKD>},
    {"Lowercase", read_plain<LowercaseStep>},
    {"StripAccents", read_plain<StripMarksStep>},
    {"BertNormalizer", read_bert_normalizer},
    {"Replace", read_replace},
    {"Prepend", read_prepend},
    {"Strip", read_strip},
    {"Precompiled", read_precompiled},
    {"Nmt", read_plain<NmtStep>},
};

Status read_normalizers(const HfFields& fields, NormalizerSteps& steps) {
  return read_sequence<NormalizerSteps>(kNormalizers, fields, "normalizers", steps);
}

// --- Pre-tokenizers ---

using PreTokenizerSteps = std::vector<PreTokenizerStep>;

Result<SplitBehavior> read_behavior(const HfFields& fields, SplitBehavior fallback) {
  if (fields.find("behavior") == nullptr) return fallback;
  HEARTH_ASSIGN_OR_RETURN(const std::string name, fields.text("behavior"));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return error(StatusCode::kUnimplemented,
               "'{}.behavior' is \"{}\"; supported are Removed, Isolated, MergedWithPrevious, "
               "MergedWithNext, Contiguous",
               fields.where(), name);
}

Status read_byte_level(const HfFields& fields, PreTokenizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.boolean("add_prefix_space", true));
  HEARTH_ASSIGN_OR_RETURN(const bool use_regex, fields.boolean("use_regex", true));
  const bool again = std::ranges::any_of(
      steps, [](const auto& step) { return std::holds_alternative<SpellBytesStep>(step); });
  if (again) {
    return make_status(StatusCode::kUnimplemented, "'{}' is a second ByteLevel; supported is one",
                       fields.where());
  }
  if (add_prefix_space) steps.emplace_back(PrefixStep{.prefix = " "});
  if (use_regex) steps.emplace_back(SplitStep{.pattern = std::string(kGpt2Pattern)});
  steps.emplace_back(SpellBytesStep{});
  return {};
}

Status read_split(const HfFields& fields, PreTokenizerSteps& steps) {
  SplitStep step;
  HEARTH_ASSIGN_OR_RETURN(const Pattern pattern, read_pattern(fields));
  step.pattern = pattern.regex();
  HEARTH_ASSIGN_OR_RETURN(step.behavior, read_behavior(fields, SplitBehavior::kIsolated));
  HEARTH_ASSIGN_OR_RETURN(step.invert, fields.boolean("invert", false));
  steps.emplace_back(std::move(step));
  return {};
}

Status read_metaspace(const HfFields& fields, PreTokenizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(const std::string mark, bounded_text(fields, "replacement"));
  if (mark.empty() || utf8::decode(mark).length != mark.size()) {
    return make_status(StatusCode::kDataLoss, "'{}.replacement' has {} bytes; it is one character",
                       fields.where(), mark.size());
  }
  // Files from before "prepend_scheme" say it with a flag.
  HEARTH_ASSIGN_OR_RETURN(const bool old_flag, fields.boolean("add_prefix_space", true));
  std::string scheme = old_flag ? "always" : "never";
  if (fields.find("prepend_scheme") != nullptr) {
    HEARTH_ASSIGN_OR_RETURN(scheme, fields.text("prepend_scheme"));
  }
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return make_status(StatusCode::kUnimplemented,
                       "'{}.prepend_scheme' is \"{}\"; supported are always, first, never",
                       fields.where(), scheme);
  }
  steps.emplace_back(SubstituteStep{.from = " ", .to = mark});
  if (scheme != "never") {
    steps.emplace_back(PrefixStep{.prefix = mark, .only_at_start = scheme == "first"});
  }
  HEARTH_ASSIGN_OR_RETURN(const bool split, fields.boolean("split", true));
  if (split) {
    steps.emplace_back(
        SplitStep{.pattern = escape_regex(mark), .behavior = SplitBehavior::kMergedWithNext});
  }
  return {};
}

Status read_whitespace(const HfFields& /*fields*/, PreTokenizerSteps& steps) {
  constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D})";
  steps.emplace_back(SplitStep{.pattern = fmt::format(R"([{0}]+|[^{0}\s]+)", kWord),
                               .behavior = SplitBehavior::kRemoved,
                               .invert = true});
  return {};
}

Status read_whitespace_split(const HfFields& /*fields*/, PreTokenizerSteps& steps) {
  steps.emplace_back(SplitStep{.pattern = R"(\s)", .behavior = SplitBehavior::kRemoved});
  return {};
}

Status read_bert_pretokenizer(const HfFields& /*fields*/, PreTokenizerSteps& steps) {
  for (PreTokenizerStep& step : bert_pretokenizer())
    steps.push_back(std::move(step));
  return {};
}

Status read_digits(const HfFields& fields, PreTokenizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(const bool individual, fields.boolean("individual_digits", false));
  steps.emplace_back(
      SplitStep{.pattern = R"(\p{N})",
                .behavior = individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
  return {};
}

Status read_punctuation(const HfFields& fields, PreTokenizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                          read_behavior(fields, SplitBehavior::kIsolated));
  steps.emplace_back(SplitStep{.pattern = std::string(kPunctuationPattern), .behavior = behavior});
  return {};
}

Status read_delimiter(const HfFields& fields, PreTokenizerSteps& steps) {
  HEARTH_ASSIGN_OR_RETURN(const std::string delimiter, bounded_text(fields, "delimiter"));
  steps.emplace_back(
      SplitStep{.pattern = escape_regex(delimiter), .behavior = SplitBehavior::kRemoved});
  return {};
}

Status read_pretokenizers(const HfFields& fields, PreTokenizerSteps& steps);

constexpr TypeRow<PreTokenizerSteps> kPreTokenizers[] = {
    {"Sequence", read_pretokenizers},
    {"ByteLevel", read_byte_level},
    {"Split", read_split},
    {"Metaspace", read_metaspace},
    {"Whitespace", read_whitespace},
    {"WhitespaceSplit", read_whitespace_split},
    {"BertPreTokenizer", read_bert_pretokenizer},
    {"Digits", read_digits},
    {"Punctuation", read_punctuation},
    {"CharDelimiterSplit", read_delimiter},
};

Status read_pretokenizers(const HfFields& fields, PreTokenizerSteps& steps) {
  return read_sequence<PreTokenizerSteps>(kPreTokenizers, fields, "pretokenizers", steps);
}

// --- Decoders ---

struct DecoderBuilder {
  HfDecoder decoder;
  bool fused = false;  // What follows sees the whole text, not token by token.
};

Status refuse_after_fuse(const HfFields& fields) {
  return make_status(StatusCode::kUnimplemented,
                     "'{}' works on a whole text (after Fuse); supported there is a Strip of "
                     "spaces at the start",
                     fields.where());
}

template <typename Step>
Status read_token_step(const HfFields& fields, DecoderBuilder& builder) {
  if (builder.fused) return refuse_after_fuse(fields);
  builder.decoder.steps.emplace_back(Step{});
  return {};
}

Status read_metaspace_decoder(const HfFields& fields, DecoderBuilder& builder) {
  if (builder.fused) return refuse_after_fuse(fields);
  PreTokenizerSteps steps;
  HEARTH_RETURN_IF_ERROR(read_metaspace(fields, steps));
  const auto& substitution = std::get<SubstituteStep>(steps.front());
  builder.decoder.steps.emplace_back(SubstituteStep{.from = substitution.to, .to = " "});
  const bool has_prefix = std::ranges::any_of(
      steps, [](const auto& step) { return std::holds_alternative<PrefixStep>(step); });
  if (has_prefix) builder.decoder.num_leading_spaces = 1;
  return {};
}

Status read_wordpiece_decoder(const HfFields& fields, DecoderBuilder& builder) {
  if (builder.fused) return refuse_after_fuse(fields);
  JoinWords step;
  HEARTH_ASSIGN_OR_RETURN(step.continuing_prefix, bounded_text(fields, "prefix"));
  HEARTH_ASSIGN_OR_RETURN(step.cleanup, fields.boolean("cleanup", true));
  builder.decoder.steps.emplace_back(std::move(step));
  builder.decoder.num_leading_spaces = 1;
  return {};
}

Status read_fuse(const HfFields& /*fields*/, DecoderBuilder& builder) {
  builder.fused = true;
  return {};
}

Status read_strip_decoder(const HfFields& fields, DecoderBuilder& builder) {
  TrimEnds step;
  HEARTH_ASSIGN_OR_RETURN(step.character, bounded_text(fields, "content"));
  HEARTH_ASSIGN_OR_RETURN(step.num_start, fields.size("start"));
  HEARTH_ASSIGN_OR_RETURN(step.num_stop, fields.size("stop"));
  if (builder.fused) {
    if (step.character != " " || step.num_stop != 0) return refuse_after_fuse(fields);
    builder.decoder.num_leading_spaces = step.num_start;
    return {};
  }
  if (step.character.empty()) {
    return make_status(StatusCode::kDataLoss, "'{}.content' is empty", fields.where());
  }
  builder.decoder.steps.emplace_back(std::move(step));
  return {};
}

Status read_replace_decoder(const HfFields& fields, DecoderBuilder& builder) {
  if (builder.fused) return refuse_after_fuse(fields);
  HEARTH_ASSIGN_OR_RETURN(Pattern pattern, read_pattern(fields));
  HEARTH_ASSIGN_OR_RETURN(std::string content, bounded_text(fields, "content"));
  if (pattern.is_regex || pattern.text.empty()) {
    builder.decoder.steps.emplace_back(
        RegexSubstitute{.pattern = pattern.regex(), .content = std::move(content)});
  } else {
    builder.decoder.steps.emplace_back(
        SubstituteStep{.from = std::move(pattern.text), .to = std::move(content)});
  }
  return {};
}

Status read_decoders(const HfFields& fields, DecoderBuilder& builder);

constexpr TypeRow<DecoderBuilder> kDecoders[] = {
    {"Sequence", read_decoders},
    {"ByteLevel", read_token_step<SpelledBytes>},
    {"Metaspace", read_metaspace_decoder},
    {"WordPiece", read_wordpiece_decoder},
    {"ByteFallback", read_token_step<NumberedBytes>},
    {"Fuse", read_fuse},
    {"Strip", read_strip_decoder},
    {"Replace", read_replace_decoder},
};

Status read_decoders(const HfFields& fields, DecoderBuilder& builder) {
  return read_sequence<DecoderBuilder>(kDecoders, fields, "decoders", builder);
}

// --- Post-processors ---

using What = TemplateItem::What;

constexpr std::size_t kMaxTemplateItems = 64;
constexpr std::size_t kMaxTemplateIds = 1024;  // Of all its items.

struct TemplateBuilder {
  HfTemplates templates;
  bool found = false;
};

Status begin_templates(const HfFields& fields, TemplateBuilder& builder) {
  if (builder.found) {
    return make_status(StatusCode::kUnimplemented,
                       "'{}' is a second processor that adds tokens; supported is one",
                       fields.where());
  }
  builder.found = true;
  builder.templates = {};
  return {};
}

Result<TokenId> to_id(const json::Value& value, const HfFields& fields) {
  std::int64_t id = -1;
  if (!value.to_int64(id) || id < 0 || id > INT32_MAX) {
    return error(StatusCode::kDataLoss, "'{}' has an id that is not a number from 0 on",
                 fields.where());
  }
  return static_cast<TokenId>(id);
}

// {"SpecialToken": {"id": "<s>", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}
Status read_template_item(const json::Value& value, const HfFields& fields,
                          std::vector<TemplateItem>& items) {
  HEARTH_ASSIGN_OR_RETURN(const HfFields item, HfFields::of(&value, fields.where() + " item"));
  const json::Value* text = item.find("Sequence");
  const json::Value* token = item.find("SpecialToken");
  HEARTH_ASSIGN_OR_RETURN(const HfFields inner,
                          HfFields::of(text != nullptr ? text : token, item.where()));
  HEARTH_ASSIGN_OR_RETURN(const std::string name, inner.text("id"));
  HEARTH_ASSIGN_OR_RETURN(const std::size_t type_id, inner.size("type_id", 0));
  if (type_id > 1) {
    return make_status(StatusCode::kOutOfRange, "'{}.type_id' is {}; the limit is 1", inner.where(),
                       type_id);
  }
  TemplateItem made{.type_id = static_cast<std::uint8_t>(type_id)};
  if (text != nullptr) {
    made.what = name == "B" ? What::kSecondText : What::kFirstText;
    items.push_back(made);
    return {};
  }
  made.what = What::kToken;
  const json::Value* tokens = fields.find("special_tokens");
  const json::Object* by_name = tokens == nullptr ? nullptr : tokens->as_object();
  const json::Value* entry = by_name == nullptr ? nullptr : by_name->find(name);
  HEARTH_ASSIGN_OR_RETURN(
      const HfFields special,
      HfFields::of(entry, fmt::format("{}.special_tokens.{}", fields.where(), name)));
  HEARTH_ASSIGN_OR_RETURN(const json::Array* ids, special.array("ids"));
  if (items.size() + ids->size() > kMaxTemplateIds) {
    return make_status(StatusCode::kOutOfRange,
                       "'{}.ids' makes a template of {} ids; the limit is {}", special.where(),
                       items.size() + ids->size(), kMaxTemplateIds);
  }
  for (const json::Value& id : *ids) {
    HEARTH_ASSIGN_OR_RETURN(made.id, to_id(id, special));
    items.push_back(made);
  }
  return {};
}

Status read_template_items(const HfFields& fields, std::string_view key,
                           std::vector<TemplateItem>& items) {
  HEARTH_ASSIGN_OR_RETURN(const json::Array* entries, fields.array(key));
  if (entries->size() > kMaxTemplateItems) {
    return make_status(StatusCode::kOutOfRange, "'{}.{}' has {} items; the limit is {}",
                       fields.where(), key, entries->size(), kMaxTemplateItems);
  }
  for (const json::Value& item : *entries) {
    HEARTH_RETURN_IF_ERROR(read_template_item(item, fields, items));
  }
  return {};
}

Status read_template(const HfFields& fields, TemplateBuilder& builder) {
  HEARTH_RETURN_IF_ERROR(begin_templates(fields, builder));
  HEARTH_RETURN_IF_ERROR(read_template_items(fields, "single", builder.templates.single));
  return read_template_items(fields, "pair", builder.templates.pair);
}

// ["[SEP]", 102]
Result<TokenId> read_named_id(const HfFields& fields, std::string_view key) {
  HEARTH_ASSIGN_OR_RETURN(const json::Array* entry, fields.array(key));
  if (entry->size() != 2) {
    return error(StatusCode::kDataLoss, "'{}.{}' is not a token with its id", fields.where(), key);
  }
  return to_id((*entry)[1], fields);
}

// [CLS] A [SEP] and [CLS] A [SEP] B [SEP]; RoBERTa's with <s> A </s></s> B </s>, all of type 0.
Status read_encoder_processor(const HfFields& fields, TemplateBuilder& builder, bool roberta) {
  HEARTH_RETURN_IF_ERROR(begin_templates(fields, builder));
  HEARTH_ASSIGN_OR_RETURN(const TokenId cls, read_named_id(fields, "cls"));
  HEARTH_ASSIGN_OR_RETURN(const TokenId sep, read_named_id(fields, "sep"));
  const std::uint8_t second = roberta ? 0 : 1;
  builder.templates.single = {{.what = What::kToken, .id = cls},
                              {.what = What::kFirstText},
                              {.what = What::kToken, .id = sep}};
  auto& pair = builder.templates.pair;
  pair = builder.templates.single;
  if (roberta) pair.push_back({.what = What::kToken, .id = sep});
  pair.push_back({.what = What::kSecondText, .type_id = second});
  pair.push_back({.what = What::kToken, .id = sep, .type_id = second});
  return {};
}

Status read_bert_processor(const HfFields& fields, TemplateBuilder& builder) {
  return read_encoder_processor(fields, builder, /*roberta=*/false);
}
Status read_roberta_processor(const HfFields& fields, TemplateBuilder& builder) {
  return read_encoder_processor(fields, builder, /*roberta=*/true);
}

// Concerns offsets only.
Status read_byte_level_processor(const HfFields& /*fields*/, TemplateBuilder& /*builder*/) {
  return {};
}

Status read_processors(const HfFields& fields, TemplateBuilder& builder);

constexpr TypeRow<TemplateBuilder> kProcessors[] = {
    {"Sequence", read_processors},
    {"TemplateProcessing", read_template},
    {"BertProcessing", read_bert_processor},
    {"RobertaProcessing", read_roberta_processor},
    {"ByteLevel", read_byte_level_processor},
};

Status read_processors(const HfFields& fields, TemplateBuilder& builder) {
  return read_sequence<TemplateBuilder>(kProcessors, fields, "processors", builder);
}

template <typename Out>
Status read_section(std::span<const TypeRow<Out>> rows, const json::Value& section,
                    std::string_view name, Out& out) {
  if (section.is_null()) return {};
  HEARTH_ASSIGN_OR_RETURN(const HfFields fields, HfFields::of(&section, std::string(name)));
  return read_by_type(rows, fields, out);
}

}  // namespace

Result<std::vector<NormalizerStep>> read_hf_normalizer(const json::Value& section) {
  NormalizerSteps steps;
  HEARTH_RETURN_IF_ERROR(read_section<NormalizerSteps>(kNormalizers, section, "normalizer", steps));
  return steps;
}

Result<std::vector<PreTokenizerStep>> read_hf_pretokenizer(const json::Value& section) {
  PreTokenizerSteps steps;
  HEARTH_RETURN_IF_ERROR(
      read_section<PreTokenizerSteps>(kPreTokenizers, section, "pre_tokenizer", steps));
  return steps;
}

Result<HfDecoder> read_hf_decoder(const json::Value& section) {
  DecoderBuilder builder;
  HEARTH_RETURN_IF_ERROR(read_section<DecoderBuilder>(kDecoders, section, "decoder", builder));
  if (section.is_null()) {
    // The reference joins the spellings with spaces.
    builder.decoder = {.steps = {JoinWords{}}, .num_leading_spaces = 1};
  }
  return std::move(builder.decoder);
}

Result<HfTemplates> read_hf_post_processor(const json::Value& section) {
  TemplateBuilder builder;
  builder.templates = {
      .single = {{.what = What::kFirstText}},
      .pair = {{.what = What::kFirstText}, {.what = What::kSecondText, .type_id = 1}}};
  HEARTH_RETURN_IF_ERROR(
      read_section<TemplateBuilder>(kProcessors, section, "post_processor", builder));
  return std::move(builder.templates);
}

Result<std::vector<HfAddedToken>> read_hf_added_tokens(const json::Value& section) {
  std::vector<HfAddedToken> tokens;
  if (section.is_null()) return tokens;
  const json::Array* entries = section.as_array();
  if (entries == nullptr) {
    return error(StatusCode::kDataLoss, "'added_tokens' is {}, not an array", section.type_name());
  }
  for (std::size_t i = 0; i < entries->size(); ++i) {
    HEARTH_ASSIGN_OR_RETURN(const HfFields fields,
                            HfFields::of(&(*entries)[i], fmt::format("added_tokens[{}]", i)));
    HfAddedToken token;
    HEARTH_ASSIGN_OR_RETURN(const std::size_t id, fields.size("id"));
    if (id >= Vocabulary::kMaxTokens) {
      return error(StatusCode::kOutOfRange, "'{}.id' is {}; the limit is {}", fields.where(), id,
                   Vocabulary::kMaxTokens - 1);
    }
    token.id = static_cast<TokenId>(id);
    HEARTH_ASSIGN_OR_RETURN(token.content, fields.text("content"));
    HEARTH_ASSIGN_OR_RETURN(token.single_word, fields.boolean("single_word", false));
    HEARTH_ASSIGN_OR_RETURN(token.lstrip, fields.boolean("lstrip", false));
    HEARTH_ASSIGN_OR_RETURN(token.rstrip, fields.boolean("rstrip", false));
    HEARTH_ASSIGN_OR_RETURN(token.special, fields.boolean("special", false));
    HEARTH_ASSIGN_OR_RETURN(token.normalized, fields.boolean("normalized", !token.special));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace hearth
