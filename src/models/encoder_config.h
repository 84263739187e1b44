// What an encoder is, as data: the transformer that ModelConfig describes, and what is made of its
// hidden states. Internal to the models module.
//
// Metadata keys below the architecture's name. Those of GGUF files: pooling_type (1 mean, 2 first
// token, 3 last token, 4 a classification head), classifier.output_labels. Ours, which directories
// are translated to and files may have:
// - embedding.modules: what follows pooling, in order: "normalize", or the name of a dense layer's
//   tensors, "dense_2". Where it is missing, the layers dense_2 and dense_3 that are there, as
//   llama.cpp's converter writes them, and a division by the length unless embedding.normalize says
//   no.
// - embedding.dense_activations: none, tanh, relu or gelu, of each of those layers; missing: none.
// - embedding.token_type_count: the rows that their table must have.
// - embedding.max_tokens, embedding.prompt_names, embedding.prompt_texts, embedding.default_prompt,
//   embedding.matryoshka_dimensions, embedding.is_matryoshka, embedding.truncate_dim.
// - classifier.pooling_type (what the head reads), classifier.dense_activation (as above),
//   classifier.score_activation (none, softmax or sigmoid).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "models/encoder.h"
#include "models/encoder_head.h"
#include "models/model_config.h"

namespace hearth {

inline constexpr std::string_view kPoolingTypeKey = "pooling_type";
inline constexpr std::string_view kTokenTypesKey = "embedding.token_type_count";
inline constexpr std::string_view kNormalizeKey = "embedding.normalize";
inline constexpr std::string_view kModulesKey = "embedding.modules";
inline constexpr std::string_view kDenseActivationsKey = "embedding.dense_activations";
inline constexpr std::string_view kMaxTokensKey = "embedding.max_tokens";
inline constexpr std::string_view kPromptNamesKey = "embedding.prompt_names";
inline constexpr std::string_view kPromptTextsKey = "embedding.prompt_texts";
inline constexpr std::string_view kDefaultPromptKey = "embedding.default_prompt";
inline constexpr std::string_view kShorterKey = "embedding.matryoshka_dimensions";
inline constexpr std::string_view kAnyShorterKey = "embedding.is_matryoshka";
inline constexpr std::string_view kUsualLengthKey = "embedding.truncate_dim";
inline constexpr std::string_view kLabelsKey = "classifier.output_labels";
inline constexpr std::string_view kHeadPoolingKey = "classifier.pooling_type";
inline constexpr std::string_view kHeadDenseKey = "classifier.dense_activation";
inline constexpr std::string_view kScoreActivationKey = "classifier.score_activation";

// Of GGUF files: how a reranker that is a decoder reads a query and a document.
inline constexpr std::string_view kRerankTemplateKey = "tokenizer.chat_template.rerank";

// A module of kModulesKey that is no dense layer.
inline constexpr std::string_view kUnitLengthModule = "normalize";

// Values of pooling_type.
inline constexpr std::uint32_t kPoolingNone = 0;  // A vector per token.
inline constexpr std::uint32_t kPoolingMean = 1;
inline constexpr std::uint32_t kPoolingCls = 2;
inline constexpr std::uint32_t kPoolingLast = 3;
inline constexpr std::uint32_t kPoolingRank = 4;

struct EncoderPlan {
  ModelConfig transformer;
  EncoderConfig description;
  Pooling pooling = Pooling::kMean;  // Never kNone: heads read something, too.
  std::vector<HeadStep> head;        // What is made of the hidden state that pooling leaves.

  bool normed_behind_layers() const { return transformer.norm_placement != NormPlacement::kPost; }
};

// Errors as of read_encoder_description().
Result<EncoderPlan> read_encoder_plan(const ModelFile& file);

}  // namespace hearth
