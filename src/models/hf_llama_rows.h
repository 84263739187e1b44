// What the Hugging Face classes of Llama and its kin share. Internal to their tables.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "models/hf_rows.h"

namespace hearth {

inline constexpr std::array<std::string_view, 1> kSilu = {"silu"};
inline constexpr std::array<std::string_view, 1> kReluSquared = {"relu2"};
inline constexpr std::array<std::string_view, 2> kGeluTanh = {"gelu_new", "gelu_pytorch_tanh"};
inline constexpr std::array<std::string_view, 1> kSavedFrequencies = {".rotary_emb.inv_freq"};

inline constexpr std::array kEveryBias = {HfBias{"", "", true}};
inline constexpr std::array kLlamaBiases = {HfBias{"attn_", "attention_bias"},
                                            HfBias{"ffn_", "mlp_bias"}};
inline constexpr std::array kAttentionBiases = {HfBias{"attn_", "attention_bias"}};

inline constexpr std::array kDecoderKeys = {
    required("num_hidden_layers", "block_count"),
    required("hidden_size", "embedding_length"),
    required("vocab_size", "vocab_size"),
    required("num_attention_heads", "attention.head_count"),
};

inline constexpr std::array kLlamaKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
                             optional("num_key_value_heads", "attention.head_count_kv"),
                             optional("head_dim", "attention.key_length"),
                             optional("head_dim", "attention.value_length"),
                         });

// Where the class has a head's width of its own, whatever the others say.
inline constexpr std::array kWideKeys =
    joined(kDecoderKeys, std::array{
                             required("intermediate_size", "feed_forward_length"),
                             required("max_position_embeddings", "context_length"),
                             number("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
                             required("num_key_value_heads", "attention.head_count_kv"),
                             required("head_dim", "attention.key_length"),
                             required("head_dim", "attention.value_length"),
                         });

inline constexpr HfKey kClipping = {.name = "clip_qkv",
                                    .metadata_key = "attention.clamp_kqv",
                                    .kind = HfKeyKind::kNumber,
                                    .required = false};

inline constexpr std::array kGraniteKeys =
    joined(kLlamaKeys, std::array{
                           number("attention_multiplier", "attention.scale"),
                           number("embedding_multiplier", "embedding_scale"),
                           number("residual_multiplier", "residual_scale"),
                           number("logits_scaling", "logit_scale"),
                       });

inline constexpr std::array kLlamaModules = {
    module("embed_tokens", "token_embd"),
    module("norm", "output_norm"),
};

inline constexpr std::array kSplitAttention = {
    module("self_attn.q_proj", "attn_q"),
    module("self_attn.k_proj", "attn_k"),
    module("self_attn.v_proj", "attn_v"),
    module("self_attn.o_proj", "attn_output"),
};

// Without a gate.
inline constexpr std::array kPlainFeedForward = {
    module("mlp.up_proj", "ffn_up"),
    module("mlp.down_proj", "ffn_down"),
};

inline constexpr std::array kFeedForward = {
    module("mlp.gate_proj", "ffn_gate"),
    module("mlp.up_proj", "ffn_up"),
    module("mlp.down_proj", "ffn_down"),
};

inline constexpr std::array kTwoNorms = {
    module("input_layernorm", "attn_norm"),
    module("post_attention_layernorm", "ffn_norm"),
};

inline constexpr std::array kHeadNorms = {
    module("self_attn.q_norm", "attn_q_norm"),
    module("self_attn.k_norm", "attn_k_norm"),
};

inline constexpr std::array kLlamaLayer = joined(kTwoNorms, kSplitAttention, kFeedForward);

inline constexpr std::uint32_t kWindow = 4096;  // Where a class has one and config.json is silent.

constexpr HfFamily llama_like(std::string_view class_name, std::string_view architecture) {
  return {.class_name = class_name,
          .architecture = architecture,
          .activation_key = "hidden_act",
          .activations = kSilu,
          .tied_by_default = false,
          .rotates = true,
          .base_prefix = "model.",
          .layer_prefix = "layers.",
          .modules = kLlamaModules,
          .layer_modules = kLlamaLayer,
          .keys = kLlamaKeys,
          .aliases = {},
          .ignored = kSavedFrequencies,
          .biases = kLlamaBiases,
          .rope = {},
          .windows = {},
          .translate_more = nullptr};
}

}  // namespace hearth
