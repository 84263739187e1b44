#include "models/hf_sentence.h"

#include <fmt/ranges.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "models/encoder_config.h"
#include "models/hf_dense.h"
#include "models/hf_files.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxModules = 8;  // Behind pooling.
constexpr std::string_view kTransformerName = "sentence_bert_config.json";
constexpr std::string_view kPromptsName = "config_sentence_transformers.json";

enum class ModuleKind : std::uint8_t { kNormalize, kDense };

struct PoolingMode {
  std::string_view flag;  // In files of before version 5.
  std::string_view name;  // Of `pooling_mode` since then.
  std::optional<std::uint32_t> type;
};

constexpr std::array kModes = {
    PoolingMode{"pooling_mode_cls_token", "cls", kPoolingCls},
    PoolingMode{"pooling_mode_mean_tokens", "mean", kPoolingMean},
    PoolingMode{"pooling_mode_lasttoken", "lasttoken", kPoolingLast},
    PoolingMode{"pooling_mode_max_tokens", "max", std::nullopt},
    PoolingMode{"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", std::nullopt},
    PoolingMode{"pooling_mode_weightedmean_tokens", "weightedmean", std::nullopt},
};

struct Module {
  ModuleKind kind = ModuleKind::kNormalize;
  std::string path;  // Of a dense layer.
};

// What becomes of a sequence's vectors, in the order of modules.json.
struct Modules {
  std::string pooling_path;
  std::vector<Module> behind;  // Pooling.
};

// "sentence_transformers.models.Pooling": the last part is the kind.
Status add_module(std::string_view kind, std::string_view path, Modules& modules) {
  if (kind == "Transformer") {
    if (path.empty()) return {};
    return make_status(StatusCode::kUnimplemented,
                       "{}: the transformer lies in '{}'; only the directory itself is supported",
                       kHfModulesName, path);
  }
  const bool pooled = !modules.pooling_path.empty();
  if (kind == "Pooling" && !pooled) {
    modules.pooling_path = path;
    return {};
  }
  const bool dense = kind == "Dense";
  if (pooled && (dense || kind == "Normalize") && modules.behind.size() < kMaxModules) {
    modules.behind.push_back({dense ? ModuleKind::kDense : ModuleKind::kNormalize,
                              dense ? std::string(path) : std::string()});
    return {};
  }
  return make_status(
      StatusCode::kUnimplemented,
      "{}: module '{}' is not supported there; supported: Transformer, Pooling, then "
      "up to {} of Dense and Normalize",
      kHfModulesName, kind, kMaxModules);
}

// A path that stays within the directory.
Status check_folder(std::string_view path) {
  if (!path.empty() && path.find('/') == std::string_view::npos && path != "." && path != ".." &&
      path.find('\0') == std::string_view::npos) {
    return {};
  }
  return make_status(StatusCode::kDataLoss, "{}: '{}' is no folder of the directory",
                     kHfModulesName, path);
}

Result<Modules> read_modules(const std::filesystem::path& directory) {
  HEARTH_ASSIGN_OR_RETURN(const json::Value value,
                          read_hf_json(directory, kHfModulesName, kMaxHfConfigBytes));
  const json::Array* list = value.as_array();
  if (list == nullptr) {
    return error(StatusCode::kDataLoss, "{} is of JSON type {}, not an array", kHfModulesName,
                 value.type_name());
  }
  Modules modules;
  for (const json::Value& item : *list) {
    if (item.as_object() == nullptr) {
      return error(StatusCode::kDataLoss, "{} holds something that is no object", kHfModulesName);
    }
    const HfObject module(*item.as_object(), kHfModulesName);
    HEARTH_ASSIGN_OR_RETURN(const auto type, module.text("type"));
    HEARTH_ASSIGN_OR_RETURN(const auto path, module.text("path"));
    if (!type || !path) {
      return error(StatusCode::kDataLoss, "{}: a module lacks 'type' or 'path'", kHfModulesName);
    }
    HEARTH_RETURN_IF_ERROR(add_module(type->substr(type->rfind('.') + 1), *path, modules));
  }
  if (modules.pooling_path.empty()) {
    return error(StatusCode::kDataLoss, "{}: there is no module 'Pooling'", kHfModulesName);
  }
  HEARTH_RETURN_IF_ERROR(check_folder(modules.pooling_path));
  for (const Module& module : modules.behind) {
    if (module.kind == ModuleKind::kDense) HEARTH_RETURN_IF_ERROR(check_folder(module.path));
  }
  return modules;
}

Result<std::vector<std::string_view>> chosen_modes(const HfObject& pooling) {
  std::vector<std::string_view> chosen;
  HEARTH_ASSIGN_OR_RETURN(const auto named, pooling.text("pooling_mode"));
  if (named) chosen.push_back(*named);
  for (const PoolingMode& mode : kModes) {
    HEARTH_ASSIGN_OR_RETURN(const auto on, pooling.flag(mode.flag));
    if (!named && on.value_or(false)) chosen.push_back(mode.name);
  }
  return chosen;
}

Result<std::uint32_t> pooling_type(const HfObject& pooling) {
  HEARTH_ASSIGN_OR_RETURN(const auto chosen, chosen_modes(pooling));
  HEARTH_ASSIGN_OR_RETURN(const auto prompts, pooling.flag("include_prompt"));
  if (!prompts.value_or(true)) {
    return error(StatusCode::kUnimplemented,
                 "{}: 'include_prompt' is false, which is not supported", pooling.file());
  }
  for (const PoolingMode& mode : kModes) {
    if (chosen.size() == 1 && chosen.front() == mode.name && mode.type) return *mode.type;
  }
  return error(StatusCode::kUnimplemented,
               "{}: pooling by {} is not supported; supported: one of cls, mean, lasttoken",
               pooling.file(),
               chosen.empty() ? "nothing" : fmt::format("{}", fmt::join(chosen, " and ")));
}

// Dense layers are numbered as the modules of those models are that llama.cpp's converter knows:
// "dense_2", "dense_3".
std::string dense_role(std::size_t idx) {
  return fmt::format("dense_{}", idx + 2);
}

Status translate_behind(const std::filesystem::path& directory, const std::vector<Module>& modules,
                        std::uint32_t width, const HfFamily& family, MetadataWriter& out) {
  std::vector<std::string> names;
  std::vector<std::string_view> activations;
  for (const Module& module : modules) {
    if (module.kind == ModuleKind::kNormalize) {
      names.emplace_back(kUnitLengthModule);
      continue;
    }
    HEARTH_ASSIGN_OR_RETURN(const HfDense dense, read_hf_dense({directory, module.path}));
    if (dense.in_features != width) {
      return make_status(StatusCode::kDataLoss,
                         "{}/config.json: 'in_features' is {}, but vectors "
                         "have {} numbers there",
                         module.path, dense.in_features, width);
    }
    width = dense.out_features;
    names.push_back(dense_role(activations.size()));
    activations.push_back(dense.activation);
  }
  const std::vector<std::string_view> listed(names.begin(), names.end());
  out.add_texts(family.metadata_key(kModulesKey), listed);
  out.add_texts(family.metadata_key(kDenseActivationsKey), activations);
  return {};
}

Status translate_pooling(const std::filesystem::path& directory, const HfObject& config,
                         const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const Modules modules, read_modules(directory));
  const std::string name = fmt::format("{}/config.json", modules.pooling_path);
  HEARTH_ASSIGN_OR_RETURN(const json::Object object,
                          read_hf_object(directory, name, kMaxHfConfigBytes));
  const HfObject pooling(object, name);
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t type, pooling_type(pooling));
  HEARTH_ASSIGN_OR_RETURN(const auto hidden, config.required_size("hidden_size"));
  for (const std::string_view key : {"word_embedding_dimension", "embedding_dimension"}) {
    HEARTH_ASSIGN_OR_RETURN(const auto width, pooling.size(key));
    if (width.value_or(hidden) == hidden) continue;
    return make_status(StatusCode::kDataLoss, "{}: '{}' is {}, but 'hidden_size' of {} is {}", name,
                       key, *width, config.file(), hidden);
  }
  out.add_size(family.metadata_key(kPoolingTypeKey), type);
  return translate_behind(directory, modules.behind, hidden, family, out);
}

Status translate_length(const std::filesystem::path& directory, const HfFamily& family,
                        MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const json::Object object,
                          read_optional_hf_object(directory, kTransformerName, kMaxHfConfigBytes));
  const HfObject transformer(object, kTransformerName);
  HEARTH_ASSIGN_OR_RETURN(const auto lower, transformer.flag("do_lower_case"));
  if (lower.value_or(false)) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'do_lower_case' is true, which is not supported", kTransformerName);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto length, transformer.size("max_seq_length"));
  if (length) out.add_size(family.metadata_key(kMaxTokensKey), *length);
  return {};
}

Status translate_settings(const std::filesystem::path& directory, const HfFamily& family,
                          MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const json::Object object,
                          read_optional_hf_object(directory, kPromptsName, kMaxHfConfigBytes));
  const HfObject settings(object, kPromptsName);
  HEARTH_ASSIGN_OR_RETURN(const auto length, settings.size("truncate_dim"));
  if (length) out.add_size(family.metadata_key(kUsualLengthKey), *length);
  // Reading the plan says so if there is no prompt of that name.
  HEARTH_ASSIGN_OR_RETURN(const auto fallback, settings.text("default_prompt_name"));
  if (fallback) out.add_text(family.metadata_key(kDefaultPromptKey), *fallback);
  const json::Value* prompts = settings.find("prompts");
  if (prompts == nullptr) return {};
  if (prompts->as_object() == nullptr) {
    return make_status(StatusCode::kDataLoss, "{}: 'prompts' is no object", kPromptsName);
  }
  std::vector<std::string_view> names;
  std::vector<std::string_view> texts;
  for (const json::Member& prompt : *prompts->as_object()) {
    if (prompt.value.as_string() == nullptr) {
      return make_status(StatusCode::kDataLoss, "{}: prompt '{}' is no string", kPromptsName,
                         prompt.key);
    }
    names.push_back(prompt.key);
    texts.push_back(*prompt.value.as_string());
  }
  out.add_texts(family.metadata_key(kPromptNamesKey), names);
  out.add_texts(family.metadata_key(kPromptTextsKey), texts);
  return {};
}

// As config.json spells it, which is what vLLM reads.
Status translate_shorter(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto any, config.flag("is_matryoshka"));
  if (any) out.add(family.metadata_key(kAnyShorterKey), *any);
  if (!config.has("matryoshka_dimensions")) return {};
  HEARTH_ASSIGN_OR_RETURN(auto lengths, config.ids("matryoshka_dimensions"));
  out.add(family.metadata_key(kShorterKey), std::move(lengths));
  return {};
}

}  // namespace

Status translate_hf_sentence_files(const std::filesystem::path& directory, const HfObject& config,
                                   const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const bool has_modules, file_exists(directory / kHfModulesName));
  if (has_modules) {
    HEARTH_RETURN_IF_ERROR(translate_pooling(directory, config, family, out));
  } else {
    out.add_size(family.metadata_key(kPoolingTypeKey), kPoolingMean);
    out.add_texts(family.metadata_key(kModulesKey), {});
  }
  HEARTH_RETURN_IF_ERROR(translate_length(directory, family, out));
  HEARTH_RETURN_IF_ERROR(translate_shorter(config, family, out));
  return translate_settings(directory, family, out);
}

Status add_hf_sentence_tensors(const std::filesystem::path& directory, ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(const bool has_modules, file_exists(directory / kHfModulesName));
  if (!has_modules) return {};
  HEARTH_ASSIGN_OR_RETURN(const Modules modules, read_modules(directory));
  std::size_t num_dense = 0;
  for (const Module& module : modules.behind) {
    if (module.kind != ModuleKind::kDense) continue;
    HEARTH_RETURN_IF_ERROR(
        add_hf_dense_tensors({directory, module.path}, dense_role(num_dense++), content));
  }
  return {};
}

}  // namespace hearth
