#include "models/hf_encoders.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/encoder_config.h"
#include "models/hf_config.h"
#include "models/hf_labels.h"
#include "models/hf_rows.h"

namespace hearth {
namespace {

constexpr std::array<std::string_view, 1> kGelu = {"gelu"};
constexpr std::array<std::string_view, 2> kSwiglu = {"silu", "swiglu"};
constexpr std::array<std::string_view, 1> kSavedPositions = {".position_ids"};
constexpr std::array<std::string_view, 1> kSavedFrequencies = {".rotary_emb.inv_freq"};
constexpr std::array kEveryBias = {HfBias{"", "", true}};

constexpr std::array kEncoderKeys = {
    required("num_hidden_layers", "block_count"),
    required("hidden_size", "embedding_length"),
    required("vocab_size", "vocab_size"),
    required("num_attention_heads", "attention.head_count"),
    required("intermediate_size", "feed_forward_length"),
};

constexpr std::array kEncoderKeysWithContext =
    joined(kEncoderKeys, std::array{required("max_position_embeddings", "context_length")});

Status refuse(const HfObject& config, std::string_view key, std::string_view value) {
  return make_status(StatusCode::kUnimplemented, "{}: '{}' is {}, which is not supported",
                     config.file(), key, value);
}

Status refuse_unless(const HfObject& config, std::string_view key, bool wanted) {
  HEARTH_ASSIGN_OR_RETURN(const auto flag, config.flag(key));
  if (flag.value_or(wanted) == wanted) return {};
  return refuse(config, key, wanted ? "false" : "true");
}

// `own` is what the class computes; many files say "absolute" whatever it does.
Status check_positions(const HfObject& config, std::string_view own, bool stated = false) {
  constexpr std::string_view kKey = "position_embedding_type";
  HEARTH_ASSIGN_OR_RETURN(const auto positions, config.text(kKey));
  const std::string_view kind = positions.value_or(stated ? "absolute" : own);
  if (kind == own || (!stated && kind == "absolute")) return {};
  return refuse(config, kKey, fmt::format("'{}'", kind));
}

// Their table is then there: the class would start with a random one where it is missing. With no
// types it has no table, and would pass over one that is stored.
Status add_token_types(const HfObject& config, const HfFamily& family, std::uint32_t usual,
                       MetadataWriter& out) {
  constexpr std::string_view kKey = "type_vocab_size";
  HEARTH_ASSIGN_OR_RETURN(const auto count, config.count(kKey));
  out.add_size(family.metadata_key(kTokenTypesKey), count.value_or(usual));
  return {};
}

// How a class spells its norms' epsilon, and what it is where config.json is silent.
struct EpsilonKey {
  std::string_view name;
  double fallback = 0;
};
constexpr EpsilonKey kBertEpsilon = {"layer_norm_eps", 1e-12};

// What all classes have in common; `head_dense` is what the class has behind the dense layer of its
// head.
Status add_common(const HfObject& config, const HfFamily& family, const EpsilonKey& epsilon,
                  std::string_view head_dense, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(refuse_unless(config, "is_decoder", false));
  HEARTH_RETURN_IF_ERROR(refuse_unless(config, "add_cross_attention", false));
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.number(epsilon.name));
  out.add(family.metadata_key("attention.layer_norm_epsilon"), stated.value_or(epsilon.fallback));
  if (!family.is_classifier()) return {};
  out.add_text(family.metadata_key(kHeadDenseKey), head_dense);
  return translate_hf_labels(config, family, out);
}

// With learned positions, and a head of a dense layer and its tanh.
Status add_learned(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(check_positions(config, "absolute"));
  return add_common(config, family, kBertEpsilon, "tanh", out);
}

Status add_bert(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(add_token_types(config, family, 2, out));
  return add_learned(config, family, out);
}

Status add_offset_positions(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t rows,
                          config.required_size("max_position_embeddings"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t offset, hf_position_offset(config));
  if (rows <= offset) {
    return make_status(StatusCode::kDataLoss,
                       "{}: 'max_position_embeddings' ({}) must be above 'pad_token_id' + 1 ({})",
                       config.file(), rows, offset);
  }
  out.add_size(family.metadata_key("context_length"), rows - offset);
  return add_learned(config, family, out);
}

Status add_roberta(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(add_token_types(config, family, 2, out));
  return add_offset_positions(config, family, out);
}

// What the class has in its code, whatever config.json says.
Status add_mpnet(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::uint32_t kBuckets = 32;
  constexpr std::uint32_t kOffset = 2;
  HEARTH_ASSIGN_OR_RETURN(const auto buckets, config.size("relative_attention_num_buckets"));
  if (buckets.value_or(kBuckets) != kBuckets) {
    return refuse(config, "relative_attention_num_buckets", fmt::format("{}", *buckets));
  }
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t offset, hf_position_offset(config));
  if (offset != kOffset) return refuse(config, "pad_token_id", fmt::format("{}", offset - 1));
  out.add_size(family.metadata_key("attention.relative_buckets_count"), kBuckets);
  return add_offset_positions(config, family, out);
}

Status add_distilbert(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(check_positions(config, "absolute"));
  return add_common(config, family, kBertEpsilon, "relu", out);
}

Status add_modernbert(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(check_positions(config, "rope"));
  HEARTH_RETURN_IF_ERROR(add_common(config, family, {"norm_eps", 1e-5}, "gelu", out));
  if (!family.is_classifier()) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto activation, config.text("classifier_activation"));
  if (activation && *activation != "gelu") {
    return refuse(config, "classifier_activation", fmt::format("'{}'", *activation));
  }
  HEARTH_ASSIGN_OR_RETURN(const auto pooling, config.text("classifier_pooling"));
  if (pooling && *pooling != "cls" && *pooling != "mean") {
    return refuse(config, "classifier_pooling", fmt::format("'{}'", *pooling));
  }
  out.add_size(family.metadata_key(kHeadPoolingKey),
               pooling && *pooling == "mean" ? kPoolingMean : kPoolingCls);
  return {};
}

// The keys of the class as it was first published, in code beside the weights. What they may say
// beyond this, the class that transformers has today does not compute either.
Status add_nomic(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  constexpr std::array<std::pair<std::string_view, bool>, 8> kFlags = {
      {{"prenorm", false},
       {"qkv_proj_bias", false},
       {"mlp_fc1_bias", false},
       {"mlp_fc2_bias", false},
       {"causal", false},
       {"parallel_block", false},
       {"use_rms_norm", false},
       {"rotary_emb_interleaved", false}}};
  for (const auto& [key, wanted] : kFlags)
    HEARTH_RETURN_IF_ERROR(refuse_unless(config, key, wanted));
  for (const std::string_view key : {"rotary_scaling_factor", "rotary_emb_scale_base"}) {
    if (config.has(key)) return refuse(config, key, "not null");
  }
  HEARTH_ASSIGN_OR_RETURN(const auto fraction, config.number("rotary_emb_fraction"));
  if (fraction.value_or(1.0) != 1.0) {
    return refuse(config, "rotary_emb_fraction", fmt::format("{}", *fraction));
  }
  // Beyond what it was trained on it would need a rotation that grows with the text.
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t context,
                          config.required_size("max_position_embeddings"));
  HEARTH_ASSIGN_OR_RETURN(const auto trained, config.size("max_trained_positions"));
  out.add_size(family.metadata_key("context_length"), std::min(context, trained.value_or(context)));
  HEARTH_RETURN_IF_ERROR(check_positions(config, "rotary"));
  HEARTH_RETURN_IF_ERROR(add_token_types(config, family, 2, out));
  return add_common(config, family, kBertEpsilon, "tanh", out);
}

// What the code beside the weights knows, and transformers' class of today does not, is off.
Status add_gte(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_RETURN_IF_ERROR(refuse_unless(config, "logn_attention_scale", false));
  HEARTH_ASSIGN_OR_RETURN(const auto norms, config.text("layer_norm_type"));
  if (norms.value_or("layer_norm") != "layer_norm") {
    return refuse(config, "layer_norm_type", fmt::format("'{}'", *norms));
  }
  HEARTH_RETURN_IF_ERROR(check_positions(config, "rope", config.has("position_embedding_type")));
  HEARTH_RETURN_IF_ERROR(add_token_types(config, family, 1, out));
  return add_common(config, family, kBertEpsilon, "tanh", out);
}

Status add_jina(const HfObject& config, const HfFamily& family, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(const auto kind, config.text("feed_forward_type"));
  const std::string_view stated = kind.value_or("original");
  if (stated != "geglu") return refuse(config, "feed_forward_type", fmt::format("'{}'", stated));
  HEARTH_RETURN_IF_ERROR(check_positions(config, "alibi", true));
  HEARTH_RETURN_IF_ERROR(add_token_types(config, family, 2, out));
  return add_common(config, family, kBertEpsilon, "tanh", out);
}

// ---- BERT

constexpr std::array kBertModules = {
    module("embeddings.word_embeddings", "token_embd"),
    module("embeddings.position_embeddings", "position_embd"),
    module("embeddings.token_type_embeddings", "token_types"),
    module("embeddings.LayerNorm", "token_embd_norm"),
};
constexpr std::array kBertHead = joined(kBertModules, std::array{
                                                          module("pooler.dense", "cls"),
                                                          head_module("classifier", "cls.output"),
                                                      });
constexpr std::array kBertLayer = {
    module("attention.self.query", "attn_q"),
    module("attention.self.key", "attn_k"),
    module("attention.self.value", "attn_v"),
    module("attention.output.dense", "attn_output"),
    module("attention.output.LayerNorm", "attn_output_norm"),
    module("intermediate.dense", "ffn_up"),
    module("output.dense", "ffn_down"),
    module("output.LayerNorm", "layer_output_norm"),
};
constexpr std::array<std::string_view, 2> kBertUnused = {"pooler.", "cls."};

constexpr HfFamily bert(std::string_view class_name) {
  return {.class_name = class_name,
          .architecture = "bert",
          .activation_key = "hidden_act",
          .activations = kGelu,
          .tied_by_default = true,
          .rotates = false,
          .base_prefix = "bert.",
          .layer_prefix = "encoder.layer.",
          .modules = kBertModules,
          .layer_modules = kBertLayer,
          .keys = kEncoderKeysWithContext,
          .aliases = {},
          .ignored = kSavedPositions,
          .biases = kEveryBias,
          .rope = {},
          .windows = {},
          .unused = kBertUnused,
          .translate_more = add_bert};
}

constexpr HfFamily bert_classifier() {
  HfFamily family = bert("BertForSequenceClassification");
  family.modules = kBertHead;
  family.unused = {};
  return family;
}

// ---- RoBERTa and XLM-RoBERTa

constexpr std::array kRobertaModules = {
    module("embeddings.word_embeddings", "token_embd"),
    module("embeddings.position_embeddings", "position_embd", HfTransform::kPositions),
    module("embeddings.token_type_embeddings", "token_types"),
    module("embeddings.LayerNorm", "token_embd_norm"),
};
constexpr std::array kDenseHead = {
    head_module("classifier.dense", "cls"),
    head_module("classifier.out_proj", "cls.output"),
};
constexpr std::array kRobertaHead = joined(kRobertaModules, kDenseHead);
constexpr std::array<std::string_view, 2> kRobertaUnused = {"pooler.", "lm_head."};

constexpr HfFamily roberta(std::string_view class_name) {
  HfFamily family = bert(class_name);
  family.base_prefix = "roberta.";
  family.modules = kRobertaModules;
  family.keys = kEncoderKeys;
  family.unused = kRobertaUnused;
  family.offset_positions = true;
  family.translate_more = add_roberta;
  if (family.is_classifier()) family.modules = kRobertaHead;
  return family;
}

// ---- MPNet

constexpr std::array kMpnetModules = {
    module("embeddings.word_embeddings", "token_embd"),
    module("embeddings.position_embeddings", "position_embd", HfTransform::kPositions),
    module("embeddings.LayerNorm", "token_embd_norm"),
    module("encoder.relative_attention_bias", "attn_rel_b"),
};
constexpr std::array kMpnetHead = joined(kMpnetModules, kDenseHead);
constexpr std::array kMpnetLayer = {
    module("attention.attn.q", "attn_q"),
    module("attention.attn.k", "attn_k"),
    module("attention.attn.v", "attn_v"),
    module("attention.attn.o", "attn_output"),
    module("attention.LayerNorm", "attn_output_norm"),
    module("intermediate.dense", "ffn_up"),
    module("output.dense", "ffn_down"),
    module("output.LayerNorm", "layer_output_norm"),
};

constexpr HfFamily mpnet(std::string_view class_name) {
  HfFamily family = roberta(class_name);
  family.architecture = "mpnet";
  family.base_prefix = "mpnet.";
  family.modules = family.is_classifier() ? std::span<const HfModule>(kMpnetHead) : kMpnetModules;
  family.layer_modules = kMpnetLayer;
  family.translate_more = add_mpnet;
  return family;
}

// ---- DistilBERT

constexpr std::array kDistilModules = {
    module("embeddings.word_embeddings", "token_embd"),
    module("embeddings.position_embeddings", "position_embd"),
    module("embeddings.LayerNorm", "token_embd_norm"),
};
constexpr std::array kDistilHead =
    joined(kDistilModules, std::array{
                               head_module("pre_classifier", "cls"),
                               head_module("classifier", "cls.output"),
                           });
constexpr std::array kDistilLayer = {
    module("attention.q_lin", "attn_q"),
    module("attention.k_lin", "attn_k"),
    module("attention.v_lin", "attn_v"),
    module("attention.out_lin", "attn_output"),
    module("sa_layer_norm", "attn_output_norm"),
    module("ffn.lin1", "ffn_up"),
    module("ffn.lin2", "ffn_down"),
    module("output_layer_norm", "layer_output_norm"),
};
constexpr std::array kDistilAliases = {
    HfAlias{"n_layers", "num_hidden_layers"}, HfAlias{"dim", "hidden_size"},
    HfAlias{"n_heads", "num_attention_heads"}, HfAlias{"hidden_dim", "intermediate_size"}};
constexpr std::array<std::string_view, 3> kDistilUnused = {"vocab_transform.", "vocab_layer_norm.",
                                                           "vocab_projector."};

constexpr HfFamily distilbert(std::string_view class_name) {
  HfFamily family = bert(class_name);
  family.activation_key = "activation";
  family.base_prefix = "distilbert.";
  family.layer_prefix = "transformer.layer.";
  family.modules = kDistilModules;
  family.layer_modules = kDistilLayer;
  family.aliases = kDistilAliases;
  family.unused = kDistilUnused;
  family.translate_more = add_distilbert;
  if (family.is_classifier()) family.modules = kDistilHead;
  return family;
}

// ---- ModernBERT

constexpr std::array kModernModules = {
    module("embeddings.tok_embeddings", "token_embd"),
    module("embeddings.norm", "token_embd_norm"),
    module("final_norm", "output_norm"),
};
constexpr std::array kModernHead =
    joined(kModernModules, std::array{
                               head_module("head.dense", "cls"),
                               head_module("head.norm", "cls.norm"),
                               head_module("classifier", "cls.output"),
                           });
constexpr std::array kModernLayer = {
    module("attn_norm", "attn_norm"), module("attn.Wqkv", "attn_qkv"),
    module("attn.Wo", "attn_output"), module("mlp_norm", "ffn_norm"),
    module("mlp.Wi", "ffn_up"),       module("mlp.Wo", "ffn_down"),
};
constexpr std::array kModernAliases = {HfAlias{"global_rope_theta", "rope_theta"},
                                       HfAlias{"local_rope_theta", "rope_local_base_freq"},
                                       HfAlias{"local_attention", "sliding_window"}};
constexpr std::array kModernBiases = {
    HfBias{"attn_norm", "norm_bias"}, HfBias{"ffn_norm", "norm_bias"},
    HfBias{"attn_", "attention_bias"}, HfBias{"ffn_", "mlp_bias"}};
constexpr std::array<std::string_view, 2> kModernUnused = {"head.", "decoder."};

constexpr HfFamily modernbert(std::string_view class_name) {
  HfFamily family = bert(class_name);
  family.architecture = "modern-bert";
  family.activation_key = "hidden_activation";
  family.rotates = true;
  family.base_prefix = "model.";
  family.layer_prefix = "layers.";
  family.modules = kModernModules;
  family.layer_modules = kModernLayer;
  family.aliases = kModernAliases;
  family.ignored = {};
  family.biases = kModernBiases;
  family.unused = kModernUnused;
  family.rope = {.theta = 160000.0, .per_kind = true};
  family.windows = {
      .layers = HfWindowedLayers::kAllButFirstOfGroup, .listed = true, .period = 3, .size = 128};
  family.translate_more = add_modernbert;
  if (family.is_classifier()) {
    family.modules = kModernHead;
    family.unused = {};
  }
  return family;
}

// ---- NomicBERT

constexpr std::array kNomicModules = {
    module("embeddings.word_embeddings", "token_embd"),
    module("embeddings.token_type_embeddings", "token_types"),
    module("emb_ln", "token_embd_norm"),
};
constexpr std::array kNomicLayer = {
    module("attn.Wqkv", "attn_qkv"),      module("attn.out_proj", "attn_output"),
    module("norm1", "attn_output_norm"),  module("mlp.fc11", "ffn_up"),
    module("mlp.fc12", "ffn_gate"),       module("mlp.fc2", "ffn_down"),
    module("norm2", "layer_output_norm"),
};
constexpr std::array kNomicAliases = {
    HfAlias{"n_layer", "num_hidden_layers"},           HfAlias{"n_embd", "hidden_size"},
    HfAlias{"n_head", "num_attention_heads"},          HfAlias{"n_inner", "intermediate_size"},
    HfAlias{"n_positions", "max_position_embeddings"}, HfAlias{"activation_function", "hidden_act"},
    HfAlias{"layer_norm_epsilon", "layer_norm_eps"},   HfAlias{"rotary_emb_base", "rope_theta"}};
constexpr std::array kNomicBiases = {HfBias{"attn_output_norm", "", true},
                                     HfBias{"layer_output_norm", "", true}};

constexpr HfFamily nomic() {
  HfFamily family = bert("NomicBertModel");
  family.architecture = "nomic-bert";
  family.activations = kSwiglu;
  family.rotates = true;
  family.base_prefix = "bert.";
  family.layer_prefix = "encoder.layers.";
  family.modules = kNomicModules;
  family.layer_modules = kNomicLayer;
  family.keys = kEncoderKeys;
  family.aliases = kNomicAliases;
  family.biases = kNomicBiases;
  family.rope = {.theta = 1000.0};
  family.translate_more = add_nomic;
  return family;
}

// ---- GTE, by its own code ("New") and by transformers

constexpr std::array kGteModules = {
    module("embeddings.word_embeddings", "token_embd"),
    module("embeddings.token_type_embeddings", "token_types"),
    module("embeddings.LayerNorm", "token_embd_norm"),
};
constexpr std::array kGteHead = joined(kGteModules, std::array{
                                                        module("pooler.dense", "cls"),
                                                        head_module("classifier", "cls.output"),
                                                    });
constexpr std::array kGteLayer = {
    module("attention.qkv_proj", "attn_qkv"),  module("attention.q_proj", "attn_q"),
    module("attention.k_proj", "attn_k"),      module("attention.v_proj", "attn_v"),
    module("attention.o_proj", "attn_output"), module("attn_ln", "attn_output_norm"),
    module("mlp.up_gate_proj", "ffn_up_gate"), module("mlp.down_proj", "ffn_down"),
    module("mlp_ln", "layer_output_norm"),
};
constexpr std::array kGteBiases = {HfBias{"ffn_up_gate", ""}, HfBias{"", "", true}};
// Of the multilingual model's second training task.
constexpr std::array<std::string_view, 3> kGteUnused = {"pooler.", "lm_head.", "classifier."};

constexpr HfFamily gte(std::string_view class_name) {
  const bool own = class_name.starts_with("New");
  HfFamily family = bert(class_name);
  family.architecture = "gte";
  family.rotates = true;
  family.base_prefix = own ? "new." : "gte.";
  family.modules = family.is_classifier() ? std::span<const HfModule>(kGteHead) : kGteModules;
  family.layer_modules = kGteLayer;
  family.ignored = kSavedFrequencies;
  family.biases = kGteBiases;
  family.unused = kGteUnused;
  if (family.is_classifier()) family.unused = {};
  family.rope = {.theta = own ? 10000.0 : 160000.0, .fixed_ntk = true};
  family.translate_more = add_gte;
  return family;
}

// ---- Jina's BERT of version 2

constexpr std::array kJinaLayer = {
    module("attention.self.query", "attn_q"),
    module("attention.self.key", "attn_k"),
    module("attention.self.value", "attn_v"),
    module("attention.output.dense", "attn_output"),
    module("attention.output.LayerNorm", "attn_output_norm"),
    module("mlp.gated_layers", "ffn_up"),
    module("mlp.wo", "ffn_down"),
    module("mlp.layernorm", "layer_output_norm"),
};
constexpr std::array kJinaBiases = {HfBias{"ffn_up", ""}, HfBias{"", "", true}};

constexpr HfFamily jina(std::string_view class_name) {
  HfFamily family = bert(class_name);
  family.architecture = "jina-bert-v2";
  family.modules = kGteModules;
  family.layer_modules = kJinaLayer;
  family.biases = kJinaBiases;
  family.translate_more = add_jina;
  return family;
}

constexpr std::array kFamilies = {
    bert("BertForMaskedLM"),
    bert_classifier(),
    bert("BertModel"),
    distilbert("DistilBertForMaskedLM"),
    distilbert("DistilBertForSequenceClassification"),
    distilbert("DistilBertModel"),
    gte("GteForMaskedLM"),
    gte("GteForSequenceClassification"),
    gte("GteModel"),
    jina("JinaBertForMaskedLM"),
    jina("JinaBertModel"),
    modernbert("ModernBertForMaskedLM"),
    modernbert("ModernBertForSequenceClassification"),
    modernbert("ModernBertModel"),
    mpnet("MPNetForMaskedLM"),
    mpnet("MPNetForSequenceClassification"),
    mpnet("MPNetModel"),
    gte("NewForMaskedLM"),
    gte("NewForSequenceClassification"),
    gte("NewModel"),
    nomic(),
    roberta("RobertaForMaskedLM"),
    roberta("RobertaForSequenceClassification"),
    roberta("RobertaModel"),
    roberta("XLMRobertaForMaskedLM"),
    roberta("XLMRobertaForSequenceClassification"),
    roberta("XLMRobertaModel"),
};

}  // namespace

std::span<const HfFamily> hf_encoder_families() {
  return kFamilies;
}

}  // namespace hearth
