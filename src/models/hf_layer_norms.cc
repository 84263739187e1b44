#include "models/hf_layer_norms.h"

#include <array>
#include <cstdint>
#include <string_view>

#include "models/hf_config.h"
#include "models/hf_llama_rows.h"

namespace hearth {
namespace {

using enum HfTransform;

constexpr std::array kLayerNormKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("layer_norm_eps", "attention.layer_norm_epsilon"),
                             optional("num_key_value_heads", "attention.head_count_kv"),
                         });

constexpr std::array kCohereKeys =
    joined(kLayerNormKeys, std::array{
                               number("logit_scale", "logit_scale"),
                               optional("head_dim", "attention.key_length"),
                               optional("head_dim", "attention.value_length"),
                           });

constexpr std::array kCohereLayer = joined(kSplitAttention, kFeedForward, kHeadNorms,
                                           std::array{module("input_layernorm", "attn_norm")});

Status add_qk_norm(const HfObject& config, const HfFamily& family, std::string_view key,
                   MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.flag(key));
  out.add(family.metadata_key("attention.qk_norm"), stated.value_or(false));
  return {};
}

Status add_cohere(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  return add_qk_norm(config, family, "use_qk_norm", out);
}

constexpr HfFamily cohere() {
  HfFamily family = llama_like("CohereForCausalLM", "command-r");
  family.tied_by_default = true;
  family.layer_modules = kCohereLayer;
  family.keys = kCohereKeys;
  family.biases = kAttentionBiases;
  family.rope = {.theta = 500000.0, .interleaved = true};
  family.translate_more = add_cohere;
  return family;
}

constexpr std::array kCohere2Layer =
    joined(kSplitAttention, kFeedForward, std::array{module("input_layernorm", "attn_norm")});

constexpr HfFamily cohere2() {
  HfFamily family = cohere();
  family.class_name = "Cohere2ForCausalLM";
  family.architecture = "cohere2";
  family.layer_modules = kCohere2Layer;
  family.translate_more = nullptr;
  family.rope.theta = 10000.0;
  family.windows = {.layers = HfWindowedLayers::kAllButLastOfGroup,
                    .listed = true,
                    .must_be_stated = true,
                    .period = 4,
                    .size = kWindow};
  return family;
}

constexpr std::array kOlmoKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             optional("num_key_value_heads", "attention.head_count_kv"),
                             optional("head_dim", "attention.key_length"),
                             optional("head_dim", "attention.value_length"),
                             kClipping,
                         });

constexpr std::array kOlmoModules = {module("embed_tokens", "token_embd")};
constexpr std::array kOlmoLayer = joined(kSplitAttention, kFeedForward);

constexpr HfFamily olmo() {
  HfFamily family = llama_like("OlmoForCausalLM", "olmo");
  family.modules = kOlmoModules;
  family.layer_modules = kOlmoLayer;
  family.keys = kOlmoKeys;
  family.biases = kAttentionBiases;
  return family;
}

constexpr std::array kStableLmBiases = {HfBias{"attn_norm", "", true}, HfBias{"ffn_norm", "", true},
                                        HfBias{"attn_output", ""}, HfBias{"attn_", "use_qkv_bias"}};
constexpr std::array kStableLmLayer =
    joined(kLlamaLayer, std::array{
                            module("self_attn.q_layernorm.norms.*", "attn_q_norm.*"),
                            module("self_attn.k_layernorm.norms.*", "attn_k_norm.*"),
                        });

// Unlike in GGUF files, what is stated counts, and silence means false.
Status add_stablelm(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto parallel, config.flag("use_parallel_residual"));
  out.add(family.metadata_key("parallel_residual"), parallel.value_or(false));
  return add_qk_norm(config, family, "qk_layernorm", out);
}

constexpr HfFamily stablelm() {
  HfFamily family = llama_like("StableLmForCausalLM", "stablelm");
  family.keys = kLayerNormKeys;
  family.layer_modules = kStableLmLayer;
  family.biases = kStableLmBiases;
  family.rope = {.partial = true, .part = 0.25};
  family.translate_more = add_stablelm;
  return family;
}

constexpr std::array kJaisKeys =
    joined(kLayerNormKeys, std::array{
                               optional("head_dim", "attention.key_length"),
                               optional("head_dim", "attention.value_length"),
                           });

constexpr std::array kJaisLayer = joined(kTwoNorms, kSplitAttention, kPlainFeedForward);

constexpr std::array kJaisBiases = {HfBias{"attn_norm", "", true}, HfBias{"ffn_norm", "", true},
                                    HfBias{"attn_", "attention_bias", true},
                                    HfBias{"ffn_", "mlp_bias", true}};

constexpr HfFamily jais2() {
  HfFamily family = llama_like("Jais2ForCausalLM", "jais2");
  family.activations = kReluSquared;
  family.layer_modules = kJaisLayer;
  family.keys = kJaisKeys;
  family.biases = kJaisBiases;
  return family;
}

constexpr std::array kNemotronKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("norm_eps", "attention.layer_norm_epsilon"),
                             optional("num_key_value_heads", "attention.head_count_kv"),
                             optional("head_dim", "attention.key_length"),
                             optional("head_dim", "attention.value_length"),
                         });

constexpr std::array kNemotronModules = {
    module("embed_tokens", "token_embd"),
    module("norm", "output_norm", kAddOne),
};

constexpr std::array kNemotronLayer =
    joined(kSplitAttention, kPlainFeedForward,
           std::array{
               module("input_layernorm", "attn_norm", kAddOne),
               module("post_attention_layernorm", "ffn_norm", kAddOne),
           });

constexpr std::array kNemotronBiases = {HfBias{"attn_norm", "", true}, HfBias{"ffn_norm", "", true},
                                        HfBias{"attn_", "attention_bias"},
                                        HfBias{"ffn_", "mlp_bias"}};

constexpr HfFamily nemotron() {
  HfFamily family = llama_like("NemotronForCausalLM", "nemotron");
  family.activations = kReluSquared;
  family.modules = kNemotronModules;
  family.layer_modules = kNemotronLayer;
  family.keys = kNemotronKeys;
  family.biases = kNemotronBiases;
  family.rope = {.partial = true, .part = 0.5};
  return family;
}

constexpr std::array kStarcoder2Keys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("norm_epsilon", "attention.layer_norm_epsilon"),
                             required("num_key_value_heads", "attention.head_count_kv"),
                             optional("head_dim", "attention.key_length"),
                             optional("head_dim", "attention.value_length"),
                         });

constexpr std::array kStarcoder2Layer =
    joined(kTwoNorms, kSplitAttention,
           std::array{module("mlp.c_fc", "ffn_up"), module("mlp.c_proj", "ffn_down")});

constexpr std::array kStarcoder2Biases = {
    HfBias{"attn_norm", "", true}, HfBias{"ffn_norm", "", true}, HfBias{"", "use_bias", true}};

constexpr HfFamily starcoder2() {
  HfFamily family = llama_like("Starcoder2ForCausalLM", "starcoder2");
  family.activations = kGeluTanh;
  family.tied_by_default = true;
  family.layer_modules = kStarcoder2Layer;
  family.keys = kStarcoder2Keys;
  family.biases = kStarcoder2Biases;
  family.windows = {.layers = HfWindowedLayers::kAll};
  return family;
}

constexpr std::array<std::string_view, 1> kGelu = {"gelu"};

constexpr std::array kGptNeoxModules = {
    module("embed_in", "token_embd"),
    module("final_layer_norm", "output_norm"),
};

constexpr std::array kGptNeoxLayer =
    joined(kTwoNorms, std::array{
                          module("attention.query_key_value", "attn_qkv", kHeadwise),
                          module("attention.dense", "attn_output"),
                          module("mlp.dense_h_to_4h", "ffn_up"),
                          module("mlp.dense_4h_to_h", "ffn_down"),
                      });

constexpr std::array kGptNeoxKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("layer_norm_eps", "attention.layer_norm_epsilon"),
                             HfKey{.name = "use_parallel_residual",
                                   .metadata_key = "use_parallel_residual",
                                   .kind = HfKeyKind::kFlag,
                                   .required = false},
                         });

constexpr std::array kGptNeoxAliases = {
    HfAlias{"rotary_pct", "partial_rotary_factor"},
    HfAlias{"rotary_emb_base", "rope_theta"},
};

constexpr std::array kGptNeoxBiases = {HfBias{"attn_norm", "", true},
                                       HfBias{"attn_", "attention_bias", true},
                                       HfBias{"ffn_", "", true}};

constexpr std::array<std::string_view, 4> kGptNeoxBuffers = {
    ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq", ".attention.rotary_emb"};

constexpr HfFamily gpt_neox() {
  HfFamily family = llama_like("GPTNeoXForCausalLM", "gptneox");
  family.activations = kGelu;
  family.base_prefix = "gpt_neox.";
  family.modules = kGptNeoxModules;
  family.layer_modules = kGptNeoxLayer;
  family.keys = kGptNeoxKeys;
  family.aliases = kGptNeoxAliases;
  family.ignored = kGptNeoxBuffers;
  family.biases = kGptNeoxBiases;
  family.output_module = "embed_out";
  family.rope = {.partial = true, .part = 0.25};
  return family;
}

constexpr std::array kPhiModules = {
    module("embed_tokens", "token_embd"),
    module("final_layernorm", "output_norm"),
};

constexpr std::array kPhiLayer = {
    module("input_layernorm", "attn_norm"),
    module("self_attn.q_proj", "attn_q"),
    module("self_attn.k_proj", "attn_k"),
    module("self_attn.v_proj", "attn_v"),
    module("self_attn.dense", "attn_output"),
    module("mlp.fc1", "ffn_up"),
    module("mlp.fc2", "ffn_down"),
};

constexpr std::array<std::string_view, 1> kPhiRefused = {"qk_layernorm"};

constexpr HfFamily phi() {
  HfFamily family = llama_like("PhiForCausalLM", "phi2");
  family.activations = kGeluTanh;
  family.modules = kPhiModules;
  family.layer_modules = kPhiLayer;
  family.keys = kLayerNormKeys;
  family.refused = kPhiRefused;
  family.biases = kEveryBias;
  family.rope = {.partial = true, .part = 0.5};
  return family;
}

constexpr std::array kFalconModules = {
    module("word_embeddings", "token_embd"),
    module("ln_f", "output_norm"),
};

constexpr std::array kFalconLayer = {
    module("input_layernorm", "attn_norm"),
    module("ln_mlp", "attn_norm"),
    module("ln_attn", "attn_norm_2"),
    module("self_attention.query_key_value", "attn_qkv", kHeadwise),
    module("self_attention.dense", "attn_output"),
    module("mlp.dense_h_to_4h", "ffn_up"),
    module("mlp.dense_4h_to_h", "ffn_down"),
};

constexpr std::array kFalconKeys =
    joined(kDecoderKeys, std::array{number("layer_norm_epsilon", "attention.layer_norm_epsilon")});

constexpr std::array kFalconAliases = {
    HfAlias{"n_layer", "num_hidden_layers"},
    HfAlias{"n_embed", "hidden_size"},
    HfAlias{"n_head", "num_attention_heads"},
};

constexpr std::array kFalconBiases = {HfBias{"attn_norm", "", true}, HfBias{"", "bias"}};
constexpr std::array<std::string_view, 1> kFalconRefused = {"alibi"};

// The newer design states groups of heads; the older one has one key and value for all heads, or
// one for each.
Result<std::uint32_t> falcon_kv_heads(const HfObject& config) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t heads, config.required_size("num_attention_heads"));
  HEARTH_ASSIGN_OR_RETURN(const auto newer, config.flag("new_decoder_architecture"));
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.size("num_kv_heads"));
  HEARTH_ASSIGN_OR_RETURN(const auto multi_query, config.flag("multi_query"));
  if (!newer.value_or(false)) return multi_query.value_or(true) ? 1 : heads;
  if (heads % stated.value_or(heads) != 0) {
    return error(StatusCode::kDataLoss,
                 "{}: 'num_attention_heads' ({}) is not a multiple of 'num_kv_heads' ({})",
                 config.file(), heads, *stated);
  }
  return stated.value_or(heads);
}

Status add_falcon(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto parallel, config.flag("parallel_attn"));
  HEARTH_ASSIGN_OR_RETURN(const auto newer, config.flag("new_decoder_architecture"));
  if (!parallel.value_or(true) && !newer.value_or(false)) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'parallel_attn' is false; {} is supported "
                       "with attention beside the feed-forward",
                       config.file(), family.class_name);
  }
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t kv_heads, falcon_kv_heads(config));
  out.add_size(family.metadata_key("attention.head_count_kv"), kv_heads);
  HEARTH_ASSIGN_OR_RETURN(const auto context, config.size("max_position_embeddings"));
  out.add_size(family.metadata_key("context_length"), context.value_or(2048));
  HEARTH_ASSIGN_OR_RETURN(const auto inner, config.size("ffn_hidden_size"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t hidden, config.required_size("hidden_size"));
  out.add_size(family.metadata_key("feed_forward_length"), inner ? *inner : 4 * hidden);
  return {};
}

constexpr HfFamily falcon() {
  HfFamily family = llama_like("FalconForCausalLM", "falcon");
  family.activation_key = "activation";
  family.activations = kGelu;
  family.tied_by_default = true;
  family.base_prefix = "transformer.";
  family.layer_prefix = "h.";
  family.modules = kFalconModules;
  family.layer_modules = kFalconLayer;
  family.keys = kFalconKeys;
  family.aliases = kFalconAliases;
  family.refused = kFalconRefused;
  family.biases = kFalconBiases;
  family.translate_more = add_falcon;
  return family;
}

constexpr std::array kLayerNormFamilies = {
    cohere(),   cohere2(), falcon(), gpt_neox(), jais2(),
    nemotron(), olmo(),    phi(),    stablelm(), starcoder2(),
};

}  // namespace

std::span<const HfFamily> hf_layer_norm_families() {
  return kLayerNormFamilies;
}

}  // namespace hearth
