#include "models/architectures_page.h"

#include <fmt/ranges.h>

#include <span>
#include <string_view>
#include <vector>

#include "models/architectures.h"

namespace hearth {
namespace {

constexpr std::string_view kHead =
    R"(# Architectures

Generated from `src/models/architectures.cc`; do not edit.

## Decoders

A GGUF file names its architecture in
`general.architecture`; `hearth inspect FILE` says whether a file can be served, and why not.

Each is checked against transformers on tiny random models (`tests/golden/models`): logits within a
stated budget, the same greedy text. That proves the arithmetic, not the quality of any released
model's answers. A file with tensors that its row does not know is refused, and so are settings that
are known to change the arithmetic and are not supported. Keys that transformers does not read are
ignored; in Hugging Face directories an absent key is the class's default or refused as missing.

| architecture | models | positions | norms | feed-forward |
| --- | --- | --- | --- | --- |
)";

constexpr std::string_view kEncodersHead =
    R"(
## Encoders

They make a vector of a text, or scores of labels, and see each text as a whole. Vectors, or raw
scores, are compared with transformers on tiny random models (`tests/golden/encoders`): cosine above
0.9999. Hugging Face directories may hold a model without a head, one trained on masked words (that
head is not read) or a sequence classifier; of sentence-transformers' modules, pooling (first token,
mean, last token), dense layers (Identity, Tanh, ReLU, GELU) and normalization are computed, and
others refused. A decoder whose files say that its last token's hidden state is the vector
(`pooling_type` 3, or the modules beside a directory such as Qwen3 Embedding's) is loaded as an
encoder, too, and so is one with a head (`pooling_type` 4: Qwen3 Reranker).

| architecture | models | positions | norms | feed-forward |
| --- | --- | --- | --- | --- |
)";

std::string positions_of(const Architecture& row) {
  switch (row.positions) {
    case PositionEncoding::kAlibi:
      return "ALiBi";
    case PositionEncoding::kLearned:
      return row.distance_buckets ? "learned, and biases by distance" : "learned";
    case PositionEncoding::kRope:
      break;
  }
  std::string text =
      row.rope_layout == RopeLayout::kInterleaved ? "RoPE, adjacent pairs" : "RoPE, split halves";
  if (row.unrotated_globals) text += ", only with windows";
  if (row.unrotated_period > 0)
    text += fmt::format(", none in every layer {}", row.unrotated_period);
  if (row.global_period > 0) {
    text += fmt::format(", windows but in {} {}",
                        row.global_first ? "the first layer of each" : "every layer",
                        row.global_period);
  }
  if (row.attention_sinks) text += ", sinks";
  return text;
}

std::string norms_of(const Architecture& row) {
  std::vector<std::string_view> parts = {row.norm == NormKind::kRms ? "RMS" : "LayerNorm"};
  if (!row.norm_gains) parts.emplace_back("without weights");
  if (row.norm_placement == NormPlacement::kPrePost) parts.emplace_back("before and after");
  if (row.norm_placement == NormPlacement::kOutputs) parts.emplace_back("after");
  if (row.norm_placement == NormPlacement::kPost) parts.emplace_back("behind each sum");
  if (row.qk_norm == QkNorm::kHead) {
    parts.emplace_back(row.qk_norm_rotated ? "on rotated Q and K" : "on Q and K");
  }
  if (row.qk_norm == QkNorm::kWhole) parts.emplace_back("on all heads of Q and of K");
  if (row.qk_norm == QkNorm::kOwnLayerNorms)
    parts.emplace_back(row.qk_norm_perhaps ? "perhaps on Q and K" : "on Q and K");
  if (row.latent_attention) parts.emplace_back("on latent Q, K and V");
  if (row.embedding_norm) parts.emplace_back("on the embedding");
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string_view activation_name(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "SiLU";
    case Activation::kGelu:
      return "GELU";
    case Activation::kGeluTanh:
      return "GELU (tanh)";
    case Activation::kRelu:
      return "ReLU";
    case Activation::kReluSquared:
      return "squared ReLU";
    case Activation::kClampedSwish:
      return "clamped SiLU";
  }
  return "";
}

std::string feed_forward_of(const Architecture& row) {
  std::string text =
      fmt::format("{}{}", row.gated ? "gated " : "", activation_name(row.activation));
  if (row.parallel != ParallelUse::kNever) {
    text += row.parallel == ParallelUse::kAlways ? ", beside attention"
                                                 : ", beside attention or behind it";
  }
  if (row.experts == ExpertUse::kPerhaps) text += ", dense or experts";
  if (row.experts == ExpertUse::kAlways) text += ", experts";
  if (row.shared_expert) text += " and a shared one";
  if (row.stated_experts) text += ", shared ones, groups";
  if (row.expert_gate == ExpertGate::kSparseMixer) text += " (SparseMixer)";
  return text;
}

void append_rows(std::span<const Architecture> rows, std::string& page) {
  for (const Architecture& row : rows) {
    page += fmt::format("| `{}` | {} | {} | {} | {} |\n", row.name, row.models, positions_of(row),
                        norms_of(row), feed_forward_of(row));
  }
}

}  // namespace

std::string architectures_markdown() {
  std::string page(kHead);
  append_rows(architectures(), page);
  page += kEncodersHead;
  append_rows(encoder_architectures(), page);
  return page;
}

}  // namespace hearth
