#include "models/hf_deepseek.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "models/hf_config.h"
#include "models/hf_llama_rows.h"

namespace hearth {
namespace {

constexpr std::array kLatentKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
                             required("kv_lora_rank", "attention.kv_lora_rank"),
                             optional("q_lora_rank", "attention.q_lora_rank"),
                             required("v_head_dim", "attention.value_length_mla"),
                             required("n_routed_experts", "expert_count"),
                             required("num_experts_per_tok", "expert_used_count"),
                             required("moe_intermediate_size", "expert_feed_forward_length"),
                             optional_count("n_shared_experts", "expert_shared_count"),
                             optional_count("first_k_dense_replace", "leading_dense_block_count"),
                             number("routed_scaling_factor", "expert_weights_scale"),
                         });

constexpr std::array kV3Keys =
    joined(kLatentKeys, std::array{
                            required("n_group", "expert_group_count"),
                            required("topk_group", "expert_group_used_count"),
                            HfKey{.name = "norm_topk_prob",
                                  .metadata_key = "expert_weights_norm",
                                  .kind = HfKeyKind::kFlag,
                                  .required = true},
                        });

constexpr std::array kLatentLayer =
    joined(kTwoNorms, kFeedForward,
           std::array{
               module("self_attn.q_proj", "attn_q"),
               module("self_attn.q_a_proj", "attn_q_a"),
               module("self_attn.q_a_layernorm", "attn_q_a_norm"),
               module("self_attn.q_b_proj", "attn_q_b"),
               module("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
               module("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
               module("self_attn.kv_b_proj", "attn_kv_b"),
               module("self_attn.o_proj", "attn_output"),
               module("mlp.gate", "ffn_gate_inp"),
               parameter("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"),
               module("mlp.experts.*.gate_proj", "ffn_gate.*"),
               module("mlp.experts.*.down_proj", "ffn_down.*"),
               module("mlp.experts.*.up_proj", "ffn_up.*"),
               module("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
               module("mlp.shared_experts.down_proj", "ffn_down_shexp"),
               module("mlp.shared_experts.up_proj", "ffn_up_shexp"),
           });

constexpr std::array kV2Biases = {
    HfBias{"attn_q_a", "attention_bias"},
    HfBias{"attn_kv_a_mqa", "attention_bias"},
    HfBias{"attn_output", "attention_bias"},
    HfBias{"ffn_", "mlp_bias"},
};

constexpr std::array kV3Biases = {
    HfBias{"attn_q_a", "attention_bias"},
    HfBias{"attn_kv_a_mqa", "attention_bias"},
    HfBias{"attn_output", "attention_bias"},
    HfBias{"exp_probs_b", "", true},
};

// The classes of transformers and the published code differ in what they make of it.
constexpr std::array<std::string_view, 1> kUnclearWeights = {"norm_topk_prob"};

constexpr std::array kLaterNames = {HfAlias{"num_mtp_layers", "num_nextn_predict_layers"},
                                    HfAlias{"num_local_experts", "n_routed_experts"}};

Status check_text(const HfObject& config, std::string_view key,
                  std::span<const std::string_view> values) {
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.text(key));
  if (!stated || std::ranges::find(values, *stated) != values.end()) return {};
  return make_status(StatusCode::kUnimplemented, "{}: '{}' is '{}'; supported is '{}'",
                     config.file(), key, *stated, fmt::join(values, "' or '"));
}

// All heads have keys and values of their own, and every layer behind the dense ones has experts.
Status check_shape(const HfObject& config) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t heads, config.required_size("num_attention_heads"));
  HEARTH_ASSIGN_OR_RETURN(const auto kv_heads, config.size("num_key_value_heads"));
  if (kv_heads.value_or(heads) != heads) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'num_key_value_heads' is {}; with a latent it must be "
                       "'num_attention_heads' ({})",
                       config.file(), *kv_heads, heads);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto frequency, config.size("moe_layer_freq"));
  if (frequency.value_or(1) != 1) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'moe_layer_freq' is {}; only 1 is supported", config.file(),
                       *frequency);
  }
  if (config.has("q_lora_rank") || config.is_null("q_lora_rank")) return {};
  return make_status(StatusCode::kDataLoss,
                     "{}: key 'q_lora_rank' is missing; null means that queries have no latent",
                     config.file());
}

// YaRN's temperature of the scores, in the precision of a GGUF file.
Status add_score_temperature(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  const std::string_view name = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  HEARTH_ASSIGN_OR_RETURN(const auto rope, config.object(name));
  if (!rope) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto all_dim, rope->number("mscale_all_dim"));
  if (all_dim.value_or(0.0) == 0.0) return {};
  out.add(family.metadata_key("rope.scaling.yarn_log_multiplier"),
          static_cast<double>(static_cast<float>(0.1 * *all_dim)));
  return {};
}

Status add_latent(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(check_shape(config));
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t plain, config.required_size("qk_nope_head_dim"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t rotated, config.required_size("qk_rope_head_dim"));
  out.add_size(family.metadata_key("attention.key_length_mla"), plain + rotated);
  return add_score_temperature(config, family, out);
}

Status add_deepseek2(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::array<std::string_view, 1> kScores = {"softmax"};
  constexpr std::array<std::string_view, 2> kMethods = {"greedy", "group_limited_greedy"};
  HEARTH_RETURN_IF_ERROR(add_latent(config, family, out));
  HEARTH_RETURN_IF_ERROR(check_text(config, "scoring_func", kScores));
  HEARTH_RETURN_IF_ERROR(check_text(config, "topk_method", kMethods));
  HEARTH_ASSIGN_OR_RETURN(const auto method, config.text("topk_method"));
  out.add_size(family.metadata_key("expert_gating_func"), 1);
  if (method.value_or(kMethods.front()) == kMethods.front()) return {};
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t groups, config.required_size("n_group"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t used, config.required_size("topk_group"));
  out.add_size(family.metadata_key("expert_group_count"), groups);
  out.add_size(family.metadata_key("expert_group_used_count"), used);
  return {};
}

Status add_deepseek3(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::array<std::string_view, 1> kScores = {"sigmoid"};
  constexpr std::array<std::string_view, 1> kMethods = {"noaux_tc"};
  HEARTH_RETURN_IF_ERROR(add_latent(config, family, out));
  HEARTH_RETURN_IF_ERROR(check_text(config, "scoring_func", kScores));
  HEARTH_RETURN_IF_ERROR(check_text(config, "topk_method", kMethods));
  out.add_size(family.metadata_key("expert_gating_func"), 2);
  return {};
}

constexpr HfFamily deepseek3() {
  HfFamily family = llama_like("DeepseekV3ForCausalLM", "deepseek2");
  family.biases = kV3Biases;
  family.layer_modules = kLatentLayer;
  family.keys = kV3Keys;
  family.aliases = kLaterNames;
  family.rope = {
      .dim_key = "qk_rope_head_dim", .interleaved = true, .interleaved_key = "rope_interleave"};
  family.extra_layers_key = "num_nextn_predict_layers";
  family.translate_more = add_deepseek3;
  return family;
}

constexpr HfFamily deepseek2() {
  HfFamily family = deepseek3();
  family.class_name = "DeepseekV2ForCausalLM";
  family.biases = kV2Biases;
  family.keys = kLatentKeys;
  family.refused = kUnclearWeights;
  family.rope = {.dim_key = "qk_rope_head_dim", .interleaved = true};
  family.extra_layers_key = {};
  family.translate_more = add_deepseek2;
  return family;
}

constexpr std::array kFamilies = {deepseek2(), deepseek3()};

}  // namespace

std::span<const HfFamily> hf_deepseek_families() {
  return kFamilies;
}

}  // namespace hearth
