#include "models/hf_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace hearth {
namespace {

constexpr std::string_view kShownTypes = "default, linear, dynamic, yarn, llama3 and longrope";

Status check_heads(const HfObject& config) {
  HEARTH_ASSIGN_OR_RETURN(const auto hidden, config.required_size("hidden_size"));
  HEARTH_ASSIGN_OR_RETURN(const auto heads, config.required_size("num_attention_heads"));
  HEARTH_ASSIGN_OR_RETURN(const auto kv_heads, config.size("num_key_value_heads"));
  HEARTH_ASSIGN_OR_RETURN(const auto head_dim, config.size("head_dim"));
  if (!head_dim && hidden % heads != 0) {
    return make_status(StatusCode::kDataLoss,
                       "{}: 'hidden_size' ({}) is not a multiple of 'num_attention_heads' ({})",
                       config.file(), hidden, heads);
  }
  if (kv_heads && heads % *kv_heads != 0) {
    return make_status(
        StatusCode::kDataLoss,
        "{}: 'num_attention_heads' ({}) is not a multiple of 'num_key_value_heads' ({})",
        config.file(), heads, *kv_heads);
  }
  return {};
}

Status check_activation(const HfObject& config, const HfFamily& family) {
  if (family.activations.empty()) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto activation, config.text(family.activation_key));
  if (!activation || std::ranges::find(family.activations, *activation) != family.activations.end())
    return {};
  return make_status(StatusCode::kUnimplemented, "{}: '{}' is '{}'; {} is supported with '{}'",
                     config.file(), family.activation_key, *activation, family.class_name,
                     fmt::join(family.activations, "', '"));
}

Status check_refused(const HfObject& config, const HfFamily& family) {
  for (const std::string_view key : family.refused) {
    const json::Value* value = config.find(key);
    if (value == nullptr || *value == json::Value(false)) continue;
    return make_status(StatusCode::kUnimplemented, "{}: '{}' is {}; {} is supported without it",
                       config.file(), key, json::dump(*value), family.class_name);
  }
  return {};
}

Status check_causal(const HfObject& config, const HfFamily& family) {
  if (family.is_encoder()) return {};  // Its own translation looks at that.
  HEARTH_ASSIGN_OR_RETURN(const auto both_ways, config.flag("use_bidirectional_attention"));
  HEARTH_ASSIGN_OR_RETURN(const auto causal, config.flag("is_causal"));
  if (!both_ways.value_or(false) && causal.value_or(true)) return {};
  return make_status(StatusCode::kUnimplemented,
                     "{}: '{}' is {}; attention to later tokens is not supported", config.file(),
                     both_ways.value_or(false) ? "use_bidirectional_attention" : "is_causal",
                     both_ways.value_or(false));
}

Status translate_key(const HfObject& config, const HfKey& key, std::string_view metadata_key,
                     MetadataWriter& out) {
  switch (key.kind) {
    case HfKeyKind::kSize: {
      HEARTH_ASSIGN_OR_RETURN(const auto value, config.size(key.name));
      out.add_size(metadata_key, *value);
      return {};
    }
    case HfKeyKind::kCount: {
      HEARTH_ASSIGN_OR_RETURN(const auto value, config.count(key.name));
      out.add_size(metadata_key, *value);
      return {};
    }
    case HfKeyKind::kNumber: {
      HEARTH_ASSIGN_OR_RETURN(const auto value, config.number(key.name));
      out.add(metadata_key, *value);
      return {};
    }
    case HfKeyKind::kFlag: {
      HEARTH_ASSIGN_OR_RETURN(const auto value, config.flag(key.name));
      out.add(metadata_key, *value);
      return {};
    }
  }
  return {};
}

Status translate_keys(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  for (const HfKey& key : family.keys) {
    if (config.has(key.name)) {
      HEARTH_RETURN_IF_ERROR(
          translate_key(config, key, family.metadata_key(key.metadata_key), out));
    } else if (key.required) {
      return make_status(StatusCode::kDataLoss, "{}: key '{}' is missing", config.file(), key.name);
    }
  }
  return {};
}

Status check_rope_objects(const HfObject& config, const HfFamily& family,
                          const std::optional<HfObject>& parameters) {
  if (!parameters) return {};
  const json::Value* older = config.find("rope_scaling");
  if (older != nullptr && !(*older == *config.find("rope_parameters"))) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'rope_scaling' and 'rope_parameters' are both there and differ",
                       config.file());
  }
  const bool nested = parameters->has("full_attention") || parameters->has("sliding_attention");
  if (nested == family.rope.per_kind) return {};
  return make_status(StatusCode::kUnimplemented,
                     "{}: 'rope_parameters' {} objects 'full_attention' and 'sliding_attention', "
                     "which {} {}",
                     config.file(), nested ? "holds" : "holds no", family.class_name,
                     nested ? "does not read" : "needs");
}

// The object that describes the rotation: `rope_parameters`, or `rope_scaling` in older files.
// Where layers with and without a window differ, it holds one object for each kind.
Result<std::optional<HfObject>> rope_object(const HfObject& config, const HfFamily& family,
                                            std::string_view kind = "full_attention") {
  HEARTH_ASSIGN_OR_RETURN(auto parameters, config.object("rope_parameters"));
  HEARTH_RETURN_IF_ERROR(check_rope_objects(config, family, parameters));
  if (!parameters) return config.object("rope_scaling");
  return family.rope.per_kind ? parameters->object(kind) : parameters;
}

Result<std::string_view> rope_type(const HfObject& rope) {
  HEARTH_ASSIGN_OR_RETURN(const auto type, rope.text("rope_type"));
  if (type) return *type;
  HEARTH_ASSIGN_OR_RETURN(const auto older, rope.text("type"));
  return older.value_or("default");
}

Result<double> rope_number(const HfObject& rope, std::string_view key) {
  HEARTH_ASSIGN_OR_RETURN(const auto value, rope.number(key));
  if (!value || *value <= 0.0) {
    return error(StatusCode::kDataLoss, "{}: '{}' of the rope scaling is {}; it must be above 0",
                 rope.file(), key, value ? fmt::format("{}", *value) : "missing");
  }
  return *value;
}

// Stated in the rope scaling or beside it.
Result<std::optional<std::uint32_t>> original_context(const HfObject& config, const HfObject& rope,
                                                      const HfFamily& family) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  HEARTH_ASSIGN_OR_RETURN(const auto inside, rope.size(kKey));
  HEARTH_ASSIGN_OR_RETURN(auto beside, config.size(kKey));
  if (!beside && family.rope.original_context > 0) beside = family.rope.original_context;
  // Parameters of one kind of layers are complete by themselves.
  const bool compared = inside.has_value() || family.rope.per_kind;
  if (beside && compared && beside != inside) {
    return error(StatusCode::kUnimplemented,
                 "{}: '{}' is {} in the rope scaling, but {} beside it{}", config.file(), kKey,
                 inside ? fmt::format("{}", *inside) : "missing", *beside,
                 config.has(kKey) ? "" : " by default");
  }
  return beside ? beside : inside;
}

Result<double> rope_theta(const HfObject& config, const HfFamily& family) {
  HEARTH_ASSIGN_OR_RETURN(const auto rope, rope_object(config, family));
  HEARTH_ASSIGN_OR_RETURN(auto theta, config.number("rope_theta"));
  if (rope && rope->has("rope_theta")) {
    HEARTH_ASSIGN_OR_RETURN(theta, rope->number("rope_theta"));
  }
  if (theta && *theta <= 0.0) {
    return error(StatusCode::kDataLoss, "{}: 'rope_theta' is {}; it must be above 0", config.file(),
                 *theta);
  }
  return theta.value_or(family.rope.theta);
}

Result<std::uint32_t> head_dim_of(const HfObject& config) {
  constexpr std::uint32_t kMaxHeadDim = 1u << 16;
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.size("head_dim"));
  HEARTH_ASSIGN_OR_RETURN(const auto hidden, config.required_size("hidden_size"));
  HEARTH_ASSIGN_OR_RETURN(const auto heads, config.required_size("num_attention_heads"));
  const std::uint32_t head_dim = stated.value_or(hidden / heads);
  if (head_dim == 0 || head_dim > kMaxHeadDim) {
    return error(StatusCode::kDataLoss, "{}: heads have {} values; 1 to {} are supported",
                 config.file(), head_dim, kMaxHeadDim);
  }
  return head_dim;
}

// How many leading values of a head are rotated.
Result<std::uint32_t> rope_dim_of(const HfObject& config, const HfFamily& family) {
  if (!family.rope.dim_key.empty()) return config.required_size(family.rope.dim_key);
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t head_dim, head_dim_of(config));
  HEARTH_ASSIGN_OR_RETURN(const auto rope, rope_object(config, family));
  HEARTH_ASSIGN_OR_RETURN(auto part, config.number("partial_rotary_factor"));
  if (rope && rope->has("partial_rotary_factor")) {
    HEARTH_ASSIGN_OR_RETURN(part, rope->number("partial_rotary_factor"));
  }
  if (!family.rope.partial) {
    // The class rotates whole heads, but would compute the frequencies of a scaling for less.
    if (part.value_or(1.0) == 1.0 || !rope) return head_dim;
    HEARTH_ASSIGN_OR_RETURN(const std::string_view type, rope_type(*rope));
    if (type == "default") return head_dim;
    return error(StatusCode::kUnimplemented,
                 "{}: 'partial_rotary_factor' is {}; with rope scaling {} rotates whole heads only",
                 config.file(), *part, family.class_name);
  }
  const double share = part.value_or(family.rope.part);
  if (share <= 0.0 || share > 1.0) {
    return error(StatusCode::kDataLoss,
                 "{}: 'partial_rotary_factor' is {}; it must be above 0 and at most 1",
                 config.file(), share);
  }
  return static_cast<std::uint32_t>(static_cast<double>(head_dim) * share);
}

// YaRN's attention temperature for a context so many times as long as before.
double yarn_temperature(double factor, double scale = 1.0) {
  return factor > 1.0 ? 1.0 + 0.1 * scale * std::log(factor) : 1.0;
}

// Stated, or the quotient of two scaled ones where both scales are stated and not 0. The second one
// alone leaves it as it is without them, whatever a family makes of that scale elsewhere.
Result<std::optional<double>> yarn_attention(const HfObject& rope, double factor) {
  if (rope.has("attention_factor")) return rope_number(rope, "attention_factor");
  HEARTH_ASSIGN_OR_RETURN(const auto scale, rope.number("mscale"));
  HEARTH_ASSIGN_OR_RETURN(const auto all_dim, rope.number("mscale_all_dim"));
  if (all_dim.value_or(0.0) == 0.0) return std::nullopt;
  if (scale.value_or(0.0) == 0.0) return yarn_temperature(factor);
  return yarn_temperature(factor, *scale) / yarn_temperature(factor, *all_dim);
}

Status translate_yarn(const HfObject& config, const HfObject& rope, const HfFamily& family,
                      MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto stated, original_context(config, rope, family));
  HEARTH_ASSIGN_OR_RETURN(const auto context, config.required_size("max_position_embeddings"));
  const std::uint32_t original = stated.value_or(context);
  double factor = static_cast<double>(context) / original;
  if (!rope.is_null("factor")) {
    HEARTH_ASSIGN_OR_RETURN(factor, rope_number(rope, "factor"));
  }
  HEARTH_ASSIGN_OR_RETURN(const auto truncate, rope.flag("truncate"));
  out.add(family.metadata_key("rope.scaling.yarn_truncate"), truncate.value_or(true));
  out.add(family.metadata_key("rope.scaling.factor"), factor);
  out.add_size(family.metadata_key("rope.scaling.original_context_length"), original);
  constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kBetas = {
      {{"beta_fast", "rope.scaling.yarn_beta_fast"}, {"beta_slow", "rope.scaling.yarn_beta_slow"}}};
  for (const auto& [name, key] : kBetas) {
    if (!rope.has(name)) continue;
    HEARTH_ASSIGN_OR_RETURN(const double beta, rope_number(rope, name));
    out.add(family.metadata_key(key), beta);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto attention, yarn_attention(rope, factor));
  if (!attention) return {};
  // In the precision of a GGUF file, so that both give the same bits.
  const double whole = static_cast<float>(*attention);
  out.add(family.metadata_key("rope.scaling.attention_factor"), whole);
  return {};
}

// Rotation of the layers with a window, where it is another.
Status translate_local_rope(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  if (!family.rope.per_kind) return {};
  HEARTH_ASSIGN_OR_RETURN(auto theta, config.number("rope_local_base_freq"));
  HEARTH_ASSIGN_OR_RETURN(const auto parameters, config.object("rope_parameters"));
  if (parameters && parameters->has("sliding_attention")) {
    HEARTH_ASSIGN_OR_RETURN(const auto local, rope_object(config, family, "sliding_attention"));
    HEARTH_ASSIGN_OR_RETURN(const std::string_view type, rope_type(*local));
    if (type != "default") {
      return make_status(StatusCode::kUnimplemented,
                         "{}: rope scaling of layers with a window ('{}') is not supported",
                         config.file(), type);
    }
    if (local->has("rope_theta")) {
      HEARTH_ASSIGN_OR_RETURN(theta, local->number("rope_theta"));
    }
  }
  if (theta) out.add(family.metadata_key("rope.freq_base_swa"), *theta);
  return {};
}

// In the precision of a GGUF file, so that both give the same bits.
Status translate_magnitudes(const HfObject& rope, const HfFamily& family, MetadataWriter& out) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kMagnitudes = {
      {{"short_mscale", "rope.scaling.attn_factor"},
       {"long_mscale", "rope.scaling.long_attn_factor"}}};
  for (const auto& [name, key] : kMagnitudes) {
    HEARTH_ASSIGN_OR_RETURN(const double magnitude, rope_number(rope, name));
    out.add(family.metadata_key(key), static_cast<double>(static_cast<float>(magnitude)));
  }
  return {};
}

// Only changes rotations beyond `max_position_embeddings`, and no longer context is served.
Status check_dynamic(const HfObject& rope) {
  const auto factor = rope_number(rope, "factor");
  return factor.has_value() ? Status() : factor.error();
}

// The attention's magnitude that follows from how far the context was extended, unless stated.
Status translate_longrope(const HfObject& config, const HfObject& rope, const HfFamily& family,
                          MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto context, config.required_size("max_position_embeddings"));
  HEARTH_ASSIGN_OR_RETURN(const auto original, original_context(config, rope, family));
  if (!original) {
    return make_status(StatusCode::kDataLoss,
                       "{}: key 'original_max_position_embeddings' is missing", config.file());
  }
  out.add_size(family.metadata_key("rope.scaling.original_context_length"), *original);
  if (family.rope.own_magnitudes) return translate_magnitudes(rope, family, out);
  const double original_len = *original;
  HEARTH_ASSIGN_OR_RETURN(const auto stated_factor, rope.number("factor"));
  HEARTH_ASSIGN_OR_RETURN(const auto stated, rope.number("attention_factor"));
  const double factor = stated_factor.value_or(static_cast<double>(context) / original_len);
  const double usual =
      factor > 1.0 ? std::sqrt(1.0 + std::log(factor) / std::log(original_len)) : 1.0;
  // In the precision of a GGUF file, so that both give the same bits.
  const auto attention = static_cast<float>(stated.value_or(usual));
  out.add(family.metadata_key("rope.scaling.attn_factor"), static_cast<double>(attention));
  return {};
}

// The part of it that base_stretch() leaves: all waves are longer by the same factor.
Status translate_ntk(const HfObject& config, const HfObject& rope, const HfFamily& family,
                     MetadataWriter& out) {
  if (rope.has("mixed_b")) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'mixed_b' of the rope scaling is not supported", config.file());
  }
  HEARTH_ASSIGN_OR_RETURN(const double factor, rope_number(rope, "factor"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t dim, rope_dim_of(config, family));
  // In the precision of a GGUF file, so that both give the same bits.
  const double waves = static_cast<float>(std::pow(factor, 2.0 / dim));
  out.add_text(family.metadata_key("rope.scaling.type"), "linear");
  out.add(family.metadata_key("rope.scaling.factor"), waves);
  return {};
}

Status translate_scaling(const HfObject& config, const HfObject& rope, const HfFamily& family,
                         MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const std::string_view type, rope_type(rope));
  if (type == "default") return {};
  const bool is_long = type == "longrope" || type == "su";
  const bool is_known = is_long || type == "linear" || type == "dynamic" || type == "yarn" ||
                        type == "llama3" || (type == "ntk" && family.rope.fixed_ntk);
  if (!is_known || (family.rope.long_only && !is_long)) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: rope scaling of type '{}' is not supported; supported are {}",
                       config.file(), type,
                       family.rope.long_only ? "default and longrope" : kShownTypes);
  }
  if (type == "ntk") return translate_ntk(config, rope, family, out);
  if (type == "llama3") return {};  // Its divisors are a tensor.
  if (type == "dynamic") return check_dynamic(rope);
  out.add_text(family.metadata_key("rope.scaling.type"), is_long ? "longrope" : type);
  if (is_long) return translate_longrope(config, rope, family, out);
  if (type == "yarn") return translate_yarn(config, rope, family, out);
  HEARTH_ASSIGN_OR_RETURN(const double factor, rope_number(rope, "factor"));
  out.add(family.metadata_key("rope.scaling.factor"), factor);
  return {};
}

// NTK scaling by a fixed factor, which the files call ntk, or dynamic.
Result<double> base_stretch(const HfObject& config, const HfFamily& family,
                            std::uint32_t rope_dim) {
  HEARTH_ASSIGN_OR_RETURN(const auto rope, rope_object(config, family));
  if (!rope) return 1.0;
  HEARTH_ASSIGN_OR_RETURN(const std::string_view type, rope_type(*rope));
  if (family.rope.fixed_ntk && type == "ntk") return rope_number(*rope, "factor");
  if (!family.rope.stretched_base || !rope->has("alpha") || rope_dim <= 2) return 1.0;
  if (type != "dynamic") return 1.0;
  HEARTH_ASSIGN_OR_RETURN(const double alpha, rope_number(*rope, "alpha"));
  const double dim = rope_dim;
  return std::pow(alpha, dim / (dim - 2.0));
}

Status translate_rope(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  if (!family.rotates) return {};
  if (family.rope.required && !config.has("rope_parameters") && !config.has("rope_scaling")) {
    return make_status(StatusCode::kDataLoss, "{}: key 'rope_parameters' is missing",
                       config.file());
  }
  // The weights are used as they lie, not as a converter would have them.
  bool interleaved = family.rope.interleaved;
  if (!family.rope.interleaved_key.empty()) {
    HEARTH_ASSIGN_OR_RETURN(const auto stated, config.flag(family.rope.interleaved_key));
    interleaved = stated.value_or(interleaved);
  }
  out.add_text(family.metadata_key("rope.layout"), interleaved ? "interleaved" : "halves");
  HEARTH_ASSIGN_OR_RETURN(double theta, rope_theta(config, family));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t rope_dim, rope_dim_of(config, family));
  if (family.rope.stretched_base || family.rope.fixed_ntk) {
    HEARTH_ASSIGN_OR_RETURN(const double stretch, base_stretch(config, family, rope_dim));
    theta = static_cast<float>(theta * stretch);  // In the precision of a GGUF file.
  }
  out.add(family.metadata_key("rope.freq_base"), theta);
  out.add_size(family.metadata_key("rope.dimension_count"), rope_dim);
  HEARTH_RETURN_IF_ERROR(translate_local_rope(config, family, out));
  HEARTH_ASSIGN_OR_RETURN(const auto rope, rope_object(config, family));
  return rope ? translate_scaling(config, *rope, family, out) : Status();
}

// As the model's authors define it: wavelengths beyond the original context are stretched by
// `factor`, short ones kept, with a smooth passage between.
Result<std::vector<float>> llama3_factors(const HfObject& config, const HfObject& rope,
                                          const HfFamily& family) {
  HEARTH_ASSIGN_OR_RETURN(const double factor, rope_number(rope, "factor"));
  HEARTH_ASSIGN_OR_RETURN(const double low, rope_number(rope, "low_freq_factor"));
  HEARTH_ASSIGN_OR_RETURN(const double high, rope_number(rope, "high_freq_factor"));
  HEARTH_ASSIGN_OR_RETURN(const auto context, config.required_size("max_position_embeddings"));
  HEARTH_ASSIGN_OR_RETURN(const auto stated, original_context(config, rope, family));
  const double original = stated.value_or(context);
  if (high <= low) {
    return error(StatusCode::kDataLoss,
                 "{}: 'high_freq_factor' ({}) must be above 'low_freq_factor' ({})", config.file(),
                 high, low);
  }
  HEARTH_ASSIGN_OR_RETURN(const double theta, rope_theta(config, family));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t dim, rope_dim_of(config, family));
  std::vector<float> factors(dim / 2);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(dim);
    const double wavelength = 2.0 * std::numbers::pi * std::pow(theta, exponent);
    const double smooth = std::clamp((original / wavelength - low) / (high - low), 0.0, 1.0);
    factors[i] = static_cast<float>(1.0 / ((1.0 - smooth) / factor + smooth));
  }
  return factors;
}

Result<std::vector<float>> rope_list(const HfObject& config, const HfObject& rope,
                                     const HfFamily& family, std::string_view key) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t dim, rope_dim_of(config, family));
  const json::Value* value = rope.find(key);
  const json::Array* list = value == nullptr ? nullptr : value->as_array();
  if (list == nullptr || list->size() != dim / 2) {
    return error(StatusCode::kDataLoss, "{}: '{}' of the rope scaling must be a list of {} numbers",
                 config.file(), key, dim / 2);
  }
  std::vector<float> factors;
  for (const json::Value& item : *list) {
    double factor = 0.0;
    if (!item.to_double(factor) || factor <= 0.0) {
      return error(StatusCode::kDataLoss, "{}: '{}' holds something that is no number above 0",
                   config.file(), key);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

struct SamplingKey {
  std::string_view name;
  std::string_view metadata_key;
  double min;
  double max;
};

// The metadata keys are those of the GGUF specification.
constexpr std::array kSamplingKeys = {
    SamplingKey{"temperature", "general.sampling.temp", 0.0, 100.0},
    SamplingKey{"top_p", "general.sampling.top_p", 0.0, 1.0},
    SamplingKey{"top_k", "general.sampling.top_k", -1.0, 1e6},
    SamplingKey{"min_p", "general.sampling.min_p", 0.0, 1.0},
    SamplingKey{"repetition_penalty", "general.sampling.penalty_repeat", 0.0, 10.0},
};

Status translate_sampling(const HfObject& generation, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto do_sample, generation.flag("do_sample"));
  for (const SamplingKey& key : kSamplingKeys) {
    // Where sampling is off, what it would be sampled with means nothing.
    if (!do_sample.value_or(true) && key.name != "repetition_penalty") continue;
    HEARTH_ASSIGN_OR_RETURN(const auto value, generation.number(key.name));
    if (!value) continue;
    if (*value < key.min || *value > key.max) {
      return make_status(StatusCode::kDataLoss, "{}: '{}' is {}; it must be {} to {}",
                         generation.file(), key.name, *value, key.min, key.max);
    }
    out.add(key.metadata_key, *value);
  }
  return {};
}

}  // namespace

HfObject HfObject::with(std::span<const HfAlias> aliases) const {
  HfObject same = *this;
  same.aliases_ = aliases;
  return same;
}

const json::Value* HfObject::find(std::string_view key) const {
  const json::Value* value = object_.find(key);
  for (const HfAlias& alias : aliases_) {
    if (value == nullptr && alias.name == key) value = object_.find(alias.alias);
  }
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool HfObject::is_null(std::string_view key) const {
  const json::Value* value = object_.find(key);
  return value != nullptr && value->is_null();
}

std::vector<HfObject> HfObject::objects() const {
  std::vector<HfObject> objects;
  for (const json::Member& member : object_) {
    if (member.value.as_object() != nullptr) objects.emplace_back(*member.value.as_object(), file_);
  }
  return objects;
}

Status HfObject::check_aliases() const {
  for (const HfAlias& alias : aliases_) {
    const json::Value* value = object_.find(alias.name);
    const json::Value* other = object_.find(alias.alias);
    if (value == nullptr || other == nullptr || *value == *other) continue;
    return make_status(StatusCode::kDataLoss, "{}: '{}' and '{}' mean the same, but differ", file_,
                       alias.name, alias.alias);
  }
  return {};
}

std::unexpected<Status> HfObject::wrong_type(std::string_view key, std::string_view wanted,
                                             const json::Value& value) const {
  return error(StatusCode::kDataLoss, "{}: '{}' should be {} but is of type {}", file_, key, wanted,
               value.type_name());
}

Result<std::optional<std::uint32_t>> HfObject::integer(std::string_view key,
                                                       std::int64_t min) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_integer()) return wrong_type(key, "an integer", *value);
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  std::int64_t number = 0;
  if (!value->to_int64(number) || number < min || number > kMax) {
    return error(StatusCode::kDataLoss, "{}: '{}' is {}; it must be {} to {}", file_, key,
                 json::dump(*value), min, kMax);
  }
  return static_cast<std::uint32_t>(number);
}

Result<std::optional<std::uint32_t>> HfObject::size(std::string_view key) const {
  return integer(key, 1);
}

Result<std::optional<std::uint32_t>> HfObject::count(std::string_view key) const {
  return integer(key, 0);
}

Result<std::uint32_t> HfObject::required_size(std::string_view key) const {
  HEARTH_ASSIGN_OR_RETURN(const auto value, size(key));
  if (!value) return error(StatusCode::kDataLoss, "{}: key '{}' is missing", file_, key);
  return *value;
}

Result<std::optional<double>> HfObject::number(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  double number = 0.0;
  if (!value->to_double(number)) return wrong_type(key, "a number", *value);
  return number;
}

Result<std::optional<bool>> HfObject::flag(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->as_bool() == nullptr) return wrong_type(key, "true or false", *value);
  return *value->as_bool();
}

Result<std::optional<std::string_view>> HfObject::text(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->as_string() == nullptr) return wrong_type(key, "a string", *value);
  return *value->as_string();
}

Result<std::optional<HfObject>> HfObject::object(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->as_object() == nullptr) return wrong_type(key, "an object", *value);
  return HfObject(*value->as_object(), file_);
}

Result<std::vector<std::uint32_t>> HfObject::sizes(std::string_view key) const {
  const json::Value* value = find(key);
  std::vector<std::uint32_t> sizes;
  if (value == nullptr) return sizes;
  if (value->as_array() == nullptr) return wrong_type(key, "a list of sizes", *value);
  for (const json::Value& item : *value->as_array()) {
    std::int64_t size = 0;
    if (!item.to_int64(size) || size < 1 || size > std::numeric_limits<std::int32_t>::max()) {
      return error(StatusCode::kDataLoss, "{}: '{}' holds {}, which is no size", file_, key,
                   item.is_integer() ? json::dump(item) : item.type_name());
    }
    sizes.push_back(static_cast<std::uint32_t>(size));
  }
  return sizes;
}

Result<std::vector<std::int64_t>> HfObject::ids(std::string_view key) const {
  const json::Value* value = find(key);
  std::vector<std::int64_t> ids;
  if (value == nullptr) return ids;
  const json::Array single = {*value};
  for (const json::Value& item : value->as_array() ? *value->as_array() : single) {
    std::int64_t id = -1;
    if (!item.to_int64(id) || id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      return error(StatusCode::kDataLoss, "{}: '{}' holds {}, which is no token id", file_, key,
                   item.is_integer() ? json::dump(item) : item.type_name());
    }
    ids.push_back(id);
  }
  return ids;
}

std::string_view MetadataWriter::keep(std::string_view text) {
  return content_.texts.emplace_back(text);
}

void MetadataWriter::add(std::string_view key, MetadataValue value) {
  content_.metadata.push_back({keep(key), std::move(value)});
}

void MetadataWriter::add_text(std::string_view key, std::string_view value) {
  add(key, keep(value));
}

void MetadataWriter::add_texts(std::string_view key, std::span<const std::string_view> values) {
  std::vector<std::string_view> kept;
  for (const std::string_view value : values)
    kept.push_back(keep(value));
  add(key, std::move(kept));
}

void MetadataWriter::add_size(std::string_view key, std::uint64_t value) {
  add(key, static_cast<std::int64_t>(value));
}

Result<const HfFamily*> hf_family_of(const HfObject& config) {
  const json::Value* classes = config.find("architectures");
  const json::Array* list = classes == nullptr ? nullptr : classes->as_array();
  // Of several, the first is the one without a head, or the one meant.
  if (list == nullptr || list->empty() || list->front().as_string() == nullptr) {
    return error(StatusCode::kDataLoss, "{}: 'architectures' must be a list of class names",
                 config.file());
  }
  const std::string& name = *list->front().as_string();
  const HfFamily* family = find_hf_family(name);
  if (family == nullptr) {
    return error(StatusCode::kUnimplemented,
                 "{}: architecture '{}' is not supported{}; supported: {}", config.file(), name,
                 config.has("auto_map") ? " (the code that 'auto_map' names is never run)" : "",
                 supported_hf_classes());
  }
  return family;
}

Status translate_hf_config(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  out.add_text("general.architecture", family.architecture);
  HEARTH_RETURN_IF_ERROR(config.check_aliases());
  HEARTH_RETURN_IF_ERROR(translate_keys(config, family, out));
  HEARTH_RETURN_IF_ERROR(check_heads(config));
  HEARTH_RETURN_IF_ERROR(check_causal(config, family));
  HEARTH_RETURN_IF_ERROR(check_activation(config, family));
  HEARTH_RETURN_IF_ERROR(check_refused(config, family));
  HEARTH_RETURN_IF_ERROR(translate_rope(config, family, out));
  HEARTH_RETURN_IF_ERROR(translate_hf_windows(config, family, out));
  if (family.translate_more != nullptr) return family.translate_more(config, family, out);
  return {};
}

Result<std::uint32_t> hf_position_offset(const HfObject& config) {
  constexpr std::int64_t kDefault = 1;  // Of every class that has such an offset.
  HEARTH_ASSIGN_OR_RETURN(const auto ids, config.ids("pad_token_id"));
  const std::int64_t pad = ids.empty() ? kDefault : ids.front();
  return static_cast<std::uint32_t>(pad) + 1;
}

Result<std::vector<HfMadeTensor>> hf_rope_tensors(const HfObject& config, const HfFamily& family) {
  std::vector<HfMadeTensor> tensors;
  HEARTH_ASSIGN_OR_RETURN(const auto rope, rope_object(config, family));
  if (!rope) return tensors;
  HEARTH_ASSIGN_OR_RETURN(const std::string_view type, rope_type(*rope));
  if (type == "llama3") {
    HEARTH_ASSIGN_OR_RETURN(auto factors, llama3_factors(config, *rope, family));
    tensors.push_back({"rope_freqs.weight", std::move(factors)});
  }
  if (type == "longrope" || type == "su") {
    HEARTH_ASSIGN_OR_RETURN(auto near, rope_list(config, *rope, family, "short_factor"));
    tensors.push_back({"rope_factors_short.weight", std::move(near)});
    HEARTH_ASSIGN_OR_RETURN(auto far, rope_list(config, *rope, family, "long_factor"));
    tensors.push_back({"rope_factors_long.weight", std::move(far)});
  }
  return tensors;
}

Status translate_hf_generation(const HfObject& config, const HfObject& generation,
                               MetadataWriter& out) {
  const HfObject& source = generation.has("eos_token_id") ? generation : config;
  HEARTH_ASSIGN_OR_RETURN(auto ids, source.ids("eos_token_id"));
  if (!ids.empty()) out.add(ModelFile::kEndOfGenerationKey, std::move(ids));
  return translate_sampling(generation, out);
}

}  // namespace hearth
