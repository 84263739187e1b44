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
#include "models/hf_files.h"

namespace hearth {
namespace {

constexpr std::string_view kTransformerName = "sentence_bert_config.json";
constexpr std::string_view kPromptsName = "config_sentence_transformers.json";

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

// What becomes of a sequence's vectors, in the order of modules.json.
struct Modules {
  std::string pooling_path;
  bool normalize = false;
};

// "sentence_transformers.models.Pooling": the last part is the kind.
Status add_module(std::string_view kind, std::string_view path, Modules& modules) {
  if (kind == "Transformer") {
    if (path.empty()) return {};
    return make_status(StatusCode::kUnimplemented,
                       "{}: the transformer lies in '{}'; only the directory itself is supported",
                       kHfModulesName, path);
  }
  const bool first = modules.pooling_path.empty();
  if (kind == "Pooling" && first && !modules.normalize) {
    modules.pooling_path = path;
    return {};
  }
  if (kind == "Normalize" && !first) {
    modules.normalize = true;
    return {};
  }
  return make_status(StatusCode::kUnimplemented,
                     "{}: module '{}' is not supported there; supported: Transformer, Pooling, "
                     "Normalize, in this order",
                     kHfModulesName, kind);
}

// A path that stays within the directory.
bool is_plain(std::string_view path) {
  return !path.empty() && path.find('/') == std::string_view::npos && path != "." && path != ".." &&
         path.find('\0') == std::string_view::npos;
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
  if (!is_plain(modules.pooling_path)) {
    return error(StatusCode::kDataLoss, "{}: {}", kHfModulesName,
                 modules.pooling_path.empty()
                     ? "there is no module 'Pooling'"
                     : fmt::format("'{}' is no folder of the directory", modules.pooling_path));
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
  out.add(family.metadata_key(kNormalizeKey), modules.normalize);
  return {};
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
    out.add(family.metadata_key(kNormalizeKey), false);
  }
  HEARTH_RETURN_IF_ERROR(translate_length(directory, family, out));
  HEARTH_RETURN_IF_ERROR(translate_shorter(config, family, out));
  return translate_settings(directory, family, out);
}

}  // namespace hearth
