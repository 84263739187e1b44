#include "models/model_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "models/architectures.h"
#include "models/config_reader.h"

namespace hearth {
namespace {

constexpr std::uint32_t kMaxLayers = 4096;

Status read_heads(const ConfigReader& reader, ModelConfig& config) {
  HEARTH_ASSIGN_OR_RETURN(config.heads.num_heads,
                          reader.size("attention.head_count", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(auto num_kv_heads,
                          reader.optional_size("attention.head_count_kv", kMaxDimension));
  config.heads.num_kv_heads =
      num_kv_heads.value_or(static_cast<std::uint32_t>(config.heads.num_heads));
  HEARTH_ASSIGN_OR_RETURN(auto key_len,
                          reader.optional_size("attention.key_length", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(auto value_len,
                          reader.optional_size("attention.value_length", kMaxDimension));
  if (!key_len && config.hidden_size % config.heads.num_heads != 0) {
    return make_status(StatusCode::kDataLoss, "{} ({}) is not a multiple of {} ({})",
                       reader.full("embedding_length"), config.hidden_size,
                       reader.full("attention.head_count"), config.heads.num_heads);
  }
  config.heads.head_dim = key_len ? *key_len : config.hidden_size / config.heads.num_heads;
  if (value_len && *value_len != config.heads.head_dim) {
    return make_status(
        StatusCode::kUnimplemented,
        "attention with values of another length ({}) than keys ({}) is not supported", *value_len,
        config.heads.head_dim);
  }
  if (config.heads.num_heads % config.heads.num_kv_heads != 0) {
    return make_status(StatusCode::kDataLoss, "{} ({}) is not a multiple of {} ({})",
                       reader.full("attention.head_count"), config.heads.num_heads,
                       reader.full("attention.head_count_kv"), config.heads.num_kv_heads);
  }
  if (config.q_width() > kMaxDimension) {
    return make_status(StatusCode::kDataLoss, "{} heads of {} values exceed the limit of {}",
                       config.heads.num_heads, config.heads.head_dim, kMaxDimension);
  }
  return {};
}

// The vocabulary is stated up to three times in a file; the embedding's rows count.
Status read_vocab_size(const ConfigReader& reader, ModelConfig& config) {
  const ModelFile& file = reader.file();
  const std::string name = file.spelling("token_embd.weight");
  const TensorView* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.rank != 2) {
    return make_status(StatusCode::kDataLoss, "tensor '{}' is {}", name,
                       embedding == nullptr ? "missing" : "not a matrix");
  }
  const std::uint64_t rows = embedding->shape.dims[0];
  if (rows == 0 || rows > kMaxDimension) {
    return make_status(StatusCode::kDataLoss, "tensor '{}' has {} rows; 1 to {} are supported",
                       name, rows, kMaxDimension);
  }
  HEARTH_ASSIGN_OR_RETURN(auto stated, reader.optional_size("vocab_size", kMaxDimension));
  if (stated && *stated != rows) {
    return make_status(StatusCode::kDataLoss, "{} is {}, but {} has {} rows",
                       reader.full("vocab_size"), *stated, name, rows);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto* tokens, file.find_texts("tokenizer.ggml.tokens"));
  if (tokens != nullptr && tokens->size() > rows) {
    return make_status(StatusCode::kDataLoss,
                       "tokenizer.ggml.tokens has {} entries, but {} has only {} rows",
                       tokens->size(), name, rows);
  }
  config.vocab_size = rows;
  return {};
}

// Which layers have a window: a period, of which the last layer sees everything, or a list.
Result<std::vector<bool>> read_window_pattern(const ConfigReader& reader, const Architecture& row,
                                              std::size_t num_layers) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  const MetadataValue* value = reader.find(kKey);
  if (const auto* list = value != nullptr ? std::get_if<std::vector<bool>>(value) : nullptr) {
    if (list->size() != num_layers) {
      return error(StatusCode::kDataLoss, "{} has {} entries for {} layers", reader.full(kKey),
                   list->size(), num_layers);
    }
    return *list;
  }
  HEARTH_ASSIGN_OR_RETURN(const std::size_t period,
                          reader.size_or(kKey, kMaxDimension, row.global_period));
  std::vector<bool> windowed(num_layers);
  for (std::size_t i = 0; i < num_layers; ++i)
    windowed[i] = period == 0 || (row.global_first ? i : i + 1) % period != 0;
  return windowed;
}

// What the tensors say must not contradict what is stated. Converters write that
// `use_parallel_residual` is true where config.json is silent, so only its false says something.
Status read_parallel_unless_normed(const ConfigReader& reader, ModelConfig& config) {
  const auto has_norm = [&](std::size_t layer) {
    return reader.file().find_tensor(fmt::format("blk.{}.ffn_norm.weight", layer)) != nullptr;
  };
  config.parallel_residual = !has_norm(0);
  constexpr std::string_view kConverted = "use_parallel_residual";
  HEARTH_ASSIGN_OR_RETURN(const bool perhaps, reader.flag(kConverted, true));
  HEARTH_ASSIGN_OR_RETURN(const bool exact, reader.flag("parallel_residual", perhaps));
  const bool told = reader.find("parallel_residual") != nullptr || !perhaps;
  const auto spelling = [&](std::size_t layer) {
    return reader.file().spelling(fmt::format("blk.{}.ffn_norm.weight", layer));
  };
  if (told && exact != config.parallel_residual) {
    return make_status(StatusCode::kDataLoss,
                       "use_parallel_residual is {}, but the tensor '{}' is {}", exact, spelling(0),
                       exact ? "there" : "missing");
  }
  for (std::size_t i = 1; config.parallel_residual && i < config.num_layers; ++i) {
    if (!has_norm(i)) continue;
    return make_status(StatusCode::kDataLoss,
                       "the tensor '{}' is there, but '{}' is missing: either each layer's "
                       "feed-forward has a norm or none has",
                       spelling(i), spelling(0));
  }
  return {};
}

Status read_parallel(const ConfigReader& reader, const Architecture& row, ModelConfig& config) {
  if (row.parallel == ParallelUse::kStated) {
    HEARTH_ASSIGN_OR_RETURN(config.parallel_residual, reader.flag("use_parallel_residual", true));
  }
  if (row.parallel == ParallelUse::kUnlessNormed)
    return read_parallel_unless_normed(reader, config);
  return {};
}

Status read_layers(const ConfigReader& reader, const Architecture& row, ModelConfig& config) {
  HEARTH_ASSIGN_OR_RETURN(config.num_layers, reader.size("block_count", kMaxLayers));
  HEARTH_ASSIGN_OR_RETURN(
      const std::size_t window,
      reader.size_or("attention.sliding_window", kMaxPositions, row.sliding_window));
  HEARTH_ASSIGN_OR_RETURN(const auto windowed, read_window_pattern(reader, row, config.num_layers));
  const bool local_rope = row.local_freq_base > 0.0 || row.unscaled_windows ||
                          reader.find("rope.freq_base_swa") != nullptr;
  config.layers.resize(config.num_layers);
  for (std::size_t i = 0; i < config.num_layers; ++i) {
    LayerConfig& layer = config.layers[i];
    const bool local = window > 0 && windowed[i];
    if (local) layer.sliding_window = window;
    if (local && local_rope) layer.rope = LayerRope::kLocal;
    if (row.unrotated_globals && window > 0 && !local) layer.rope = LayerRope::kNone;
    if (row.unrotated_period > 0 && (i + 1) % row.unrotated_period == 0)
      layer.rope = LayerRope::kNone;
    if (row.positions != PositionEncoding::kRope) layer.rope = LayerRope::kNone;
  }
  return {};
}

Status read_distance_buckets(const ConfigReader& reader, ModelConfig& config) {
  constexpr std::string_view kKey = "attention.relative_buckets_count";
  constexpr std::size_t kMax = 128;  // Beyond, a distance each would reach past the last bucket.
  HEARTH_ASSIGN_OR_RETURN(config.num_distance_buckets, reader.size(kKey, kMaxDimension));
  if (config.num_distance_buckets % 4 == 0 && config.num_distance_buckets <= kMax) return {};
  return make_status(StatusCode::kDataLoss, "{} is {}, not a multiple of 4 up to {}",
                     reader.full(kKey), config.num_distance_buckets, kMax);
}

Status read_stated_scales(const ConfigReader& reader, const Architecture& row,
                          ModelConfig& config) {
  const double root = std::sqrt(static_cast<double>(config.num_layers));
  const double width = static_cast<double>(config.hidden_size);
  HEARTH_ASSIGN_OR_RETURN(const double embedding,
                          reader.positive_number("embedding_scale", row.embedding_scale));
  HEARTH_ASSIGN_OR_RETURN(
      const double residual,
      reader.positive_number("residual_scale",
                             row.residual_depth > 0.0 ? row.residual_depth / root : 1.0));
  HEARTH_ASSIGN_OR_RETURN(
      const double divisor,
      reader.positive_number("logit_scale", row.logit_width > 0.0 ? width / row.logit_width : 1.0));
  config.embedding_scale = static_cast<float>(embedding);
  config.residual_scale = static_cast<float>(residual);
  config.logit_scale = static_cast<float>(1.0 / divisor);
  HEARTH_ASSIGN_OR_RETURN(const bool rotated, reader.flag("rope.scaling.finetuned", true));
  if (!rotated) {
    return make_status(StatusCode::kUnimplemented,
                       "{} is false: this architecture without rotation is not supported",
                       reader.full("rope.scaling.finetuned"));
  }
  return {};
}

// Of what attention computes before its softmax.
Status read_attention_bounds(const ConfigReader& reader, const Architecture& row,
                             ModelConfig& config) {
  constexpr std::string_view kLimitKey = "attention.clamp_kqv";
  HEARTH_ASSIGN_OR_RETURN(const double limit, reader.number(kLimitKey, 0.0));
  if (limit < 0.0) {
    return make_status(StatusCode::kDataLoss, "{} is {}; it must not be below 0",
                       reader.full(kLimitKey), limit);
  }
  config.qkv_limit = static_cast<float>(limit);
  if (row.positions != PositionEncoding::kAlibi) return {};
  HEARTH_ASSIGN_OR_RETURN(
      const double bias, reader.positive_number("attention.max_alibi_bias", config.alibi_max_bias));
  config.alibi_max_bias = static_cast<float>(bias);
  return {};
}

// Files show by their tensors whether they have such norms; directories also say so.
Status read_qk_norm(const ConfigReader& reader, const Architecture& row, ModelConfig& config) {
  if (!row.qk_norm_perhaps) return {};
  const ModelFile& file = reader.file();
  const bool there = file.find_tensor("blk.0.attn_q_norm.weight") != nullptr ||
                     file.find_tensor("blk.0.attn_q_norm.0.weight") != nullptr;
  HEARTH_ASSIGN_OR_RETURN(const bool stated, reader.flag("attention.qk_norm", there));
  if (!stated) config.qk_norm = QkNorm::kNone;
  return {};
}

Status read_scales(const ConfigReader& reader, const Architecture& row, ModelConfig& config) {
  constexpr std::string_view kLayerKey = "attention.layer_norm_epsilon";
  // Converters write it under this name for LayerNorms, too, where the class calls it so.
  constexpr std::string_view kRmsKey = "attention.layer_norm_rms_epsilon";
  const bool layer_key = config.norm == NormKind::kLayer && reader.find(kLayerKey) != nullptr;
  const std::string_view epsilon_key = layer_key ? kLayerKey : kRmsKey;
  HEARTH_ASSIGN_OR_RETURN(const double epsilon, reader.positive_number(epsilon_key, 1e-5));
  config.norm_epsilon = static_cast<float>(epsilon);
  const double scaled_width =
      row.wide_scale_layers == config.num_layers
          ? static_cast<double>(config.hidden_size) / static_cast<double>(config.heads.num_heads)
          : static_cast<double>(config.heads.head_dim);
  HEARTH_ASSIGN_OR_RETURN(const double scale,
                          reader.positive_number("attention.scale", 1.0 / std::sqrt(scaled_width)));
  config.attention_scale = static_cast<float>(scale);
  if (row.latent_attention) HEARTH_RETURN_IF_ERROR(read_latent_scale(reader, config));
  HEARTH_ASSIGN_OR_RETURN(const double attention_cap,
                          reader.number("attn_logit_softcapping", config.attention_softcap));
  HEARTH_ASSIGN_OR_RETURN(const double logit_cap,
                          reader.number("final_logit_softcapping", config.logit_softcap));
  if (attention_cap < 0.0 || logit_cap < 0.0) {
    return make_status(
        StatusCode::kDataLoss, "{} is {}; it must not be below 0",
        reader.full(attention_cap < 0.0 ? "attn_logit_softcapping" : "final_logit_softcapping"),
        std::min(attention_cap, logit_cap));
  }
  config.attention_softcap = static_cast<float>(attention_cap);
  config.logit_softcap = static_cast<float>(logit_cap);
  if (row.scaled_embedding) {
    config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
  }
  if (row.stated_logit_factor) {
    HEARTH_ASSIGN_OR_RETURN(const double factor, reader.positive_number("logit_scale", 1.0));
    config.logit_scale = static_cast<float>(factor);
  }
  return row.stated_scales ? read_stated_scales(reader, row, config) : Status();
}

// Keys that change the arithmetic in ways no row knows. A file that has them is another model than
// the one we would compute.
Status refuse_unsupported(const ConfigReader& reader, const Architecture& row) {
  constexpr std::string_view kScales[] = {"embedding_scale", "logit_scale", "residual_scale"};
  constexpr std::string_view kLatent[] = {"attention.q_lora_rank", "attention.kv_lora_rank",
                                          "rope.scaling.yarn_log_multiplier"};
  constexpr std::string_view kExperts[] = {"expert_group_count", "expert_shared_count",
                                           "leading_dense_block_count"};
  constexpr std::string_view kKeys[] = {"rope.dimension_sections", "swin_norm",
                                        "attention.temperature_scale", "interleave_moe_layer_step"};
  constexpr std::string_view kAlibi[] = {"attention.max_alibi_bias"};
  constexpr std::string_view kLimit[] = {"attention.clamp_kqv"};
  const auto refuse = [&](std::span<const std::string_view> keys) -> Status {
    for (const std::string_view key : keys) {
      if (reader.find(key) == nullptr || (row.stated_logit_factor && key == "logit_scale"))
        continue;
      return make_status(StatusCode::kUnimplemented, "{} is not supported for this architecture",
                         reader.full(key));
    }
    return {};
  };
  HEARTH_RETURN_IF_ERROR(refuse(kKeys));
  if (!row.stated_scales) HEARTH_RETURN_IF_ERROR(refuse(kScales));
  if (row.positions != PositionEncoding::kAlibi) HEARTH_RETURN_IF_ERROR(refuse(kAlibi));
  HEARTH_RETURN_IF_ERROR(row.latent_attention ? refuse(kLimit) : refuse(kLatent));
  if (!row.stated_experts) HEARTH_RETURN_IF_ERROR(refuse(kExperts));
  HEARTH_ASSIGN_OR_RETURN(const bool causal, reader.flag("attention.causal", !row.bidirectional));
  if (causal == row.bidirectional) {
    return make_status(StatusCode::kUnimplemented, "{} is {}: {}", reader.full("attention.causal"),
                       causal,
                       causal ? "an encoder that does not look ahead is not supported"
                              : "a model that looks ahead cannot generate");
  }
  return {};
}

Result<const Architecture*> architecture_of(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(auto name, file.find_text("general.architecture"));
  if (!name) return error(StatusCode::kDataLoss, "metadata key 'general.architecture' is missing");
  const Architecture* row = find_architecture(*name);
  if (row == nullptr && find_encoder_architecture(*name) != nullptr) {
    return error(
        StatusCode::kUnimplemented,
        "architecture '{}' is an encoder: it embeds or classifies texts and generates none", *name);
  }
  if (row == nullptr) {
    return error(StatusCode::kUnimplemented, "architecture '{}' is not supported; supported: {}",
                 *name, supported_architectures());
  }
  return row;
}

}  // namespace

bool ModelConfig::uses_rope(LayerRope kind) const {
  return std::ranges::find(layers, kind, &LayerConfig::rope) != layers.end();
}

Result<ModelConfig> read_model_config(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const Architecture* row, architecture_of(file));
  return read_model_config(file, *row);
}

Result<ModelConfig> read_model_config(const ModelFile& file, const Architecture& row) {
  if (file.tensors().empty()) {
    return error(StatusCode::kInvalidArgument, "the file holds a vocabulary alone, no tensors");
  }
  const ConfigReader reader(file, row.name);

  ModelConfig config = implied_config(row);
  HEARTH_ASSIGN_OR_RETURN(auto name, file.find_text("general.name"));
  config.name = name.value_or("");
  HEARTH_RETURN_IF_ERROR(refuse_unsupported(reader, row));
  HEARTH_RETURN_IF_ERROR(read_layers(reader, row, config));
  HEARTH_RETURN_IF_ERROR(read_parallel(reader, row, config));
  HEARTH_ASSIGN_OR_RETURN(config.hidden_size, reader.size("embedding_length", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(config.intermediate_size,
                          reader.size("feed_forward_length", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(config.context_len, reader.size("context_length", kMaxPositions));
  HEARTH_RETURN_IF_ERROR(read_vocab_size(reader, config));
  HEARTH_RETURN_IF_ERROR(row.latent_attention ? read_latent_heads(reader, config)
                                              : read_heads(reader, config));
  if (config.positions == PositionEncoding::kRope) {
    HEARTH_RETURN_IF_ERROR(read_rope(reader, row, config));
  }
  if (row.distance_buckets) {
    HEARTH_RETURN_IF_ERROR(read_distance_buckets(reader, config));
  }
  HEARTH_RETURN_IF_ERROR(read_qk_norm(reader, row, config));
  HEARTH_RETURN_IF_ERROR(read_attention_bounds(reader, row, config));
  HEARTH_RETURN_IF_ERROR(read_scales(reader, row, config));
  HEARTH_RETURN_IF_ERROR(read_experts(reader, row, config));
  return config;
}

std::string supported_architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& row : architectures())
    names.push_back(row.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<float> alibi_slopes(std::size_t num_heads, float max_bias) {
  const std::size_t whole = std::bit_floor(num_heads);
  const double step = static_cast<double>(max_bias) / static_cast<double>(whole);
  std::vector<float> slopes(num_heads);
  for (std::size_t i = 0; i < num_heads; ++i) {
    const double exponent =
        i < whole ? static_cast<double>(i + 1) : static_cast<double>(2 * (i - whole) + 1) / 2.0;
    slopes[i] = static_cast<float>(std::exp2(-step * exponent));
  }
  return slopes;
}

}  // namespace hearth
