#include "models/hf_older_families.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "models/hf_config.h"
#include "models/hf_llama_rows.h"

namespace hearth {
namespace {

using enum HfTransform;

// kUnimplemented unless the flag is as the class is supported; `wanted` is also its default.
Status check_flag(const HfObject& config, const HfFamily& family, std::string_view key,
                  bool wanted) {
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.flag(key));
  if (stated.value_or(wanted) == wanted) return {};
  return make_status(StatusCode::kUnimplemented, "{}: '{}' is {}; {} is supported with {}",
                     config.file(), key, *stated, family.class_name, wanted);
}

// The same of a number.
Status check_size(const HfObject& config, const HfFamily& family, std::string_view key,
                  std::uint32_t wanted) {
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.size(key));
  if (stated.value_or(wanted) == wanted) return {};
  return make_status(StatusCode::kUnimplemented, "{}: '{}' is {}; {} is supported with {}",
                     config.file(), key, *stated, family.class_name, wanted);
}

constexpr std::array kTransformerModules = {
    module("wte", "token_embd"),
    module("ln_f", "output_norm"),
};

constexpr std::array kGptjLayer = {
    module("ln_1", "attn_norm"),
    module("attn.q_proj", "attn_q"),
    module("attn.k_proj", "attn_k"),
    module("attn.v_proj", "attn_v"),
    module("mlp.fc_in", "ffn_up"),
    module("mlp.fc_out", "ffn_down"),
    module("attn.out_proj", "attn_output"),
};

constexpr std::array kGptjKeys =
    joined(kDecoderKeys, std::array{
                             required("max_position_embeddings", "context_length"),
                             number("layer_norm_epsilon", "attention.layer_norm_epsilon"),
                         });

constexpr std::array kGptAliases = {
    HfAlias{"n_layer", "num_hidden_layers"},
    HfAlias{"n_embd", "hidden_size"},
    HfAlias{"n_head", "num_attention_heads"},
    HfAlias{"n_positions", "max_position_embeddings"},
};

constexpr std::array kGptjBiases = {HfBias{"attn_norm", "", true}, HfBias{"ffn_", "", true},
                                    HfBias{"output", "", true}};
constexpr std::array<std::string_view, 2> kSavedMasks = {".attn.bias", ".attn.masked_bias"};

// Four times the width unless stated.
Status add_gptj(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t hidden, config.required_size("hidden_size"));
  HEARTH_ASSIGN_OR_RETURN(const auto inner, config.size("n_inner"));
  out.add_size(family.metadata_key("feed_forward_length"), inner ? *inner : 4 * hidden);
  return {};
}

constexpr HfFamily gptj() {
  HfFamily family = llama_like("GPTJForCausalLM", "gptj");
  family.activation_key = "activation_function";
  family.activations = kGeluTanh;
  family.base_prefix = "transformer.";
  family.layer_prefix = "h.";
  family.modules = kTransformerModules;
  family.layer_modules = kGptjLayer;
  family.keys = kGptjKeys;
  family.aliases = kGptAliases;
  family.ignored = kSavedMasks;
  family.biases = kGptjBiases;
  family.rope = {.dim_key = "rotary_dim", .interleaved = true};
  family.translate_more = add_gptj;
  return family;
}

constexpr std::array kMptModules = {
    module("wte", "token_embd"),
    module("norm_f", "output_norm"),
};

constexpr std::array kMptLayer = {
    module("norm_1", "attn_norm"),   module("norm_2", "ffn_norm"),
    module("attn.Wqkv", "attn_qkv"), module("attn.out_proj", "attn_output"),
    module("ffn.up_proj", "ffn_up"), module("ffn.down_proj", "ffn_down"),
};

constexpr std::array kMptKeys =
    joined(kDecoderKeys, std::array{
                             required("max_position_embeddings", "context_length"),
                             HfKey{.name = "layer_norm_epsilon",
                                   .metadata_key = "attention.layer_norm_epsilon",
                                   .kind = HfKeyKind::kNumber,
                                   .required = false},
                         });

constexpr std::array kMptAliases = {
    HfAlias{"n_layers", "num_hidden_layers"},
    HfAlias{"d_model", "hidden_size"},
    HfAlias{"n_heads", "num_attention_heads"},
    HfAlias{"max_seq_len", "max_position_embeddings"},
};

constexpr std::array<std::string_view, 1> kMptRefused = {"logit_scale"};

// As the models' own code reads them; the class in transformers knows no other maximum than 8.
Status add_mpt_attention(const HfObject& attention, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(check_flag(attention, family, "alibi", true));
  for (const std::string_view key : {"qk_ln", "prefix_lm", "attn_uses_sequence_id"})
    HEARTH_RETURN_IF_ERROR(check_flag(attention, family, key, false));
  if (attention.has("kv_n_heads")) {
    return make_status(StatusCode::kUnimplemented, "{}: 'kv_n_heads' is not supported for {}",
                       attention.file(), family.class_name);
  }
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kNumbers = {
      {{"clip_qkv", "attention.clamp_kqv"},
       {"softmax_scale", "attention.scale"},
       {"alibi_bias_max", "attention.max_alibi_bias"}}};
  for (const auto& [key, metadata_key] : kNumbers) {
    HEARTH_ASSIGN_OR_RETURN(const auto value, attention.number(key));
    if (value) out.add(family.metadata_key(metadata_key), *value);
  }
  return {};
}

// Norms without biases look alike, whatever their kind.
Status check_mpt_norms(const HfObject& config, const HfFamily& family) {
  HEARTH_ASSIGN_OR_RETURN(const auto kind, config.text("norm_type"));
  if (!kind || *kind == "layernorm" || *kind == "low_precision_layernorm") return {};
  return make_status(StatusCode::kUnimplemented,
                     "{}: 'norm_type' is '{}'; {} is supported with 'layernorm' and "
                     "'low_precision_layernorm'",
                     config.file(), *kind, family.class_name);
}

Status add_mpt(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::uint32_t kExpansion = 4;  // The class knows no other.
  HEARTH_RETURN_IF_ERROR(check_size(config, family, "expansion_ratio", kExpansion));
  HEARTH_RETURN_IF_ERROR(check_flag(config, family, "no_bias", true));
  HEARTH_RETURN_IF_ERROR(check_mpt_norms(config, family));
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t hidden, config.required_size("hidden_size"));
  out.add_size(family.metadata_key("feed_forward_length"), kExpansion * hidden);
  HEARTH_ASSIGN_OR_RETURN(const auto attention, config.object("attn_config"));
  return attention ? add_mpt_attention(*attention, family, out) : Status();
}

constexpr HfFamily mpt(std::string_view class_name) {
  HfFamily family = llama_like(class_name, "mpt");
  family.activation_key = {};
  family.activations = {};
  family.tied_by_default = true;
  family.rotates = false;
  family.base_prefix = "transformer.";
  family.layer_prefix = "blocks.";
  family.modules = kMptModules;
  family.layer_modules = kMptLayer;
  family.keys = kMptKeys;
  family.aliases = kMptAliases;
  family.refused = kMptRefused;
  family.ignored = {};
  family.biases = {};
  family.translate_more = add_mpt;
  return family;
}

constexpr std::array kOptModules = {
    module("embed_tokens", "token_embd"),
    module("embed_positions", "position_embd", kPositions),
    module("final_layer_norm", "output_norm"),
};

constexpr std::array kOptLayer = {
    module("self_attn_layer_norm", "attn_norm"),
    module("self_attn.q_proj", "attn_q"),
    module("self_attn.k_proj", "attn_k"),
    module("self_attn.v_proj", "attn_v"),
    module("self_attn.out_proj", "attn_output"),
    module("final_layer_norm", "ffn_norm"),
    module("fc1", "ffn_up"),
    module("fc2", "ffn_down"),
};

constexpr std::array kOptKeys =
    joined(kDecoderKeys, std::array{
                             required("ffn_dim", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                         });

constexpr std::array<std::string_view, 1> kRelu = {"relu"};

Status check_opt(const HfObject& config, const HfFamily& family, MetadataWriter& /*out*/) {
  for (const std::string_view key :
       {"do_layer_norm_before", "enable_bias", "layer_norm_elementwise_affine"}) {
    HEARTH_RETURN_IF_ERROR(check_flag(config, family, key, true));
  }
  HEARTH_RETURN_IF_ERROR(check_flag(config, family, "_remove_final_layer_norm", false));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t hidden, config.required_size("hidden_size"));
  return check_size(config, family, "word_embed_proj_dim", hidden);
}

constexpr HfFamily opt() {
  HfFamily family = llama_like("OPTForCausalLM", "opt");
  family.activation_key = "activation_function";
  family.activations = kRelu;
  family.tied_by_default = true;
  family.rotates = false;
  family.base_prefix = "model.decoder.";
  family.modules = kOptModules;
  family.layer_modules = kOptLayer;
  family.keys = kOptKeys;
  family.ignored = {};
  family.biases = kEveryBias;
  family.first_position = 2;
  family.translate_more = check_opt;
  return family;
}

// MPT was published with the second name.
constexpr std::array kOlderFamilies = {gptj(), mpt("MptForCausalLM"), mpt("MPTForCausalLM"), opt()};

}  // namespace

std::span<const HfFamily> hf_older_families() {
  return kOlderFamilies;
}

}  // namespace hearth
