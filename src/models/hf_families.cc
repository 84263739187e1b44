#include "models/hf_families.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "models/architectures.h"
#include "models/encoder_config.h"
#include "models/hf_config.h"
#include "models/hf_deepseek.h"
#include "models/hf_encoders.h"
#include "models/hf_experts.h"
#include "models/hf_labels.h"
#include "models/hf_layer_norms.h"
#include "models/hf_llama_rows.h"
#include "models/hf_older_families.h"

namespace hearth {
namespace {

using enum HfTransform;

// Gemma 1 was published with "gelu" and means its approximation by tanh.
constexpr std::array<std::string_view, 2> kGemmaGelu = {"gelu", "gelu_pytorch_tanh"};

constexpr std::array<std::string_view, 2> kSavedMasks = {".attn.bias", ".attn.masked_bias"};

constexpr std::array kQwen3Layer = joined(kLlamaLayer, kHeadNorms);

constexpr std::array kQwen2Biases = {HfBias{"attn_output", ""}, HfBias{"attn_", "", true}};

constexpr HfFamily mistral() {
  HfFamily family = llama_like("MistralForCausalLM", "llama");
  family.biases = {};
  family.windows = {.layers = HfWindowedLayers::kAll, .size = kWindow};
  return family;
}

constexpr HfFamily qwen2() {
  HfFamily family = llama_like("Qwen2ForCausalLM", "qwen2");
  family.biases = kQwen2Biases;
  family.windows = {
      .layers = HfWindowedLayers::kUpper, .listed = true, .must_be_used = true, .size = kWindow};
  return family;
}

constexpr HfFamily qwen3() {
  HfFamily family = llama_like("Qwen3ForCausalLM", "qwen3");
  family.biases = kAttentionBiases;
  family.layer_modules = kQwen3Layer;
  family.windows = {
      .layers = HfWindowedLayers::kUpper, .listed = true, .must_be_used = true, .size = kWindow};
  return family;
}

// The last token's hidden state through one matrix: rerankers, and classifiers of one text.
Status add_last_token_head(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  out.add_size(family.metadata_key(kPoolingTypeKey), kPoolingRank);
  return translate_hf_labels(config, family, out);
}

constexpr std::array kScoredModules = joined(kLlamaModules, std::array{
                                                                head_module("score", "cls.output"),
                                                            });

constexpr HfFamily qwen3_classifier() {
  HfFamily family = qwen3();
  family.class_name = "Qwen3ForSequenceClassification";
  family.modules = kScoredModules;
  family.translate_more = add_last_token_head;
  return family;
}

constexpr std::array kPhi3Layer = joined(kTwoNorms, std::array{
                                                        module("self_attn.qkv_proj", "attn_qkv"),
                                                        module("self_attn.o_proj", "attn_output"),
                                                        module("mlp.gate_up_proj", "ffn_up"),
                                                        module("mlp.down_proj", "ffn_down"),
                                                    });

constexpr HfFamily phi3() {
  HfFamily family = llama_like("Phi3ForCausalLM", "phi3");
  family.biases = {};
  family.layer_modules = kPhi3Layer;
  family.rope = {.partial = true, .long_only = true, .original_context = 4096};
  family.windows = {.layers = HfWindowedLayers::kAll};
  return family;
}

Status check_smollm3(const HfObject& config, const HfFamily& /*family*/, MetadataWriter& /*out*/) {
  return check_hf_unrotated_layers(config);
}

constexpr HfFamily smollm3() {
  HfFamily family = llama_like("SmolLM3ForCausalLM", "smollm3");
  family.tied_by_default = true;
  family.rope.theta = 2e6;
  family.windows = {.layers = HfWindowedLayers::kUnrotated, .listed = true, .must_be_used = true};
  family.translate_more = check_smollm3;
  return family;
}

constexpr std::array kGemmaModules = {
    module("embed_tokens", "token_embd"),
    module("norm", "output_norm", kAddOne),
};

constexpr std::array kGemmaLayer =
    joined(kSplitAttention, kFeedForward,
           std::array{
               module("input_layernorm", "attn_norm", kAddOne),
               module("post_attention_layernorm", "ffn_norm", kAddOne),
           });

constexpr std::array kGemma2Layer =
    joined(kSplitAttention, kFeedForward,
           std::array{
               module("input_layernorm", "attn_norm", kAddOne),
               module("post_attention_layernorm", "post_attention_norm", kAddOne),
               module("pre_feedforward_layernorm", "ffn_norm", kAddOne),
               module("post_feedforward_layernorm", "post_ffw_norm", kAddOne),
           });

constexpr std::array kGemma3Layer =
    joined(kGemma2Layer, std::array{
                             module("self_attn.q_norm", "attn_q_norm", kAddOne),
                             module("self_attn.k_norm", "attn_k_norm", kAddOne),
                         });

constexpr HfFamily gemma() {
  HfFamily family = llama_like("GemmaForCausalLM", "gemma");
  family.biases = kAttentionBiases;
  family.activations = kGemmaGelu;
  family.tied_by_default = true;
  family.modules = kGemmaModules;
  family.layer_modules = kGemmaLayer;
  return family;
}

// 0 for none, as where the key is null.
Result<double> soft_cap(const HfObject& config, std::string_view key, double absent) {
  HEARTH_ASSIGN_OR_RETURN(const auto cap, config.number(key));
  if (cap && *cap <= 0.0) {
    return error(StatusCode::kDataLoss, "{}: '{}' is {}; it must be above 0 or null", config.file(),
                 key, *cap);
  }
  return cap.value_or(config.is_null(key) ? 0.0 : absent);
}

Status add_query_scale(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::string_view kKey = "query_pre_attn_scalar";
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.number(kKey));
  const double scalar = stated.value_or(256.0);
  if (scalar <= 0.0) {
    return make_status(StatusCode::kDataLoss, "{}: '{}' is {}; it must be above 0", config.file(),
                       kKey, scalar);
  }
  out.add(family.metadata_key("attention.scale"), 1.0 / std::sqrt(scalar));
  return {};
}

Status add_gemma2(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(add_query_scale(config, family, out));
  HEARTH_ASSIGN_OR_RETURN(const double scores, soft_cap(config, "attn_logit_softcapping", 50.0));
  HEARTH_ASSIGN_OR_RETURN(const double logits, soft_cap(config, "final_logit_softcapping", 30.0));
  out.add(family.metadata_key("attn_logit_softcapping"), scores);
  out.add(family.metadata_key("final_logit_softcapping"), logits);
  return {};
}

// The class has the key for a cap of attention scores too, but does not use it.
Status add_gemma3(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(add_query_scale(config, family, out));
  HEARTH_ASSIGN_OR_RETURN(const double logits, soft_cap(config, "final_logit_softcapping", 0.0));
  out.add(family.metadata_key("final_logit_softcapping"), logits);
  return {};
}

constexpr HfFamily gemma2() {
  HfFamily family = gemma();
  family.class_name = "Gemma2ForCausalLM";
  family.architecture = "gemma2";
  family.layer_modules = kGemma2Layer;
  family.activation_key = "hidden_activation";
  family.activations = kGeluTanh;
  family.windows = {.layers = HfWindowedLayers::kEverySecond,
                    .listed = true,
                    .must_be_stated = true,
                    .size = kWindow};
  family.translate_more = add_gemma2;
  return family;
}

constexpr HfFamily gemma3() {
  HfFamily family = gemma2();
  family.class_name = "Gemma3ForCausalLM";
  family.architecture = "gemma3";
  family.layer_modules = kGemma3Layer;
  family.rope = {.theta = 1e6, .per_kind = true};
  family.translate_more = add_gemma3;
  family.windows.layers = HfWindowedLayers::kAllButLastOfGroup;
  return family;
}

Status add_embedding_gemma(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::string_view kKey = "use_bidirectional_attention";
  HEARTH_ASSIGN_OR_RETURN(const auto both_ways, config.flag(kKey));
  if (!both_ways.value_or(false)) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: '{}' is false; {} is supported where attention looks both ways",
                       config.file(), kKey, family.class_name);
  }
  return add_query_scale(config, family, out);
}

constexpr HfFamily embedding_gemma() {
  HfFamily family = gemma3();
  family.class_name = "Gemma3TextModel";
  family.architecture = "gemma-embedding";
  family.translate_more = add_embedding_gemma;
  return family;
}

constexpr std::array kErnieBiases = {HfBias{"attn_", "use_bias"}, HfBias{"ffn_", "use_bias"}};

constexpr HfFamily ernie4_5() {
  HfFamily family = llama_like("Ernie4_5ForCausalLM", "ernie4_5");
  family.keys = kWideKeys;
  family.tied_by_default = true;
  family.biases = kErnieBiases;
  family.rope = {.theta = 500000.0, .interleaved = true};
  return family;
}

constexpr std::array kOutputNorms = {
    module("post_attention_layernorm", "post_attention_norm"),
    module("post_feedforward_layernorm", "post_ffw_norm"),
};

constexpr std::array kOlmo2Layer = joined(kOutputNorms, kSplitAttention, kFeedForward, kHeadNorms);

constexpr std::array kExaoneModules = {
    module("wte", "token_embd"),
    module("ln_f", "output_norm"),
};

constexpr std::array kExaoneLayer = {
    module("ln_1", "attn_norm"),
    module("attn.attention.q_proj", "attn_q"),
    module("attn.attention.k_proj", "attn_k"),
    module("attn.attention.v_proj", "attn_v"),
    module("attn.attention.out_proj", "attn_output"),
    module("ln_2", "ffn_norm"),
    module("mlp.c_fc_0", "ffn_gate"),
    module("mlp.c_fc_1", "ffn_up"),
    module("mlp.c_proj", "ffn_down"),
};

constexpr std::array kExaoneAliases = {
    HfAlias{"num_layers", "num_hidden_layers"},
    HfAlias{"layer_norm_epsilon", "rms_norm_eps"},
};

constexpr HfFamily exaone() {
  HfFamily family = llama_like("ExaoneForCausalLM", "exaone");
  family.activation_key = "activation_function";
  family.base_prefix = "transformer.";
  family.layer_prefix = "h.";
  family.modules = kExaoneModules;
  family.layer_modules = kExaoneLayer;
  family.aliases = kExaoneAliases;
  family.biases = {};
  return family;
}

constexpr HfFamily exaone4() {
  HfFamily family = llama_like("Exaone4ForCausalLM", "exaone4");
  family.biases = {};
  family.layer_modules = kOlmo2Layer;
  family.windows = {
      .layers = HfWindowedLayers::kAllButLastOfGroup, .listed = true, .period = 4, .size = kWindow};
  return family;
}

constexpr HfFamily olmo2() {
  HfFamily family = llama_like("Olmo2ForCausalLM", "olmo2");
  family.biases = kAttentionBiases;
  family.layer_modules = kOlmo2Layer;
  return family;
}

constexpr HfFamily olmo3() {
  HfFamily family = exaone4();
  family.class_name = "Olmo3ForCausalLM";
  family.architecture = "olmo2";
  family.biases = kAttentionBiases;
  family.rope = {.theta = 500000.0, .per_kind = true};
  return family;
}

constexpr std::array kGlmBiases = {HfBias{"attn_output", ""},
                                   HfBias{"attn_", "attention_bias", true}};

constexpr std::array kFusedFeedForward = {
    module("mlp.gate_up_proj", "ffn_up"),
    module("mlp.down_proj", "ffn_down"),
};

constexpr std::array kGlmLayer = joined(kTwoNorms, kSplitAttention, kFusedFeedForward);
constexpr std::array kGlm4Layer =
    joined(kGlmLayer, std::array{
                          module("post_self_attn_layernorm", "post_attention_norm"),
                          module("post_mlp_layernorm", "post_ffw_norm"),
                      });

constexpr HfFamily glm() {
  HfFamily family = llama_like("GlmForCausalLM", "chatglm");
  family.keys = kWideKeys;
  family.biases = kGlmBiases;
  family.layer_modules = kGlmLayer;
  family.rope = {.partial = true, .part = 0.5, .interleaved = true};
  return family;
}

constexpr HfFamily glm4() {
  HfFamily family = glm();
  family.class_name = "Glm4ForCausalLM";
  family.architecture = "glm4";
  family.layer_modules = kGlm4Layer;
  return family;
}

constexpr HfFamily granite() {
  HfFamily family = llama_like("GraniteForCausalLM", "granite");
  family.keys = kGraniteKeys;
  return family;
}

constexpr std::array kArceeLayer = joined(kTwoNorms, kSplitAttention, kPlainFeedForward);

constexpr HfFamily arcee() {
  HfFamily family = llama_like("ArceeForCausalLM", "arcee");
  family.activations = kReluSquared;
  family.layer_modules = kArceeLayer;
  return family;
}

// Sparse attention, and experts of the variant that has them.
constexpr std::array<std::string_view, 2> kMiniCpmRefused = {"sparse_config", "num_experts"};

Result<double> required_scale(const HfObject& config, std::string_view key) {
  HEARTH_ASSIGN_OR_RETURN(const auto scale, config.number(key));
  if (scale && *scale > 0.0) return *scale;
  return error(StatusCode::kDataLoss, "{}: '{}' is {}; it must be above 0", config.file(), key,
               scale ? fmt::format("{}", *scale) : "missing");
}

// In the precision of a GGUF file, so that both give the same bits.
Status add_minicpm(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const double embedding, required_scale(config, "scale_emb"));
  HEARTH_ASSIGN_OR_RETURN(const double depth, required_scale(config, "scale_depth"));
  HEARTH_ASSIGN_OR_RETURN(const double base, required_scale(config, "dim_model_base"));
  HEARTH_ASSIGN_OR_RETURN(const double layers, config.required_size("num_hidden_layers"));
  HEARTH_ASSIGN_OR_RETURN(const double width, config.required_size("hidden_size"));
  const auto add = [&](std::string_view key, double scale) {
    out.add(family.metadata_key(key), static_cast<double>(static_cast<float>(scale)));
  };
  add("embedding_scale", embedding);
  add("residual_scale", depth / std::sqrt(layers));
  add("logit_scale", width / base);
  return {};
}

constexpr HfFamily minicpm() {
  HfFamily family = llama_like("MiniCPMForCausalLM", "minicpm");
  family.tied_by_default = true;
  family.biases = kAttentionBiases;
  family.refused = kMiniCpmRefused;
  family.translate_more = add_minicpm;
  return family;
}

constexpr std::array kCwmBiases = {HfBias{"ffn_", "mlp_bias"}};

constexpr HfFamily cwm() {
  HfFamily family = llama_like("CwmForCausalLM", "llama");
  family.keys = kWideKeys;
  family.biases = kCwmBiases;
  family.rope = {.theta = 1e6, .required = true};
  family.windows = {.layers = HfWindowedLayers::kAllButFirstOfGroup,
                    .listed = true,
                    .must_be_stated = true,
                    .period = 4,
                    .size = 8192};
  return family;
}

constexpr std::array kHeliumBiases = {HfBias{"attn_output", ""}, HfBias{"attn_", "attention_bias"},
                                      HfBias{"ffn_", "mlp_bias"}};

constexpr HfFamily helium() {
  HfFamily family = llama_like("HeliumForCausalLM", "llama");
  family.keys = kWideKeys;
  family.biases = kHeliumBiases;
  family.rope = {.theta = 1e5, .interleaved = true};
  return family;
}

// What the models' own code has and none of them uses.
constexpr std::array<std::string_view, 2> kIquestRefused = {"clip_qkv", "use_sliding_window"};

constexpr HfFamily iquest_coder() {
  HfFamily family = llama_like("IQuestCoderForCausalLM", "llama");
  family.keys = kWideKeys;
  family.refused = kIquestRefused;
  return family;
}

constexpr std::array kHunyuanLayer =
    joined(kLlamaLayer, std::array{
                            module("self_attn.query_layernorm", "attn_q_norm"),
                            module("self_attn.key_layernorm", "attn_k_norm"),
                        });

constexpr HfFamily hunyuan() {
  HfFamily family = llama_like("HunYuanDenseV1ForCausalLM", "hunyuan-dense");
  family.keys = kWideKeys;
  family.biases = kAttentionBiases;
  family.layer_modules = kHunyuanLayer;
  family.rope = {.stretched_base = true};
  return family;
}

constexpr std::array kInternlm2Modules = {
    module("tok_embeddings", "token_embd"),
    module("norm", "output_norm"),
};

constexpr std::array kInternlm2Layer = {
    module("attention_norm", "attn_norm"), module("attention.wqkv", "attn_qkv", kHeadwise),
    module("attention.wo", "attn_output"), module("ffn_norm", "ffn_norm"),
    module("feed_forward.w1", "ffn_gate"), module("feed_forward.w3", "ffn_up"),
    module("feed_forward.w2", "ffn_down"),
};

constexpr std::array kInternlm2Biases = {HfBias{"attn_", "bias"}};

constexpr HfFamily internlm2() {
  HfFamily family = llama_like("InternLM2ForCausalLM", "internlm2");
  family.modules = kInternlm2Modules;
  family.layer_modules = kInternlm2Layer;
  family.biases = kInternlm2Biases;
  family.output_module = "output";
  return family;
}

constexpr std::array kInternlm3Biases = {HfBias{"attn_output", "bias"}, HfBias{"attn_", "qkv_bias"},
                                         HfBias{"ffn_", "bias"}};

constexpr HfFamily internlm3() {
  HfFamily family = llama_like("InternLM3ForCausalLM", "llama");
  family.keys = kWideKeys;
  family.biases = kInternlm3Biases;
  return family;
}

constexpr HfFamily ministral() {
  HfFamily family = llama_like("MinistralForCausalLM", "llama");
  family.keys = kWideKeys;
  family.biases = {};
  family.windows = {.layers = HfWindowedLayers::kAll, .listed = true, .size = kWindow};
  return family;
}

constexpr std::array kSeedBiases = {HfBias{"attn_output", "attention_out_bias"},
                                    HfBias{"attn_", "attention_bias", true},
                                    HfBias{"ffn_", "mlp_bias"}};

constexpr HfFamily seed_oss() {
  HfFamily family = llama_like("SeedOssForCausalLM", "seed_oss");
  family.keys = kWideKeys;
  family.biases = kSeedBiases;
  return family;
}

constexpr std::array kGpt2Modules = {
    module("wte", "token_embd"),
    module("wpe", "position_embd"),
    module("ln_f", "output_norm"),
};

constexpr std::array kGpt2Layer = {
    module("ln_1", "attn_norm"),
    module("attn.c_attn", "attn_qkv", kTransposed),
    module("attn.c_proj", "attn_output", kTransposed),
    module("ln_2", "ffn_norm"),
    module("mlp.c_fc", "ffn_up", kTransposed),
    module("mlp.c_proj", "ffn_down", kTransposed),
};

constexpr std::array kGpt2Keys =
    joined(kDecoderKeys, std::array{
                             required("max_position_embeddings", "context_length"),
                             number("layer_norm_epsilon", "attention.layer_norm_epsilon"),
                         });

constexpr std::array kGpt2Aliases = {
    HfAlias{"n_layer", "num_hidden_layers"},
    HfAlias{"n_embd", "hidden_size"},
    HfAlias{"n_head", "num_attention_heads"},
    HfAlias{"n_positions", "max_position_embeddings"},
};

// Four times the width unless `stated`.
Status add_feed_forward(const HfObject& config, const HfFamily& family,
                        std::optional<std::uint32_t> stated, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t hidden, config.required_size("hidden_size"));
  out.add_size(family.metadata_key("feed_forward_length"), stated ? *stated : 4 * hidden);
  return {};
}

Status add_gpt2(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto scaled, config.flag("scale_attn_weights"));
  HEARTH_ASSIGN_OR_RETURN(const auto by_layer, config.flag("scale_attn_by_inverse_layer_idx"));
  if (!scaled.value_or(true) || by_layer.value_or(false)) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: only 'scale_attn_weights': true without "
                       "'scale_attn_by_inverse_layer_idx' is supported",
                       config.file());
  }
  HEARTH_ASSIGN_OR_RETURN(const auto inner, config.size("n_inner"));
  return add_feed_forward(config, family, inner, out);
}

constexpr HfFamily gpt2() {
  return {.class_name = "GPT2LMHeadModel",
          .architecture = "gpt2",
          .activation_key = "activation_function",
          .activations = kGeluTanh,
          .tied_by_default = true,
          .rotates = false,
          .base_prefix = "transformer.",
          .layer_prefix = "h.",
          .modules = kGpt2Modules,
          .layer_modules = kGpt2Layer,
          .keys = kGpt2Keys,
          .aliases = kGpt2Aliases,
          .ignored = kSavedMasks,
          .biases = kEveryBias,
          .rope = {},
          .windows = {},
          .translate_more = add_gpt2};
}

constexpr std::array kBigCodeLayer = {
    module("ln_1", "attn_norm"),          module("attn.c_attn", "attn_qkv", kHeadwise),
    module("attn.c_proj", "attn_output"), module("ln_2", "ffn_norm"),
    module("mlp.c_fc", "ffn_up"),         module("mlp.c_proj", "ffn_down"),
};

// One key and value for all heads, or one for each.
Status add_big_code(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto shared, config.flag("multi_query"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t heads, config.required_size("num_attention_heads"));
  out.add_size(family.metadata_key("attention.head_count_kv"), shared.value_or(true) ? 1 : heads);
  return add_gpt2(config, family, out);
}

constexpr HfFamily big_code() {
  HfFamily family = gpt2();
  family.class_name = "GPTBigCodeForCausalLM";
  family.architecture = "starcoder";
  family.layer_modules = kBigCodeLayer;
  family.translate_more = add_big_code;
  return family;
}

constexpr std::array kBloomModules = {
    module("word_embeddings", "token_embd"),
    module("word_embeddings_layernorm", "token_embd_norm"),
    module("ln_f", "output_norm"),
};

constexpr std::array kBloomLayer = {
    module("input_layernorm", "attn_norm"),
    module("self_attention.query_key_value", "attn_qkv", kHeadwise),
    module("self_attention.dense", "attn_output"),
    module("post_attention_layernorm", "ffn_norm"),
    module("mlp.dense_h_to_4h", "ffn_up"),
    module("mlp.dense_4h_to_h", "ffn_down"),
};

constexpr std::array kBloomKeys =
    joined(kDecoderKeys, std::array{number("layer_norm_epsilon", "attention.layer_norm_epsilon")});

constexpr std::array kBloomAliases = {
    HfAlias{"n_layer", "num_hidden_layers"},
    HfAlias{"n_embed", "hidden_size"},
    HfAlias{"n_head", "num_attention_heads"},
};

Status add_bloom(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::uint32_t kContext = 2048;  // Slopes have no end; this is what BLOOM learned with.
  HEARTH_ASSIGN_OR_RETURN(const auto other,
                          config.flag("apply_residual_connection_post_layernorm"));
  if (other.value_or(false)) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: 'apply_residual_connection_post_layernorm' is not supported",
                       config.file());
  }
  HEARTH_ASSIGN_OR_RETURN(const auto context, config.size("seq_length"));
  out.add_size(family.metadata_key("context_length"), context.value_or(kContext));
  return add_feed_forward(config, family, std::nullopt, out);
}

constexpr HfFamily bloom() {
  return {.class_name = "BloomForCausalLM",
          .architecture = "bloom",
          .activation_key = {},
          .activations = {},
          .tied_by_default = true,
          .rotates = false,
          .base_prefix = "transformer.",
          .layer_prefix = "h.",
          .modules = kBloomModules,
          .layer_modules = kBloomLayer,
          .keys = kBloomKeys,
          .aliases = kBloomAliases,
          .ignored = {},
          .biases = kEveryBias,
          .rope = {},
          .windows = {},
          .translate_more = add_bloom};
}

constexpr std::array kFamilies = {
    arcee(),
    bloom(),
    big_code(),
    cwm(),
    ernie4_5(),
    exaone(),
    exaone4(),
    gemma(),
    gemma2(),
    gemma3(),
    embedding_gemma(),
    glm(),
    glm4(),
    gpt2(),
    granite(),
    helium(),
    hunyuan(),
    iquest_coder(),
    internlm2(),
    internlm3(),
    llama_like("LlamaForCausalLM", "llama"),
    minicpm(),
    ministral(),
    mistral(),
    olmo2(),
    olmo3(),
    phi3(),
    qwen2(),
    qwen3(),
    qwen3_classifier(),
    seed_oss(),
    smollm3(),
};

std::array<std::span<const HfFamily>, 6> all_tables() {
  return {kFamilies,
          hf_older_families(),
          hf_layer_norm_families(),
          hf_expert_families(),
          hf_deepseek_families(),
          hf_encoder_families()};
}

bool is_usable(const HfFamily& family) {
  return family.is_encoder() || find_architecture(family.architecture) != nullptr;
}

}  // namespace

std::string HfFamily::bare_class() const {
  constexpr std::string_view kWithHead = "ForCausalLM";
  if (!class_name.ends_with(kWithHead)) return std::string(class_name);
  return fmt::format("{}Model", class_name.substr(0, class_name.size() - kWithHead.size()));
}

bool HfFamily::is_encoder() const {
  return find_encoder_architecture(architecture) != nullptr;
}

std::string HfFamily::metadata_key(std::string_view key) const {
  return fmt::format("{}.{}", architecture, key);
}

const HfFamily* find_hf_family(std::string_view class_name) {
  const auto has_name = [&](const HfFamily& family) {
    return family.class_name == class_name || family.bare_class() == class_name;
  };
  for (const auto& rows : all_tables()) {
    const auto row = std::ranges::find_if(rows, has_name);
    if (row != rows.end()) return is_usable(*row) ? &*row : nullptr;
  }
  return nullptr;
}

std::string supported_hf_classes() {
  std::vector<std::string_view> names;
  for (const auto& rows : all_tables()) {
    for (const HfFamily& family : rows) {
      if (is_usable(family)) names.push_back(family.class_name);
    }
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace hearth
