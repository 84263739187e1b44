#include "cli/served_models.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "base/option_value.h"
#include "cli/model_report.h"
#include "cli/terminal.h"
#include "engine/served_model.h"

namespace hearth {
namespace {

std::string limits_text(const ServedModel& model, const EngineOptions& engine) {
  if (const EmbeddingEngine* embedder = model.embedder(); embedder != nullptr) {
    const std::size_t max_len = embedder->max_model_len();
    return fmt::format("{} tokens per text, {} tokens per batch", max_len,
                       std::max(engine.max_num_batched_tokens, max_len));
  }
  return fmt::format("{} tokens per sequence, {} sequences, {} tokens per step",
                     model.engine().max_model_len(), engine.max_num_seqs,
                     engine.max_num_batched_tokens);
}

std::string_view model_note(const ServedModel& model) {
  if (model.embedder() != nullptr) {
    return model.embedder()->config().is_classifier() ? ", gives scores" : ", gives vectors";
  }
  return model.chat_template() != nullptr ? "" : ", no chat template";
}

StartupNotes::Rows rows_of(const ServedModel& model, const EngineOptions& options) {
  const ModelReport report = make_report(model.file());
  const MemoryBudget& memory = model.memory();
  const std::string keys_and_values =
      fmt::format(", keys and values {} ({})", human_bytes(memory.kv_cache_bytes),
                  kv_cache_dtype_name(options.kv_cache_dtype));
  return {
      {"  model", fmt::format("{}: {}, {} parameters, {}{}", single_line(model.name()),
                              single_line(report.architecture), human_count(report.num_parameters),
                              report.main_type(), model_note(model))},
      {"  device", std::string(model.device_description())},
      {"  limits", limits_text(model, options)},
      {"  memory", fmt::format("weights {}{}, activations {}", human_bytes(memory.weight_bytes),
                               model.embedder() != nullptr ? "" : keys_and_values,
                               human_bytes(memory.activation_bytes))}};
}

Result<LoadedModel> load_model(const ServedModelOptions& options, const ServingContext& context) {
  HEARTH_ASSIGN_OR_RETURN(std::unique_ptr<ServedModel> loaded,
                          ServedModel::load(options, context.metrics));
  const std::shared_ptr<ServedModel> model = std::move(loaded);
  context.notes.set(model->name(), rows_of(*model, options.engine));
  return LoadedModel{.ref = ModelRef::of(*model),
                     .owner = model,
                     .memory_bytes = model->memory().total_bytes(),
                     .intact = [raw = model.get()] { return raw->intact(); }};
}

ModelSpec make_spec(const ModelArgument& argument, std::vector<std::string> names,
                    const ServingContext& context) {
  const auto resolve = [context, argument, name = names.front()] {
    Result<ServedModelOptions> options = context.flags.resolve(argument.model);
    if (options.has_value()) options->served_name = name;
    return options;
  };
  ModelSpec spec;
  spec.names = std::move(names);
  spec.source = argument.model;
  spec.estimate = [resolve]() -> Result<std::size_t> {
    HEARTH_ASSIGN_OR_RETURN(const ServedModelOptions options, resolve());
    return ServedModel::least_memory(options);
  };
  spec.load = [resolve, context](std::size_t budget_bytes) -> Result<LoadedModel> {
    HEARTH_ASSIGN_OR_RETURN(ServedModelOptions options, resolve());
    options.engine.memory_bytes = budget_bytes;
    return load_model(options, context);
  };
  return spec;
}

}  // namespace

Result<ModelArgument> parse_model_argument(std::string_view text) {
  ModelArgument argument;
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || text.find('/') < equals) {
    argument.model = text;
  } else {
    HEARTH_ASSIGN_OR_RETURN(argument.names, option_value::parse_list(text.substr(0, equals)));
    argument.model = text.substr(equals + 1);
    if (argument.names.empty()) {
      return error(StatusCode::kInvalidArgument, "'{}' has no name before its '='", text);
    }
  }
  if (argument.model.empty()) {
    return error(StatusCode::kInvalidArgument, "'{}' names no model", text);
  }
  return argument;
}

void StartupNotes::set(const std::string& name, Rows rows) {
  const std::lock_guard lock(mutex_);
  rows_[name] = std::move(rows);
}

StartupNotes::Rows StartupNotes::get(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = rows_.find(name);
  return found == rows_.end() ? Rows() : found->second;
}

Result<std::vector<ModelSpec>> model_specs(const std::vector<ModelArgument>& arguments,
                                           const ServingContext& context) {
  std::vector<ModelSpec> specs;
  std::set<std::string> known;
  for (const ModelArgument& argument : arguments) {
    HEARTH_ASSIGN_OR_RETURN(const ServedModelOptions found, context.flags.resolve(argument.model));
    std::vector<std::string> names = argument.names;
    if (names.empty()) {
      names = {found.served_name.empty() ? default_model_name(found.path) : found.served_name};
    }
    for (const std::string& name : names) {
      if (known.insert(name).second) continue;
      return error(StatusCode::kInvalidArgument,
                   "two models are called '{}'; tell them apart as NAME=MODEL", name);
    }
    specs.push_back(make_spec(argument, std::move(names), context));
  }
  return specs;
}

}  // namespace hearth
