#include "models/architectures.h"

#include <algorithm>
#include <array>

namespace hearth {
namespace {

// By name. Files of Llama and its kin hold Q and K with rotated pairs adjacent, the others half a
// head apart.
constexpr std::array kArchitectures = {
    Architecture{.name = "arcee",
                 .models = "Arcee AFM",
                 .rope_layout = RopeLayout::kInterleaved,
                 .activation = Activation::kReluSquared,
                 .gated = false},
    Architecture{.name = "bloom",
                 .models = "BLOOM, BLOOMZ",
                 .norm = NormKind::kLayer,
                 .embedding_norm = true,
                 .required_biases = true,
                 .positions = PositionEncoding::kAlibi,
                 .activation = Activation::kGeluTanh,
                 .gated = false},
    Architecture{.name = "chatglm",
                 .models = "GLM-4 9B of 2024, ChatGLM3",
                 .rope_layout = RopeLayout::kInterleaved},
    Architecture{.name = "cohere2",
                 .models = "Command R7B, Command A",
                 .norm = NormKind::kLayer,
                 .norm_biases = false,
                 .parallel = ParallelUse::kAlways,
                 .rope_layout = RopeLayout::kInterleaved,
                 .unrotated_globals = true,
                 .stated_logit_factor = true,
                 .sliding_window = 4096,
                 .global_period = 4},
    Architecture{.name = "command-r",
                 .models = "Command R and R+, Aya 23 and Expanse",
                 .norm = NormKind::kLayer,
                 .norm_biases = false,
                 .parallel = ParallelUse::kAlways,
                 .qk_norm = QkNorm::kOwnLayerNorms,
                 .qk_norm_perhaps = true,
                 .rope_layout = RopeLayout::kInterleaved,
                 .stated_logit_factor = true},
    Architecture{
        .name = "ernie4_5", .models = "ERNIE 4.5 (dense)", .rope_layout = RopeLayout::kInterleaved},
    Architecture{.name = "exaone", .models = "EXAONE 3 and 3.5"},
    Architecture{.name = "exaone4",
                 .models = "EXAONE 4",
                 .norm_placement = NormPlacement::kOutputs,
                 .qk_norm = QkNorm::kHead,
                 .unrotated_globals = true,
                 .global_period = 4},
    Architecture{.name = "falcon",
                 .models = "Falcon 7B, 40B and 180B",
                 .norm = NormKind::kLayer,
                 .parallel = ParallelUse::kAlways,
                 .activation = Activation::kGelu,
                 .gated = false},
    Architecture{.name = "gemma",
                 .models = "Gemma 1",
                 .activation = Activation::kGeluTanh,
                 .scaled_embedding = true},
    Architecture{.name = "gemma2",
                 .models = "Gemma 2",
                 .norm_placement = NormPlacement::kPrePost,
                 .activation = Activation::kGeluTanh,
                 .scaled_embedding = true,
                 .sliding_window = 4096,
                 .global_period = 2,
                 .attention_softcap = 50.0f,
                 .logit_softcap = 30.0f,
                 .wide_scale_layers = 46},
    Architecture{.name = "gemma3",
                 .models = "Gemma 3 (text)",
                 .norm_placement = NormPlacement::kPrePost,
                 .qk_norm = QkNorm::kHead,
                 .activation = Activation::kGeluTanh,
                 .scaled_embedding = true,
                 .global_period = 6,
                 .local_freq_base = 10000.0,
                 .wide_scale_layers = 62},
    Architecture{.name = "glm4",
                 .models = "GLM-4 of 2025 (9B and 32B), GLM-Z1",
                 .norm_placement = NormPlacement::kPrePost,
                 .rope_layout = RopeLayout::kInterleaved},
    Architecture{.name = "gpt-oss",
                 .models = "gpt-oss 20B and 120B",
                 .attention_sinks = true,
                 .required_biases = true,
                 .yarn_truncate = false,
                 .activation = Activation::kClampedSwish,
                 .experts = ExpertUse::kAlways,
                 .renormalize_experts = true,
                 .global_period = 2},
    Architecture{.name = "gpt2",
                 .models = "GPT-2",
                 .norm = NormKind::kLayer,
                 .required_biases = true,
                 .positions = PositionEncoding::kLearned,
                 .activation = Activation::kGeluTanh,
                 .gated = false},
    Architecture{.name = "gptj",
                 .models = "GPT-J",
                 .norm = NormKind::kLayer,
                 .parallel = ParallelUse::kAlways,
                 .rope_layout = RopeLayout::kInterleaved,
                 .activation = Activation::kGeluTanh,
                 .gated = false},
    Architecture{.name = "gptneox",
                 .models = "GPT-NeoX, Pythia, Dolly 2",
                 .norm = NormKind::kLayer,
                 .parallel = ParallelUse::kStated,
                 .activation = Activation::kGelu,
                 .gated = false},
    Architecture{.name = "granite",
                 .models = "Granite 3 (dense)",
                 .rope_layout = RopeLayout::kInterleaved,
                 .stated_scales = true},
    Architecture{.name = "granitemoe",
                 .models = "Granite 3 MoE",
                 .rope_layout = RopeLayout::kInterleaved,
                 .experts = ExpertUse::kAlways,
                 .renormalize_experts = true,
                 .stated_scales = true},
    Architecture{.name = "hunyuan-dense",
                 .models = "Hunyuan (dense)",
                 .qk_norm = QkNorm::kHead,
                 .qk_norm_rotated = true},
    Architecture{.name = "internlm2",
                 .models = "InternLM 2 and 2.5",
                 .rope_layout = RopeLayout::kInterleaved},
    Architecture{.name = "jais2",
                 .models = "Jais 2",
                 .norm = NormKind::kLayer,
                 .activation = Activation::kReluSquared,
                 .gated = false},
    Architecture{.name = "llama",
                 .models = "Llama 1 to 3.3, Mistral, Mixtral, SmolLM2, TinyLlama",
                 .rope_layout = RopeLayout::kInterleaved,
                 .experts = ExpertUse::kPerhaps,
                 .renormalize_experts = true},
    Architecture{.name = "minicpm",
                 .models = "MiniCPM 1 and 2",
                 .rope_layout = RopeLayout::kInterleaved,
                 .stated_scales = true,
                 .embedding_scale = 12.0,
                 .residual_depth = 1.4,
                 .logit_width = 256.0},
    Architecture{.name = "mpt",
                 .models = "MPT",
                 .norm = NormKind::kLayer,
                 .norm_biases = false,
                 .positions = PositionEncoding::kAlibi,
                 .activation = Activation::kGelu,
                 .gated = false},
    Architecture{.name = "nemotron",
                 .models = "Nemotron 3 and 4, Minitron",
                 .norm = NormKind::kLayer,
                 .activation = Activation::kReluSquared,
                 .gated = false},
    Architecture{.name = "olmo",
                 .models = "OLMo 1",
                 .norm = NormKind::kLayer,
                 .norm_biases = false,
                 .norm_gains = false,
                 .rope_layout = RopeLayout::kInterleaved},
    Architecture{.name = "olmo2",
                 .models = "OLMo 2 and 3",
                 .norm_placement = NormPlacement::kOutputs,
                 .qk_norm = QkNorm::kWhole,
                 .unscaled_windows = true,
                 .whole_attn_factor = true,
                 .global_period = 4},
    Architecture{.name = "olmoe",
                 .models = "OLMoE",
                 .qk_norm = QkNorm::kWhole,
                 .experts = ExpertUse::kAlways},
    Architecture{.name = "opt",
                 .models = "OPT",
                 .norm = NormKind::kLayer,
                 .required_biases = true,
                 .positions = PositionEncoding::kLearned,
                 .activation = Activation::kRelu,
                 .gated = false},
    Architecture{.name = "phi2",
                 .models = "Phi-1, 1.5 and 2",
                 .norm = NormKind::kLayer,
                 .parallel = ParallelUse::kAlways,
                 .activation = Activation::kGeluTanh,
                 .gated = false},
    Architecture{.name = "phi3", .models = "Phi-3 and 3.5 mini, Phi-3 medium, Phi-4"},
    Architecture{.name = "phimoe",
                 .models = "Phi-3.5 MoE",
                 .norm = NormKind::kLayer,
                 .experts = ExpertUse::kAlways,
                 .expert_gate = ExpertGate::kSparseMixer},
    Architecture{.name = "qwen2", .models = "Qwen 2 and 2.5"},
    Architecture{.name = "qwen2moe",
                 .models = "Qwen 1.5 and 2 MoE",
                 .experts = ExpertUse::kAlways,
                 .shared_expert = true},
    Architecture{.name = "qwen3", .models = "Qwen 3", .qk_norm = QkNorm::kHead},
    Architecture{.name = "qwen3moe",
                 .models = "Qwen 3 MoE",
                 .qk_norm = QkNorm::kHead,
                 .experts = ExpertUse::kAlways,
                 .renormalize_experts = true},
    Architecture{.name = "seed_oss", .models = "Seed-OSS"},
    Architecture{.name = "smollm3",
                 .models = "SmolLM3",
                 .rope_layout = RopeLayout::kInterleaved,
                 .unrotated_period = 4},
    Architecture{.name = "stablelm",
                 .models = "StableLM 3B and 2, Stable Code",
                 .norm = NormKind::kLayer,
                 .parallel = ParallelUse::kUnlessNormed,
                 .qk_norm = QkNorm::kOwnLayerNorms,
                 .qk_norm_perhaps = true},
    Architecture{.name = "starcoder",
                 .models = "StarCoder 1, SantaCoder",
                 .norm = NormKind::kLayer,
                 .required_biases = true,
                 .positions = PositionEncoding::kLearned,
                 .activation = Activation::kGeluTanh,
                 .gated = false},
    Architecture{.name = "starcoder2",
                 .models = "StarCoder 2",
                 .norm = NormKind::kLayer,
                 .activation = Activation::kGeluTanh,
                 .gated = false},
};

// By name. Positions of RoBERTa's kin that stand before the first token's are cut off by
// converters.
constexpr std::array kEncoders = {
    Architecture{.name = "bert",
                 .models = "BERT, RoBERTa, XLM-RoBERTa, DistilBERT: MiniLM, BGE, E5, BGE-M3, "
                           "BGE rerankers, llm-embedder",
                 .norm = NormKind::kLayer,
                 .norm_placement = NormPlacement::kPost,
                 .embedding_norm = true,
                 .bidirectional = true,
                 .required_biases = true,
                 .positions = PositionEncoding::kLearned,
                 .activation = Activation::kGelu,
                 .gated = false},
    Architecture{.name = "gemma-embedding",
                 .models = "EmbeddingGemma",
                 .norm_placement = NormPlacement::kPrePost,
                 .bidirectional = true,
                 .qk_norm = QkNorm::kHead,
                 .activation = Activation::kGeluTanh,
                 .scaled_embedding = true,
                 .global_period = 6,
                 .local_freq_base = 10000.0},
    Architecture{.name = "gte",
                 .models = "GTE v1.5 and multilingual, Snowflake Arctic Embed M 2.0",
                 .norm = NormKind::kLayer,
                 .norm_placement = NormPlacement::kPost,
                 .embedding_norm = true,
                 .bidirectional = true,
                 .activation = Activation::kGelu},
    Architecture{.name = "jina-bert-v2",
                 .models = "Jina Embeddings 2 (but for code)",
                 .norm = NormKind::kLayer,
                 .norm_placement = NormPlacement::kPost,
                 .embedding_norm = true,
                 .bidirectional = true,
                 .positions = PositionEncoding::kAlibi,
                 .activation = Activation::kGelu},
    Architecture{.name = "modern-bert",
                 .models = "ModernBERT: GTE ModernBERT, ModernBERT Embed",
                 .norm = NormKind::kLayer,
                 .norm_biases = false,
                 .embedding_norm = true,
                 .bidirectional = true,
                 .activation = Activation::kGelu,
                 .global_period = 3,
                 .global_first = true,
                 .local_freq_base = 10000.0},
    // No converter of others knows it; its files are ours.
    Architecture{.name = "mpnet",
                 .models = "MPNet: all-mpnet-base-v2",
                 .norm = NormKind::kLayer,
                 .norm_placement = NormPlacement::kPost,
                 .embedding_norm = true,
                 .bidirectional = true,
                 .required_biases = true,
                 .positions = PositionEncoding::kLearned,
                 .distance_buckets = true,
                 .activation = Activation::kGelu,
                 .gated = false},
    Architecture{.name = "nomic-bert",
                 .models = "Nomic Embed Text 1 and 1.5",
                 .norm = NormKind::kLayer,
                 .norm_placement = NormPlacement::kPost,
                 .norm_biases = false,
                 .embedding_norm = true,
                 .bidirectional = true},
};

const Architecture* find_row(std::span<const Architecture> rows, std::string_view name) {
  const auto row = std::ranges::find(rows, name, &Architecture::name);
  return row == rows.end() ? nullptr : &*row;
}

}  // namespace

std::span<const Architecture> architectures() {
  return kArchitectures;
}

const Architecture* find_architecture(std::string_view name) {
  return find_row(kArchitectures, name);
}

std::span<const Architecture> encoder_architectures() {
  return kEncoders;
}

const Architecture* find_encoder_architecture(std::string_view name) {
  return find_row(kEncoders, name);
}

ModelConfig implied_config(const Architecture& row) {
  ModelConfig config;
  config.architecture = row.name;
  config.bidirectional = row.bidirectional;
  config.norm = row.norm;
  config.norm_biases = row.norm_biases;
  config.norm_gains = row.norm_gains;
  config.norm_placement = row.norm_placement;
  config.embedding_norm = row.embedding_norm;
  config.parallel_residual = row.parallel != ParallelUse::kNever;
  config.qk_norm = row.qk_norm;
  config.qk_norm_rotated = row.qk_norm_rotated;
  config.attention_sinks = row.attention_sinks;
  config.required_biases = row.required_biases;
  config.positions = row.positions;
  config.rope.layout = row.rope_layout;
  config.activation = row.activation;
  config.gated = row.gated;
  config.experts.renormalize = row.renormalize_experts;
  config.experts.gate = row.expert_gate;
  config.attention_softcap = row.attention_softcap;
  config.logit_softcap = row.logit_softcap;
  return config;
}

}  // namespace hearth
