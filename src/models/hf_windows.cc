#include "models/hf_windows.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "models/hf_config.h"
#include "models/hf_families.h"

namespace hearth {
namespace {

constexpr std::uint32_t kUnrotatedPeriod = 4;

bool is_rotated(std::uint32_t layer) {
  return (layer + 1) % kUnrotatedPeriod != 0;
}

Result<std::uint32_t> layer_count(const HfObject& config) {
  constexpr std::uint32_t kMax = 4096;  // One flag is kept for each.
  HEARTH_ASSIGN_OR_RETURN(const auto count, config.required_size("num_hidden_layers"));
  if (count > kMax) {
    return error(StatusCode::kDataLoss, "{}: 'num_hidden_layers' is {}; it must be 1 to {}",
                 config.file(), count, kMax);
  }
  return count;
}

// nullopt where the model has no window.
Result<std::optional<std::uint32_t>> window_size(const HfObject& config, const HfWindows& rule) {
  if (rule.must_be_used) {
    HEARTH_ASSIGN_OR_RETURN(const auto used, config.flag("use_sliding_window"));
    if (!used.value_or(false)) return std::nullopt;
  }
  if (rule.must_be_stated && config.is_null("sliding_window")) {
    return error(StatusCode::kDataLoss, "{}: 'sliding_window' is null, but some layers need one",
                 config.file());
  }
  HEARTH_ASSIGN_OR_RETURN(auto size, config.size("sliding_window"));
  if (!size && !config.is_null("sliding_window") && rule.size > 0) size = rule.size;
  return size;
}

// `max_window_layers`; the default is that of every class that has it.
Result<std::int64_t> window_border(const HfObject& config) {
  std::int64_t border = 28;
  const json::Value* stated = config.find("max_window_layers");
  if (stated != nullptr && !stated->to_int64(border)) {
    return error(StatusCode::kDataLoss, "{}: 'max_window_layers' is no integer", config.file());
  }
  return border;
}

template <typename Has>
std::vector<bool> flags(std::uint32_t count, Has has) {
  std::vector<bool> windowed(count);
  for (std::uint32_t i = 0; i < count; ++i)
    windowed[i] = has(i);
  return windowed;
}

Result<std::vector<bool>> implied_layers(const HfObject& config, const HfWindows& rule,
                                         std::uint32_t count) {
  HEARTH_ASSIGN_OR_RETURN(const std::int64_t border, window_border(config));
  switch (rule.layers) {
    case HfWindowedLayers::kNone:
      return std::vector<bool>(count, false);
    case HfWindowedLayers::kAll:
      return std::vector<bool>(count, true);
    case HfWindowedLayers::kUpper:
      return flags(count, [&](std::uint32_t i) { return i >= border; });
    case HfWindowedLayers::kLowerEvenly:
      return flags(count, [&](std::uint32_t i) { return i % 2 == 0 && i < border; });
    case HfWindowedLayers::kUnrotated:
      return flags(count, [](std::uint32_t i) { return !is_rotated(i); });
    case HfWindowedLayers::kEverySecond:
      return flags(count, [](std::uint32_t i) { return i % 2 == 0; });
    case HfWindowedLayers::kAllButLastOfGroup: {
      HEARTH_ASSIGN_OR_RETURN(const auto stated, config.size("sliding_window_pattern"));
      const std::uint32_t period = stated.value_or(rule.period);
      return flags(count, [&](std::uint32_t i) { return (i + 1) % period != 0; });
    }
    case HfWindowedLayers::kAllButFirstOfGroup: {
      HEARTH_ASSIGN_OR_RETURN(const auto stated, config.size("global_attn_every_n_layers"));
      const std::uint32_t period = stated.value_or(rule.period);
      return flags(count, [&](std::uint32_t i) { return i % period != 0; });
    }
  }
  return std::vector<bool>(count, false);
}

Result<std::vector<bool>> listed_layers(const HfObject& config, std::uint32_t count) {
  const json::Array* kinds = config.find("layer_types")->as_array();
  if (kinds == nullptr || kinds->size() != count) {
    return error(StatusCode::kDataLoss,
                 "{}: 'layer_types' must be a list of 'num_hidden_layers' ({}) names",
                 config.file(), count);
  }
  std::vector<bool> windowed;
  for (const json::Value& kind : *kinds) {
    const bool local = kind == json::Value("sliding_attention");
    if (!local && !(kind == json::Value("full_attention"))) {
      return error(StatusCode::kUnimplemented,
                   "{}: 'layer_types' may only hold sliding_attention and full_attention",
                   config.file());
    }
    windowed.push_back(local);
  }
  return windowed;
}

Result<std::vector<bool>> windowed_layers(const HfObject& config, const HfFamily& family,
                                          bool has_window) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t count, layer_count(config));
  const HfWindows rule = has_window ? family.windows : HfWindows();
  if (!config.has("layer_types")) return implied_layers(config, rule, count);
  HEARTH_ASSIGN_OR_RETURN(auto listed, listed_layers(config, count));
  if (!has_window && std::ranges::find(listed, true) != listed.end()) {
    return error(StatusCode::kUnimplemented,
                 "{}: 'layer_types' holds sliding_attention, but {} there is no window to use",
                 config.file(),
                 family.windows.must_be_used ? "by 'use_sliding_window' and 'sliding_window'"
                                             : "by 'sliding_window'");
  }
  if (family.windows.listed) return listed;
  HEARTH_ASSIGN_OR_RETURN(const auto implied, implied_layers(config, rule, count));
  if (listed != implied) {
    return error(StatusCode::kUnimplemented,
                 "{}: 'layer_types' differs from the layers with a window that {} has by its other "
                 "keys; the class does not read it",
                 config.file(), family.class_name);
  }
  return listed;
}

}  // namespace

Status translate_hf_windows(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  const HfWindows& rule = family.windows;
  if (rule.layers == HfWindowedLayers::kNone) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto window, window_size(config, rule));
  HEARTH_ASSIGN_OR_RETURN(auto windowed, windowed_layers(config, family, window.has_value()));
  if (window) out.add_size(family.metadata_key("attention.sliding_window"), *window);
  out.add(family.metadata_key("attention.sliding_window_pattern"), std::move(windowed));
  return {};
}

Status check_hf_unrotated_layers(const HfObject& config) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t count, layer_count(config));
  const json::Value* value = config.find("no_rope_layers");
  if (value == nullptr) {
    HEARTH_ASSIGN_OR_RETURN(const auto interval, config.size("no_rope_layer_interval"));
    if (interval.value_or(kUnrotatedPeriod) == kUnrotatedPeriod) return {};
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'no_rope_layer_interval' is {}; only {} is supported", config.file(),
                       *interval, kUnrotatedPeriod);
  }
  const json::Array* rotated = value->as_array();
  if (rotated == nullptr || rotated->size() != count) {
    return make_status(StatusCode::kDataLoss,
                       "{}: 'no_rope_layers' must be a list of 'num_hidden_layers' ({}) numbers",
                       config.file(), count);
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    std::int64_t flag = -1;
    if (!(*rotated)[i].to_int64(flag) || flag != (is_rotated(i) ? 1 : 0)) {
      return make_status(StatusCode::kUnimplemented,
                         "{}: 'no_rope_layers' is not {} for layer {}; only every {}th layer of "
                         "all can go unrotated",
                         config.file(), is_rotated(i) ? 1 : 0, i, kUnrotatedPeriod);
    }
  }
  return {};
}

}  // namespace hearth
