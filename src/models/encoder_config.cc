#include "models/encoder_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/architectures.h"
#include "models/config_reader.h"

namespace hearth {
namespace {

constexpr std::string_view kHeadOutput = "cls.output.weight";

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

constexpr std::array kDenseNames = {Named<DenseActivation>{"none", DenseActivation::kNone},
                                    Named<DenseActivation>{"tanh", DenseActivation::kTanh},
                                    Named<DenseActivation>{"relu", DenseActivation::kRelu},
                                    Named<DenseActivation>{"gelu", DenseActivation::kGelu}};
constexpr std::array kScoreNames = {Named<HeadActivation>{"none", HeadActivation::kNone},
                                    Named<HeadActivation>{"softmax", HeadActivation::kSoftmax},
                                    Named<HeadActivation>{"sigmoid", HeadActivation::kSigmoid}};

// `text` is what `key` says.
template <typename Value, std::size_t Count>
Result<Value> named(const ConfigReader& reader, std::string_view key, std::string_view text,
                    const std::array<Named<Value>, Count>& names) {
  const auto row = std::ranges::find(names, text, &Named<Value>::name);
  if (row != names.end()) return row->value;
  std::vector<std::string_view> known;
  std::ranges::transform(names, std::back_inserter(known), &Named<Value>::name);
  return error(StatusCode::kUnimplemented, "{} is '{}'; supported: {}", reader.full(key), text,
               fmt::join(known, ", "));
}

template <typename Value, std::size_t Count>
Result<Value> read_named(const ConfigReader& reader, std::string_view key,
                         const std::array<Named<Value>, Count>& names, Value fallback) {
  HEARTH_ASSIGN_OR_RETURN(const auto text, reader.text(key));
  return text ? named(reader, key, *text, names) : fallback;
}

Result<Pooling> read_pooling(const ConfigReader& reader, std::string_view key,
                             std::optional<Pooling> fallback) {
  const std::string name = reader.full(key);
  HEARTH_ASSIGN_OR_RETURN(const auto type, reader.file().find_uint32(name));
  if (!type) {
    if (fallback) return *fallback;
    return error(StatusCode::kDataLoss,
                 "metadata key '{}' is missing: the file does not say how a text's vectors become "
                 "one",
                 name);
  }
  switch (*type) {
    case kPoolingMean:
      return Pooling::kMean;
    case kPoolingCls:
      return Pooling::kCls;
    case kPoolingLast:
      return Pooling::kLast;
    case kPoolingNone:
      return error(StatusCode::kUnimplemented,
                   "{} is {} (a vector per token); supported: {} (mean), {} (first token), {} "
                   "(last token) and {} (classification head)",
                   name, *type, kPoolingMean, kPoolingCls, kPoolingLast, kPoolingRank);
    default:
      return error(StatusCode::kDataLoss, "{} is {}{}", name, *type,
                   *type == kPoolingRank ? ", but the file holds no classification head"
                                         : ", which means nothing");
  }
}

Status read_prompts(const ConfigReader& reader, EncoderConfig& config) {
  HEARTH_ASSIGN_OR_RETURN(const auto* names,
                          reader.file().find_texts(reader.full(kPromptNamesKey)));
  HEARTH_ASSIGN_OR_RETURN(const auto* texts,
                          reader.file().find_texts(reader.full(kPromptTextsKey)));
  const std::size_t num_names = names == nullptr ? 0 : names->size();
  const std::size_t num_texts = texts == nullptr ? 0 : texts->size();
  if (num_names != num_texts) {
    return make_status(StatusCode::kDataLoss, "{} has {} entries, but {} has {}",
                       reader.full(kPromptNamesKey), num_names, reader.full(kPromptTextsKey),
                       num_texts);
  }
  for (std::size_t i = 0; i < num_names; ++i)
    config.prompts.push_back({std::string((*names)[i]), std::string((*texts)[i])});
  HEARTH_ASSIGN_OR_RETURN(const auto fallback, reader.text(kDefaultPromptKey));
  if (!fallback) return {};
  if (std::ranges::find(config.prompts, *fallback, &EncoderPrompt::name) == config.prompts.end()) {
    return make_status(StatusCode::kDataLoss, "{} is '{}', but there is no prompt of that name",
                       reader.full(kDefaultPromptKey), *fallback);
  }
  config.default_prompt = *fallback;
  return {};
}

Result<std::vector<std::string>> read_labels(const ConfigReader& reader, std::size_t count) {
  HEARTH_ASSIGN_OR_RETURN(const auto* stated, reader.file().find_texts(reader.full(kLabelsKey)));
  if (stated == nullptr) {
    std::vector<std::string> numbered(count);
    for (std::size_t i = 0; i < count; ++i)
      numbered[i] = fmt::format("LABEL_{}", i);
    return numbered;
  }
  if (stated->size() != count) {
    return error(StatusCode::kDataLoss, "{} has {} entries, but '{}' has {} rows",
                 reader.full(kLabelsKey), stated->size(), reader.file().spelling(kHeadOutput),
                 count);
  }
  return std::vector<std::string>(stated->begin(), stated->end());
}

// llama.cpp's converter leaves the dense layer in front of BERT's head behind, and what the head
// then gives is not what it was trained to give. Every class of this architecture has that layer.
Status check_head_is_whole(const ConfigReader& reader, const EncoderPlan& plan) {
  if (plan.head.size() > 1 || plan.description.architecture != "bert") return {};
  return make_status(StatusCode::kDataLoss,
                     "the file has '{}', but not 'cls.weight', the dense layer in front of it "
                     "(BERT's pooler, which converters to GGUF leave out): its scores would mean "
                     "nothing; serve the model's Hugging Face directory instead",
                     reader.file().spelling(kHeadOutput));
}

// What stands in front of a head's last matrix.
Status read_head_steps(const ConfigReader& reader, EncoderPlan& plan) {
  const ModelFile& file = reader.file();
  const std::size_t hidden = plan.transformer.hidden_size;
  const bool modern = plan.transformer.norm_placement == NormPlacement::kPre;
  // A file that says what is behind the dense layer has one, and binding says what is missing.
  HEARTH_ASSIGN_OR_RETURN(const auto stated, reader.text(kHeadDenseKey));
  HEARTH_ASSIGN_OR_RETURN(const DenseActivation activation,
                          read_named(reader, kHeadDenseKey, kDenseNames,
                                     modern ? DenseActivation::kGelu : DenseActivation::kTanh));
  if (stated || file.find_tensor("cls.weight") != nullptr) {
    plan.head.push_back({HeadStepKind::kDense, "cls", hidden, activation});
  }
  if ((stated && modern) || file.find_tensor("cls.norm.weight") != nullptr) {
    plan.head.push_back({.kind = HeadStepKind::kNorm, .name = "cls.norm", .width = hidden});
  }
  plan.head.push_back({.name = "cls.output", .width = plan.description.width});
  return check_head_is_whole(reader, plan);
}

// Rerankers that answer a question by "yes" or "no": the two rows of the output matrix that would
// write these words. One score is as good: how much likelier yes is.
void score_yes(EncoderPlan& plan) {
  EncoderConfig& config = plan.description;
  if (config.labels != std::vector<std::string>{"yes", "no"}) return;
  config.labels = {"yes"};
  config.width = 1;
  config.head_activation = HeadActivation::kSigmoid;  // The softmax over the two.
  plan.head.push_back({.kind = HeadStepKind::kDifference, .name = "", .width = 1});
}

// Decoders read two texts as they were told to in training.
Status read_pair_template(const ConfigReader& reader, EncoderConfig& config) {
  HEARTH_ASSIGN_OR_RETURN(const auto text, reader.file().find_text(kRerankTemplateKey));
  config.pair_template = text.value_or("");
  if (!text) return {};
  for (const std::string_view place : {kQueryPlace, kDocumentPlace}) {
    const std::size_t at = text->find(place);
    if (at != std::string_view::npos && text->find(place, at + 1) == std::string_view::npos)
      continue;
    return make_status(StatusCode::kDataLoss, "{} must have '{}' once", kRerankTemplateKey, place);
  }
  return {};
}

Status read_head(const ConfigReader& reader, const TensorView& output, EncoderPlan& plan) {
  constexpr std::uint64_t kMaxLabels = 1u << 16;
  EncoderConfig& config = plan.description;
  const ModelFile& file = reader.file();
  const std::uint64_t rows = output.shape.rank == 2 ? output.shape.dims[0] : 0;
  if (rows == 0 || rows > kMaxLabels) {
    return make_status(StatusCode::kDataLoss,
                       "tensor '{}' has shape {}; a matrix of 1 to {} rows is needed",
                       file.spelling(kHeadOutput), output.shape.to_string(), kMaxLabels);
  }
  HEARTH_ASSIGN_OR_RETURN(config.labels, read_labels(reader, rows));
  config.width = config.labels.size();
  config.pooling = Pooling::kNone;
  const bool decodes = !plan.transformer.bidirectional;
  HEARTH_ASSIGN_OR_RETURN(plan.pooling, read_pooling(reader, kHeadPoolingKey,
                                                     decodes ? Pooling::kLast : Pooling::kCls));
  HEARTH_ASSIGN_OR_RETURN(
      config.head_activation,
      read_named(reader, kScoreActivationKey, kScoreNames,
                 config.width == 1 ? HeadActivation::kSigmoid : HeadActivation::kSoftmax));
  HEARTH_RETURN_IF_ERROR(read_head_steps(reader, plan));
  if (!decodes) return {};
  score_yes(plan);
  return read_pair_template(reader, config);
}

// A list of lengths says more than the flag that there are some.
Status read_shorter(const ConfigReader& reader, EncoderConfig& config) {
  ShorterVectors& shorter = config.shorter;
  HEARTH_ASSIGN_OR_RETURN(const auto* lengths,
                          reader.file().find_integers(reader.full(kShorterKey)));
  if (lengths != nullptr) {
    std::vector<std::size_t> allowed;
    for (const std::int64_t length : *lengths) {
      if (length < 1 || std::cmp_greater(length, config.width)) {
        return make_status(StatusCode::kDataLoss, "{} has {}, but vectors have {} numbers",
                           reader.full(kShorterKey), length, config.width);
      }
      allowed.push_back(static_cast<std::size_t>(length));
    }
    shorter.add(allowed, config.width);
  } else {
    HEARTH_ASSIGN_OR_RETURN(shorter.any, reader.flag(kAnyShorterKey, false));
  }
  HEARTH_ASSIGN_OR_RETURN(const auto usual, reader.optional_size(kUsualLengthKey, kMaxDimension));
  if (usual && *usual < config.width) shorter.usual = *usual;
  return {};
}

// Of a file that does not list its modules: as llama.cpp reads it.
Status assume_modules(const ConfigReader& reader, std::vector<std::string_view>& modules) {
  for (const std::string_view name : {"dense_2", "dense_3"}) {
    if (reader.file().find_tensor(fmt::format("{}.weight", name)) != nullptr)
      modules.push_back(name);
  }
  HEARTH_ASSIGN_OR_RETURN(const bool normalize, reader.flag(kNormalizeKey, true));
  if (normalize) modules.push_back(kUnitLengthModule);
  return {};
}

// The tensor says what comes out; binding says whether it takes what goes in.
Result<HeadStep> dense_step(const ConfigReader& reader, std::string_view name,
                            std::string_view activation) {
  const std::string tensor = fmt::format("{}.weight", name);
  const TensorView* weight = reader.file().find_tensor(tensor);
  const std::uint64_t rows =
      weight != nullptr && weight->shape.rank == 2 ? weight->shape.dims[0] : 0;
  if (rows == 0 || rows > kMaxDimension) {
    return error(StatusCode::kDataLoss,
                 "{} names '{}', but there is no such matrix of 1 to {} rows",
                 reader.full(kModulesKey), reader.file().spelling(tensor), kMaxDimension);
  }
  HEARTH_ASSIGN_OR_RETURN(const DenseActivation value,
                          named(reader, kDenseActivationsKey, activation, kDenseNames));
  return HeadStep{HeadStepKind::kDense, std::string(name), rows, value};
}

Status read_vector_steps(const ConfigReader& reader, EncoderPlan& plan) {
  EncoderConfig& config = plan.description;
  config.width = plan.transformer.hidden_size;
  HEARTH_ASSIGN_OR_RETURN(const auto* stated, reader.file().find_texts(reader.full(kModulesKey)));
  HEARTH_ASSIGN_OR_RETURN(const auto* activations,
                          reader.file().find_texts(reader.full(kDenseActivationsKey)));
  std::vector<std::string_view> modules;
  if (stated != nullptr) modules.assign(stated->begin(), stated->end());
  if (stated == nullptr) HEARTH_RETURN_IF_ERROR(assume_modules(reader, modules));
  constexpr std::size_t kMaxModules = 8;
  if (modules.size() > kMaxModules) {
    return make_status(StatusCode::kDataLoss, "{} has {} entries; up to {} are supported",
                       reader.full(kModulesKey), modules.size(), kMaxModules);
  }
  std::size_t num_dense = 0;
  for (const std::string_view name : modules) {
    config.normalize = name == kUnitLengthModule;
    if (config.normalize) {
      plan.head.push_back({.kind = HeadStepKind::kUnitLength, .name = "", .width = config.width});
      continue;
    }
    const bool listed = activations != nullptr && num_dense < activations->size();
    HEARTH_ASSIGN_OR_RETURN(HeadStep step,
                            dense_step(reader, name, listed ? (*activations)[num_dense] : "none"));
    ++num_dense;
    config.width = step.width;
    plan.head.push_back(std::move(step));
  }
  if (activations == nullptr || activations->size() == num_dense) return {};
  return make_status(StatusCode::kDataLoss, "{} has {} entries, but there are {} dense layers",
                     reader.full(kDenseActivationsKey), activations->size(), num_dense);
}

Status read_vector(const ConfigReader& reader, EncoderPlan& plan) {
  EncoderConfig& config = plan.description;
  HEARTH_ASSIGN_OR_RETURN(config.pooling, read_pooling(reader, kPoolingTypeKey, std::nullopt));
  plan.pooling = config.pooling;
  HEARTH_RETURN_IF_ERROR(read_vector_steps(reader, plan));
  return read_shorter(reader, config);
}

// A decoder whose file says how to pool was trained to embed.
const Architecture* embedding_decoder(const ModelFile& file, std::string_view name) {
  const Architecture* row = find_architecture(name);
  if (row == nullptr) return nullptr;
  const auto type = file.find_uint32(fmt::format("{}.{}", name, kPoolingTypeKey));
  return type && type->value_or(kPoolingNone) != kPoolingNone ? row : nullptr;
}

const Architecture* encoder_row(const ModelFile& file, std::string_view name) {
  const Architecture* row = find_encoder_architecture(name);
  return row != nullptr ? row : embedding_decoder(file, name);
}

Result<const Architecture*> required_encoder_row(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const auto name, file.find_text("general.architecture"));
  if (!name) return error(StatusCode::kDataLoss, "metadata key 'general.architecture' is missing");
  const Architecture* row = encoder_row(file, *name);
  if (row != nullptr) return row;
  return error(StatusCode::kUnimplemented,
               "architecture '{}' is not a supported encoder; supported: {}, and decoders whose "
               "file says how to pool",
               *name, supported_encoders());
}

// What is computed of a decoder's hidden states: the last.
Status check_decoder(const EncoderPlan& plan) {
  if (plan.transformer.bidirectional || plan.pooling == Pooling::kLast) return {};
  return make_status(
      StatusCode::kUnimplemented,
      "a decoder ('{}') embeds by its last token (pooling_type {}); other pooling is "
      "not supported",
      plan.description.architecture, kPoolingLast);
}

}  // namespace

Result<EncoderPlan> read_encoder_plan(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const Architecture* row, required_encoder_row(file));
  const ConfigReader reader(file, row->name);
  EncoderPlan plan;
  HEARTH_ASSIGN_OR_RETURN(plan.transformer, read_model_config(file, *row));
  const ModelConfig& transformer = plan.transformer;
  EncoderConfig& config = plan.description;
  config.architecture = transformer.architecture;
  config.name = transformer.name;
  config.vocab_size = transformer.vocab_size;
  HEARTH_ASSIGN_OR_RETURN(const auto stated, reader.optional_size(kMaxTokensKey, kMaxPositions));
  config.max_tokens =
      std::min<std::size_t>(stated.value_or(kMaxPositions), transformer.context_len);
  if (const auto* types = file.find_tensor("token_types.weight"); types != nullptr) {
    config.num_token_types = types->shape.rank == 2 ? types->shape.dims[0] : 1;
  }
  HEARTH_ASSIGN_OR_RETURN(config.num_token_types,
                          reader.size_or(kTokenTypesKey, kMaxDimension, config.num_token_types));
  HEARTH_RETURN_IF_ERROR(read_prompts(reader, config));
  const TensorView* head = file.find_tensor(kHeadOutput);
  HEARTH_RETURN_IF_ERROR(head != nullptr ? read_head(reader, *head, plan)
                                         : read_vector(reader, plan));
  HEARTH_RETURN_IF_ERROR(check_decoder(plan));
  return plan;
}

Result<EncoderConfig> read_encoder_description(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(EncoderPlan plan, read_encoder_plan(file));
  return std::move(plan.description);
}

bool is_encoder(const ModelFile& file) {
  const auto name = file.find_text("general.architecture");
  return name && *name && encoder_row(file, **name) != nullptr;
}

std::string supported_encoders() {
  std::vector<std::string_view> names;
  for (const Architecture& row : encoder_architectures())
    names.push_back(row.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace hearth
