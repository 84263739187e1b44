#include "models/hf_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "models/hf_config.h"

namespace hearth {
namespace {

constexpr std::array kLlamaModules = {
    HfModule{"embed_tokens", "token_embd"},
    HfModule{"norm", "output_norm"},
};

constexpr std::array kLlamaLayerModules = {
    HfModule{"input_layernorm", "attn_norm"},    HfModule{"self_attn.q_proj", "attn_q"},
    HfModule{"self_attn.k_proj", "attn_k"},      HfModule{"self_attn.v_proj", "attn_v"},
    HfModule{"self_attn.o_proj", "attn_output"}, HfModule{"post_attention_layernorm", "ffn_norm"},
    HfModule{"mlp.gate_proj", "ffn_gate"},       HfModule{"mlp.up_proj", "ffn_up"},
    HfModule{"mlp.down_proj", "ffn_down"},
};

constexpr HfKey optional(std::string_view name, std::string_view metadata_key) {
  return {name, metadata_key, HfKeyKind::kSize, false};
}

constexpr std::array kLlamaKeys = {
    HfKey{"num_hidden_layers", "block_count"},
    HfKey{"hidden_size", "embedding_length"},
    HfKey{"intermediate_size", "feed_forward_length"},
    HfKey{"max_position_embeddings", "context_length"},
    HfKey{"vocab_size", "vocab_size"},
    HfKey{"num_attention_heads", "attention.head_count"},
    HfKey{"rms_norm_eps", "attention.layer_norm_rms_epsilon", HfKeyKind::kNumber},
    optional("num_key_value_heads", "attention.head_count_kv"),
    optional("head_dim", "attention.key_length"),
    optional("head_dim", "attention.value_length"),
};

Status add_window(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto window, config.size("sliding_window"));
  if (window) out.add_size(family.metadata_key("attention.sliding_window"), *window);
  return {};
}

// A window is stated even where it is off, and then for the upper layers only.
Status add_upper_window(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto used, config.flag("use_sliding_window"));
  if (!used.value_or(false)) return {};
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t num_layers,
                          config.required_size("num_hidden_layers"));
  std::int64_t first = 28;  // The class's own default.
  const json::Value* stated = config.find("max_window_layers");
  if (stated != nullptr && !stated->to_int64(first)) {
    return make_status(StatusCode::kDataLoss, "{}: 'max_window_layers' is no integer",
                       config.file());
  }
  if (first >= num_layers) return {};
  if (first > 0) {
    return make_status(StatusCode::kUnimplemented,
                       "{}: a sliding window from layer {} of {} on ('max_window_layers') is not "
                       "supported; all layers or none can have one",
                       config.file(), first, num_layers);
  }
  return add_window(config, family, out);
}

constexpr HfFamily llama_like(std::string_view class_name, std::string_view architecture) {
  return {.class_name = class_name,
          .architecture = architecture,
          .activation = "silu",
          .tied_by_default = false,
          .base_prefix = "model.",
          .layer_prefix = "layers.",
          .modules = kLlamaModules,
          .layer_modules = kLlamaLayerModules,
          .keys = kLlamaKeys,
          .translate_more = nullptr};
}

constexpr HfFamily with(HfFamily family, decltype(HfFamily::translate_more) translate_more) {
  family.translate_more = translate_more;
  return family;
}

constexpr std::array kFamilies = {
    llama_like("LlamaForCausalLM", "llama"),
    with(llama_like("MistralForCausalLM", "llama"), add_window),
    with(llama_like("Qwen2ForCausalLM", "qwen2"), add_upper_window),
};

}  // namespace

std::string HfFamily::metadata_key(std::string_view key) const {
  return fmt::format("{}.{}", architecture, key);
}

std::span<const HfFamily> hf_families() {
  return kFamilies;
}

const HfFamily* find_hf_family(std::string_view class_name) {
  const auto* row = std::ranges::find(kFamilies, class_name, &HfFamily::class_name);
  return row == kFamilies.end() ? nullptr : row;
}

}  // namespace hearth
