#include "models/hf_experts.h"

#include <array>
#include <string_view>
#include <utility>

#include "models/hf_config.h"
#include "models/hf_llama_rows.h"

namespace hearth {
namespace {

using enum HfTransform;

constexpr std::array kQwen2MoeBiases = {HfBias{"attn_output", ""},
                                        HfBias{"attn_", "qkv_bias", true}};

constexpr std::array kMixtralKeys =
    joined(kLlamaKeys, std::array{
                           required("num_local_experts", "expert_count"),
                           required("num_experts_per_tok", "expert_used_count"),
                       });

constexpr std::array kMixtralLayer =
    joined(kTwoNorms, kSplitAttention,
           std::array{
               module("block_sparse_moe.gate", "ffn_gate_inp"),
               module("block_sparse_moe.experts.*.w1", "ffn_gate.*"),
               module("block_sparse_moe.experts.*.w2", "ffn_down.*"),
               module("block_sparse_moe.experts.*.w3", "ffn_up.*"),
           });

constexpr HfFamily mixtral() {
  HfFamily family = llama_like("MixtralForCausalLM", "llama");
  family.biases = {};
  family.layer_modules = kMixtralLayer;
  family.keys = kMixtralKeys;
  family.rope.theta = 1e6;
  family.windows = {.layers = HfWindowedLayers::kAll};
  return family;
}

constexpr std::array kQwenMoeKeys =
    joined(kLlamaKeys,
           std::array{
               required("num_experts", "expert_count"),
               required("num_experts_per_tok", "expert_used_count"),
               required("moe_intermediate_size", "expert_feed_forward_length"),
               optional("shared_expert_intermediate_size", "expert_shared_feed_forward_length"),
               HfKey{.name = "norm_topk_prob",
                     .metadata_key = "expert_weights_norm",
                     .kind = HfKeyKind::kFlag,
                     .required = true},
           });

constexpr std::array kExperts = {
    module("mlp.gate", "ffn_gate_inp"),
    module("mlp.experts.*.gate_proj", "ffn_gate.*"),
    module("mlp.experts.*.down_proj", "ffn_down.*"),
    module("mlp.experts.*.up_proj", "ffn_up.*"),
};

constexpr std::array kSharedExpert = {
    module("mlp.shared_expert_gate", "ffn_gate_inp_shexp", kRow),
    module("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    module("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    module("mlp.shared_expert.up_proj", "ffn_up_shexp"),
};

constexpr std::array kQwen2MoeLayer = joined(kTwoNorms, kSplitAttention, kExperts, kSharedExpert);
constexpr std::array kQwen3MoeLayer = joined(kTwoNorms, kSplitAttention, kHeadNorms, kExperts);

Status check_all_layers_have_experts(const HfObject& config, const HfFamily& /*family*/,
                                     MetadataWriter& /*out*/) {
  HEARTH_ASSIGN_OR_RETURN(const auto step, config.size("decoder_sparse_step"));
  const json::Value* dense = config.find("mlp_only_layers");
  if (step.value_or(1) != 1 || (dense != nullptr && !(*dense == json::Value(json::Array())))) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: layers without experts ('decoder_sparse_step', 'mlp_only_layers') are "
                       "not supported",
                       config.file());
  }
  return {};
}

// transformers writes the newer name since its version 5.
constexpr std::array kQwenMoeAliases = {HfAlias{"num_local_experts", "num_experts"}};

constexpr HfFamily qwen2_moe() {
  HfFamily family = llama_like("Qwen2MoeForCausalLM", "qwen2moe");
  family.biases = kQwen2MoeBiases;
  family.layer_modules = kQwen2MoeLayer;
  family.keys = kQwenMoeKeys;
  family.aliases = kQwenMoeAliases;
  family.windows = {.layers = HfWindowedLayers::kLowerEvenly,
                    .listed = true,
                    .must_be_used = true,
                    .size = kWindow};
  family.translate_more = check_all_layers_have_experts;
  return family;
}

constexpr HfFamily qwen3_moe() {
  HfFamily family = qwen2_moe();
  family.biases = kAttentionBiases;
  family.class_name = "Qwen3MoeForCausalLM";
  family.architecture = "qwen3moe";
  family.windows = {.layers = HfWindowedLayers::kAll, .must_be_used = true, .size = kWindow};
  family.layer_modules = kQwen3MoeLayer;
  return family;
}

constexpr std::array kPhimoeBiases = {
    HfBias{"attn_norm", "", true},
    HfBias{"ffn_norm", "", true},
    HfBias{"attn_", "attention_bias"},
    HfBias{"output", "lm_head_bias"},
};

constexpr std::array kPhimoeKeys =
    joined(kMixtralKeys, std::array{HfKey{.name = "router_jitter_noise",
                                          .metadata_key = "expert_jitter",
                                          .kind = HfKeyKind::kNumber,
                                          .required = false}});

constexpr HfFamily phimoe(std::string_view class_name) {
  HfFamily family = llama_like(class_name, "phimoe");
  family.biases = kPhimoeBiases;
  family.layer_modules = kMixtralLayer;
  family.keys = kPhimoeKeys;
  family.rope = {.theta = 1e6, .long_only = true, .own_magnitudes = true};
  family.windows = {.layers = HfWindowedLayers::kAll};
  return family;
}

constexpr std::array kOlmoeLayer = joined(kTwoNorms, kSplitAttention, kHeadNorms, kExperts);

constexpr std::array kOlmoeKeys =
    joined(kLlamaKeys, std::array{
                           required("num_experts", "expert_count"),
                           required("num_experts_per_tok", "expert_used_count"),
                           kClipping,
                           HfKey{.name = "norm_topk_prob",
                                 .metadata_key = "expert_weights_norm",
                                 .kind = HfKeyKind::kFlag,
                                 .required = false},
                       });

constexpr HfFamily olmoe() {
  HfFamily family = llama_like("OlmoeForCausalLM", "olmoe");
  family.biases = kAttentionBiases;
  family.layer_modules = kOlmoeLayer;
  family.keys = kOlmoeKeys;
  family.aliases = kQwenMoeAliases;
  return family;
}

constexpr std::array kGraniteMoeKeys =
    joined(kGraniteKeys, std::array{
                             required("num_local_experts", "expert_count"),
                             required("num_experts_per_tok", "expert_used_count"),
                         });

constexpr std::array kGraniteMoeLayer =
    joined(kTwoNorms, kSplitAttention,
           std::array{
               module("block_sparse_moe.router.layer", "ffn_gate_inp"),
               module("block_sparse_moe.input_linear", "ffn_up_exps"),
               module("block_sparse_moe.output_linear", "ffn_down_exps"),
           });

constexpr HfFamily granite_moe() {
  HfFamily family = llama_like("GraniteMoeForCausalLM", "granitemoe");
  family.biases = kAttentionBiases;
  family.layer_modules = kGraniteMoeLayer;
  family.keys = kGraniteMoeKeys;
  return family;
}

constexpr std::array<std::string_view, 2> kGptOssIgnored = {".rotary_emb.inv_freq", "_scales"};

constexpr std::array kGptOssLayer =
    joined(kTwoNorms, kSplitAttention,
           std::array{
               module("mlp.router", "ffn_gate_inp"),
               parameter("self_attn.sinks", "attn_sinks.weight"),
               parameter("mlp.experts.gate_up_proj_blocks", "ffn_up_exps.weight", kPairedMxfp4),
               parameter("mlp.experts.gate_up_proj", "ffn_up_exps.weight", kPairedColumns),
               parameter("mlp.experts.gate_up_proj_bias", "ffn_up_exps.bias", kPairedValues),
               parameter("mlp.experts.down_proj_blocks", "ffn_down_exps.weight", kMxfp4),
               parameter("mlp.experts.down_proj", "ffn_down_exps.weight", kExpertColumns),
               parameter("mlp.experts.down_proj_bias", "ffn_down_exps.bias"),
           });

constexpr std::array kGptOssAliases = {HfAlias{"num_experts", "num_local_experts"}};

constexpr std::array kGptOssBiases = {HfBias{"attn_", "attention_bias", true},
                                      HfBias{"ffn_", "", true}};

constexpr std::array kGptOssKeys =
    joined(kWideKeys, std::array{
                          required("num_local_experts", "expert_count"),
                          required("num_experts_per_tok", "expert_used_count"),
                      });

Status check_gpt_oss(const HfObject& config, const HfFamily& family, MetadataWriter& /*out*/) {
  constexpr std::array<std::pair<std::string_view, double>, 2> kConstants = {
      {{"swiglu_alpha", 1.702}, {"swiglu_limit", 7.0}}};
  for (const auto& [key, value] : kConstants) {
    HEARTH_ASSIGN_OR_RETURN(const auto stated, config.number(key));
    if (stated.value_or(value) == value) continue;
    return make_status(StatusCode::kUnimplemented, "{}: '{}' is {}; {} is supported with {}",
                       config.file(), key, *stated, family.class_name, value);
  }
  return {};
}

constexpr HfFamily gpt_oss() {
  HfFamily family = llama_like("GptOssForCausalLM", "gpt-oss");
  family.layer_modules = kGptOssLayer;
  family.keys = kGptOssKeys;
  family.aliases = kGptOssAliases;
  family.quantization = "mxfp4";
  family.ignored = kGptOssIgnored;
  family.biases = kGptOssBiases;
  family.rope = {.theta = 150000.0, .required = true};
  family.windows = {.layers = HfWindowedLayers::kEverySecond,
                    .listed = true,
                    .must_be_stated = true,
                    .size = 128};
  family.translate_more = check_gpt_oss;
  return family;
}

// Phi-3.5 MoE was published with the second name.
constexpr std::array kExpertFamilies = {gpt_oss(),
                                        granite_moe(),
                                        mixtral(),
                                        olmoe(),
                                        phimoe("PhimoeForCausalLM"),
                                        phimoe("PhiMoEForCausalLM"),
                                        qwen2_moe(),
                                        qwen3_moe()};

}  // namespace

std::span<const HfFamily> hf_expert_families() {
  return kExpertFamilies;
}

}  // namespace hearth
