#include "models/model_config.h"

#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <optional>

#include "models/architectures.h"

namespace hearth {
namespace {

// Far above any model that exists; small enough that no product of two of them overflows.
constexpr std::uint32_t kMaxDimension = 1u << 24;
constexpr std::uint32_t kMaxLayers = 4096;

// Look-ups below one architecture's prefix, with the key in every message.
class ConfigReader {
 public:
  ConfigReader(const ModelFile& file, std::string_view prefix) : file_(file), prefix_(prefix) {}

  Result<std::optional<std::uint32_t>> optional_size(std::string_view key,
                                                     std::uint32_t max) const {
    const std::string name = full(key);
    HEARTH_ASSIGN_OR_RETURN(auto value, file_.find_uint32(name));
    if (value && (*value == 0 || *value > max)) {
      return error(StatusCode::kDataLoss, "{} is {}; it must be 1 to {}", name, *value, max);
    }
    return value;
  }

  Result<std::size_t> size(std::string_view key, std::uint32_t max) const {
    HEARTH_ASSIGN_OR_RETURN(auto value, optional_size(key, max));
    if (!value) return error(StatusCode::kDataLoss, "metadata key '{}' is missing", full(key));
    return std::size_t{*value};
  }

  // A finite number; `fallback` when absent.
  Result<double> number(std::string_view key, double fallback) const {
    const std::string name = full(key);
    HEARTH_ASSIGN_OR_RETURN(auto value, file_.find_double(name));
    if (value && !std::isfinite(*value)) {
      return error(StatusCode::kDataLoss, "{} is not a finite number", name);
    }
    return value.value_or(fallback);
  }

  Result<double> positive_number(std::string_view key, double fallback) const {
    HEARTH_ASSIGN_OR_RETURN(double value, number(key, fallback));
    if (value <= 0.0)
      return error(StatusCode::kDataLoss, "{} is {}; it must be above 0", full(key), value);
    return value;
  }

  Result<std::optional<std::string_view>> text(std::string_view key) const {
    return file_.find_text(full(key));
  }

  std::string full(std::string_view key) const { return fmt::format("{}.{}", prefix_, key); }

 private:
  const ModelFile& file_;
  std::string_view prefix_;
};

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

Status read_rope_scaling(const ConfigReader& reader, const ModelConfig& config, RopeConfig& rope) {
  HEARTH_ASSIGN_OR_RETURN(auto kind, reader.text("rope.scaling.type"));
  // Older files only have the linear factor, under its own name.
  HEARTH_ASSIGN_OR_RETURN(const double linear, reader.positive_number("rope.scale_linear", 1.0));
  HEARTH_ASSIGN_OR_RETURN(rope.factor, reader.positive_number("rope.scaling.factor", linear));
  if (!kind) {
    rope.scaling = rope.factor == 1.0 ? RopeScaling::kNone : RopeScaling::kLinear;
    return {};
  }
  if (*kind == "none") {
    rope.factor = 1.0;
    return {};
  }
  if (*kind == "linear") {
    rope.scaling = RopeScaling::kLinear;
    return {};
  }
  if (*kind != "yarn") {
    return make_status(
        StatusCode::kUnimplemented,
        "{} is '{}'; supported are none, linear and yarn (and Llama-3 scaling through "
        "the tensor rope_freqs.weight)",
        reader.full("rope.scaling.type"), *kind);
  }
  rope.scaling = RopeScaling::kYarn;
  HEARTH_ASSIGN_OR_RETURN(auto original,
                          reader.optional_size("rope.scaling.original_context_length",
                                               std::numeric_limits<std::int32_t>::max()));
  rope.original_context_len =
      original ? *original
               : static_cast<std::size_t>(static_cast<double>(config.context_len) / rope.factor);
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_ext_factor, reader.number("rope.scaling.yarn_ext_factor", 1.0));
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_attn_factor,
                          reader.positive_number("rope.scaling.attn_factor", 1.0));
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_beta_fast,
                          reader.positive_number("rope.scaling.yarn_beta_fast", 32.0));
  HEARTH_ASSIGN_OR_RETURN(rope.yarn_beta_slow,
                          reader.positive_number("rope.scaling.yarn_beta_slow", 1.0));
  return {};
}

// Files whose weights lie otherwise than the architecture's name implies say so.
Status read_rope_layout(const ConfigReader& reader, RopeConfig& rope) {
  HEARTH_ASSIGN_OR_RETURN(const auto layout, reader.text("rope.layout"));
  if (!layout) return {};
  if (*layout != "halves" && *layout != "interleaved") {
    return make_status(StatusCode::kDataLoss, "{} is '{}'; it must be halves or interleaved",
                       reader.full("rope.layout"), *layout);
  }
  rope.layout = *layout == "halves" ? RopeLayout::kHalves : RopeLayout::kInterleaved;
  return {};
}

Status read_rope(const ConfigReader& reader, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  HEARTH_RETURN_IF_ERROR(read_rope_layout(reader, rope));
  HEARTH_ASSIGN_OR_RETURN(auto rope_dim,
                          reader.optional_size("rope.dimension_count", kMaxDimension));
  rope.rope_dim = rope_dim.value_or(static_cast<std::uint32_t>(config.heads.head_dim));
  if (rope.rope_dim > config.heads.head_dim || rope.rope_dim % 2 != 0) {
    return make_status(StatusCode::kDataLoss,
                       "{} is {}; it must be even and at most the head dimension {}",
                       reader.full("rope.dimension_count"), rope.rope_dim, config.heads.head_dim);
  }
  HEARTH_ASSIGN_OR_RETURN(rope.freq_base, reader.positive_number("rope.freq_base", 10000.0));
  return read_rope_scaling(reader, config, rope);
}

// The vocabulary is stated up to three times in a file; the embedding's rows count.
Status read_vocab_size(const ModelFile& file, const ConfigReader& reader, ModelConfig& config) {
  const TensorView* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.rank != 2) {
    return make_status(StatusCode::kDataLoss, "tensor 'token_embd.weight' is {}",
                       embedding == nullptr ? "missing" : "not a matrix");
  }
  const std::uint64_t rows = embedding->shape.dims[0];
  if (rows == 0 || rows > kMaxDimension) {
    return make_status(StatusCode::kDataLoss,
                       "tensor 'token_embd.weight' has {} rows; 1 to {} are supported", rows,
                       kMaxDimension);
  }
  HEARTH_ASSIGN_OR_RETURN(auto stated, reader.optional_size("vocab_size", kMaxDimension));
  if (stated && *stated != rows) {
    return make_status(StatusCode::kDataLoss, "{} is {}, but token_embd.weight has {} rows",
                       reader.full("vocab_size"), *stated, rows);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto* tokens, file.find_texts("tokenizer.ggml.tokens"));
  if (tokens != nullptr && tokens->size() > rows) {
    return make_status(
        StatusCode::kDataLoss,
        "tokenizer.ggml.tokens has {} entries, but token_embd.weight has only {} rows",
        tokens->size(), rows);
  }
  config.vocab_size = rows;
  return {};
}

Status refuse_unsupported(const ConfigReader& reader) {
  HEARTH_ASSIGN_OR_RETURN(auto num_experts, reader.optional_size("expert_count", kMaxDimension));
  if (num_experts) {
    return make_status(StatusCode::kUnimplemented,
                       "mixture-of-experts models are not supported ({} is {})",
                       reader.full("expert_count"), *num_experts);
  }
  return {};
}

Result<const Architecture*> architecture_of(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(auto name, file.find_text("general.architecture"));
  if (!name) return error(StatusCode::kDataLoss, "metadata key 'general.architecture' is missing");
  const Architecture* row = find_architecture(*name);
  if (row == nullptr) {
    return error(StatusCode::kUnimplemented, "architecture '{}' is not supported; supported: {}",
                 *name, supported_architectures());
  }
  return row;
}

}  // namespace

Result<ModelConfig> read_model_config(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const Architecture* row, architecture_of(file));
  if (file.tensors().empty()) {
    return error(StatusCode::kInvalidArgument, "the file holds a vocabulary alone, no tensors");
  }
  const ConfigReader reader(file, row->name);

  ModelConfig config;
  config.architecture = row->name;
  config.activation = row->activation;
  config.rope.layout = row->rope_layout;
  HEARTH_ASSIGN_OR_RETURN(auto name, file.find_text("general.name"));
  config.name = name.value_or("");
  HEARTH_RETURN_IF_ERROR(refuse_unsupported(reader));
  HEARTH_ASSIGN_OR_RETURN(config.num_layers, reader.size("block_count", kMaxLayers));
  HEARTH_ASSIGN_OR_RETURN(config.hidden_size, reader.size("embedding_length", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(config.intermediate_size,
                          reader.size("feed_forward_length", kMaxDimension));
  HEARTH_ASSIGN_OR_RETURN(config.context_len,
                          reader.size("context_length", std::numeric_limits<std::int32_t>::max()));
  HEARTH_RETURN_IF_ERROR(read_vocab_size(file, reader, config));
  HEARTH_RETURN_IF_ERROR(read_heads(reader, config));
  HEARTH_RETURN_IF_ERROR(read_rope(reader, config));

  HEARTH_ASSIGN_OR_RETURN(const double epsilon,
                          reader.positive_number("attention.layer_norm_rms_epsilon", 1e-5));
  config.norm_epsilon = static_cast<float>(epsilon);
  HEARTH_ASSIGN_OR_RETURN(
      const double scale,
      reader.positive_number("attention.scale",
                             1.0 / std::sqrt(static_cast<double>(config.heads.head_dim))));
  config.attention_scale = static_cast<float>(scale);
  HEARTH_ASSIGN_OR_RETURN(
      auto window,
      reader.optional_size("attention.sliding_window", std::numeric_limits<std::int32_t>::max()));
  config.sliding_window = window.value_or(0);
  return config;
}

std::string supported_architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& row : architectures())
    names.push_back(row.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace hearth
