#include "models/hf_labels.h"

#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "models/encoder_config.h"

namespace hearth {
namespace {

// What a score is made of: as the class's own pipeline does, unless sentence-transformers says so.
Result<std::string_view> score_activation(const HfObject& config, std::size_t num_labels) {
  HEARTH_ASSIGN_OR_RETURN(const auto sentence, config.object("sentence_transformers"));
  HEARTH_ASSIGN_OR_RETURN(auto function, config.text("sbert_ce_default_activation_function"));
  if (sentence && sentence->has("activation_fn")) {
    HEARTH_ASSIGN_OR_RETURN(function, sentence->text("activation_fn"));
  }
  if (function) {
    const std::string_view name = function->substr(function->rfind('.') + 1);
    if (name == "Identity") return "none";
    if (name == "Sigmoid") return "sigmoid";
    return error(StatusCode::kUnimplemented,
                 "{}: the activation function of scores is '{}'; supported: Identity, Sigmoid",
                 config.file(), *function);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto problem, config.text("problem_type"));
  if (problem && *problem == "regression") return "none";
  const bool each = num_labels == 1 || (problem && *problem == "multi_label_classification");
  return each ? "sigmoid" : "softmax";
}

// Names in the order of their numbers.
Result<std::vector<std::string_view>> labels_of(const HfObject& config) {
  constexpr std::size_t kDefault = 2;  // Where config.json is silent.
  const json::Value* value = config.find("id2label");
  std::vector<std::string_view> labels;
  if (value == nullptr) {
    HEARTH_ASSIGN_OR_RETURN(const auto count, config.size("num_labels"));
    if (count.value_or(kDefault) == kDefault)
      return std::vector<std::string_view>{"LABEL_0", "LABEL_1"};
    return error(StatusCode::kDataLoss, "{}: 'num_labels' is {}, but there is no 'id2label'",
                 config.file(), *count);
  }
  const json::Object none;
  const json::Object& names = value->as_object() == nullptr ? none : *value->as_object();
  labels.resize(names.size());
  std::size_t num_named = 0;
  for (const json::Member& member : names) {
    std::size_t idx = 0;
    const char* end = member.key.data() + member.key.size();
    const auto [parsed, failure] = std::from_chars(member.key.data(), end, idx);
    if (failure != std::errc() || parsed != end || idx >= labels.size()) break;
    if (member.value.as_string() == nullptr || labels[idx].data() != nullptr) break;
    labels[idx] = *member.value.as_string();
    ++num_named;
  }
  if (labels.empty() || num_named != labels.size()) {
    return error(StatusCode::kDataLoss,
                 "{}: 'id2label' must be an object that names the labels 0, 1, ...", config.file());
  }
  return labels;
}

}  // namespace

Status translate_hf_labels(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto labels, labels_of(config));
  out.add_texts(family.metadata_key(kLabelsKey), labels);
  HEARTH_ASSIGN_OR_RETURN(const std::string_view scores, score_activation(config, labels.size()));
  out.add_text(family.metadata_key(kScoreActivationKey), scores);
  return {};
}

}  // namespace hearth
