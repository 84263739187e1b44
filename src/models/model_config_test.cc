#include "models/model_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "models/model.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

using test::GgufWriter;
using test::shape_of;
using ::testing::HasSubstr;

using Value = std::variant<std::uint32_t, float, bool, std::vector<bool>, std::string>;

// A one-layer llama, as a set of keys and tensors that a test may change before it is written.
struct Draft {
  std::map<std::string, Value> keys = {
      {"general.architecture", "llama"},     {"llama.block_count", 1u},
      {"llama.context_length", 64u},         {"llama.embedding_length", 32u},
      {"llama.feed_forward_length", 32u},    {"llama.attention.head_count", 4u},
      {"llama.attention.head_count_kv", 2u}, {"llama.attention.layer_norm_rms_epsilon", 1e-5f},
  };
  std::map<std::string, Shape> tensors = {
      {"token_embd.weight", shape_of({8, 32})},         {"output_norm.weight", shape_of({32})},
      {"blk.0.attn_norm.weight", shape_of({32})},       {"blk.0.attn_q.weight", shape_of({32, 32})},
      {"blk.0.attn_k.weight", shape_of({16, 32})},      {"blk.0.attn_v.weight", shape_of({16, 32})},
      {"blk.0.attn_output.weight", shape_of({32, 32})}, {"blk.0.ffn_norm.weight", shape_of({32})},
      {"blk.0.ffn_gate.weight", shape_of({32, 32})},    {"blk.0.ffn_up.weight", shape_of({32, 32})},
      {"blk.0.ffn_down.weight", shape_of({32, 32})},
  };

  std::vector<std::byte> bytes() const {
    GgufWriter writer;
    for (const auto& [key, value] : keys) {
      std::visit([&](const auto& v) { writer.add(key, v); }, value);
    }
    for (const auto& [name, shape] : tensors) {
      writer.add_tensor(name, DType::kF32, shape, std::vector<float>(shape.num_elements(), 1.0f));
    }
    return writer.bytes();
  }
};

Result<ModelConfig> config_of(const Draft& draft) {
  const auto bytes = draft.bytes();
  HEARTH_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::parse(bytes));
  return read_model_config(file);
}

Status load_status(const Draft& draft) {
  const auto bytes = draft.bytes();
  const ModelFile file = ModelFile::parse(bytes).value();
  const auto device = make_cpu_device({.num_threads = 1, .kernels = "reference"}).value();
  const auto model = Model::load(file, *device);
  return model ? Status() : model.error();
}

TEST(ModelConfig, ReadsADraftedLlama) {
  const auto config = config_of({});
  ASSERT_TRUE(config.has_value()) << config.error().to_string();
  EXPECT_EQ(config->vocab_size, 8u);
  EXPECT_EQ(config->heads.head_dim, 8u);
  EXPECT_EQ(config->rope.rope_dim, 8u);
  EXPECT_EQ(config->rope.scaling, RopeScaling::kNone);
  EXPECT_TRUE(load_status({}).ok());
}

struct BadKey {
  std::string name;
  std::string key;
  std::optional<Value> value;  // nullopt: the key is removed.
  StatusCode code;
  std::string message;
};

class RefusedConfig : public ::testing::TestWithParam<BadKey> {};

TEST_P(RefusedConfig, NamesTheKey) {
  Draft draft;
  draft.keys.erase(GetParam().key);
  if (GetParam().value) draft.keys.emplace(GetParam().key, *GetParam().value);
  const auto config = config_of(draft);
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().code(), GetParam().code);
  EXPECT_THAT(config.error().message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RefusedConfig,
    ::testing::Values(
        BadKey{"NoArchitecture",
               "general.architecture",
               {},
               StatusCode::kDataLoss,
               "general.architecture"},
        BadKey{"UnknownArchitecture", "general.architecture", "mamba", StatusCode::kUnimplemented,
               "'mamba' is not supported; supported: "},
        BadKey{"NoLayers",
               "llama.block_count",
               {},
               StatusCode::kDataLoss,
               "'llama.block_count' is missing"},
        BadKey{"ZeroLayers", "llama.block_count", 0u, StatusCode::kDataLoss,
               "llama.block_count is 0"},
        BadKey{"TooManyLayers", "llama.block_count", 1'000'000u, StatusCode::kDataLoss,
               "1 to 4096"},
        BadKey{"LayersAsText", "llama.block_count", "one", StatusCode::kDataLoss,
               "llama.block_count"},
        BadKey{"ZeroHeads", "llama.attention.head_count", 0u, StatusCode::kDataLoss,
               "head_count is 0"},
        BadKey{"HeadsDoNotDivideWidth", "llama.attention.head_count", 5u, StatusCode::kDataLoss,
               "not a multiple of llama.attention.head_count (5)"},
        BadKey{"KvHeadsDoNotDivideHeads", "llama.attention.head_count_kv", 3u,
               StatusCode::kDataLoss, "not a multiple of llama.attention.head_count_kv (3)"},
        BadKey{"RopeWiderThanHead", "llama.rope.dimension_count", 16u, StatusCode::kDataLoss,
               "at most the head dimension 8"},
        BadKey{"OddRope", "llama.rope.dimension_count", 7u, StatusCode::kDataLoss, "must be even"},
        BadKey{"NegativeFrequency", "llama.rope.freq_base", -1.0f, StatusCode::kDataLoss,
               "above 0"},
        BadKey{"NanEpsilon", "llama.attention.layer_norm_rms_epsilon",
               std::numeric_limits<float>::quiet_NaN(), StatusCode::kDataLoss,
               "not a finite number"},
        BadKey{"UnknownScaling", "llama.rope.scaling.type", "dynamic", StatusCode::kUnimplemented,
               "'dynamic'"},
        BadKey{"VocabularyMismatch", "llama.vocab_size", 9u, StatusCode::kDataLoss,
               "llama.vocab_size is 9, but token_embd.weight has 8 rows"},
        BadKey{"ExpertsWithoutTheirUse", "llama.expert_count", 8u, StatusCode::kDataLoss,
               "'llama.expert_used_count' is missing"},
        BadKey{"NegativeClamp", "llama.attention.clamp_kqv", -8.0f, StatusCode::kDataLoss,
               "llama.attention.clamp_kqv is -8; it must not be below 0"},
        BadKey{"SlopesWithoutAlibi", "llama.attention.max_alibi_bias", 8.0f,
               StatusCode::kUnimplemented, "llama.attention.max_alibi_bias is not supported"},
        BadKey{"ScaledLogits", "llama.logit_scale", 8.0f, StatusCode::kUnimplemented,
               "llama.logit_scale is not supported"},
        BadKey{"SigmoidRouter", "llama.expert_gating_func", 2u, StatusCode::kUnimplemented,
               "only 1 (softmax) is supported"},
        BadKey{"NegativeCap", "llama.final_logit_softcapping", -1.0f, StatusCode::kDataLoss,
               "llama.final_logit_softcapping is -1; it must not be below 0"},
        BadKey{"LongRopeWithoutFactors", "llama.rope.scaling.type", "longrope",
               StatusCode::kDataLoss, "the file lacks the first"},
        BadKey{"MagnitudeWithoutAScaling", "llama.rope.scaling.attn_factor", 2.0f,
               StatusCode::kUnimplemented,
               "llama.rope.scaling.attn_factor is 2; without yarn or longrope only 1"},
        BadKey{"YarnMagnitudeWithoutYarn", "llama.rope.scaling.yarn_attn_factor", 2.0f,
               StatusCode::kUnimplemented, "llama.rope.scaling.yarn_attn_factor is 2; without"},
        BadKey{"ValueLength", "llama.attention.value_length", 4u, StatusCode::kUnimplemented,
               "values of another length (4)"}),
    [](const auto& test) { return test.param.name; });

// A context stretched eightfold by YaRN.
Draft stretched(Draft draft, const std::string& architecture) {
  draft.keys[architecture + ".rope.scaling.type"] = "yarn";
  draft.keys[architecture + ".rope.scaling.factor"] = 8.0f;
  return draft;
}

// The draft as a file of another family.
Draft draft_of(const std::string& architecture) {
  Draft draft;
  decltype(draft.keys) renamed;
  for (const auto& [key, value] : draft.keys) {
    const bool own = key.starts_with("llama.");
    renamed.emplace(own ? architecture + key.substr(key.find('.')) : key, value);
  }
  renamed["general.architecture"] = architecture;
  draft.keys = std::move(renamed);
  return draft;
}

std::string refusal_of(const Draft& draft) {
  const auto config = config_of(draft);
  return config ? "nothing is refused" : config.error().message();
}

TEST(ModelConfig, MoreExpertsUsedThanThereAreIsRefused) {
  Draft draft;
  draft.keys["llama.expert_count"] = 4u;
  draft.keys["llama.expert_used_count"] = 5u;
  EXPECT_THAT(refusal_of(draft), HasSubstr("expert_used_count (5) is more than"));
}

TEST(ModelConfig, ExpertsAreForTheFamiliesThatHaveThem) {
  Draft dense = draft_of("qwen2");
  dense.keys["qwen2.expert_count"] = 4u;
  EXPECT_THAT(refusal_of(dense), HasSubstr("not supported for qwen2 (qwen2.expert_count is 4)"));
  EXPECT_THAT(refusal_of(draft_of("qwen3moe")), HasSubstr("'qwen3moe.expert_count' is missing"));
}

TEST(ModelConfig, AModelThatLooksAheadIsRefused) {
  Draft draft;
  draft.keys["llama.attention.causal"] = false;
  EXPECT_THAT(refusal_of(draft), HasSubstr("looks ahead"));
}

TEST(ModelConfig, ShareOfExtrapolationIsZeroToOneOrUnset) {
  Draft draft = stretched({}, "llama");
  draft.keys["llama.rope.scaling.yarn_ext_factor"] = -1.0f;
  EXPECT_EQ(config_of(draft)->rope.yarn_ext_factor, 1.0);
  draft.keys["llama.rope.scaling.yarn_ext_factor"] = 0.5f;
  EXPECT_EQ(config_of(draft)->rope.yarn_ext_factor, 0.5);
  for (const float bad : {-0.5f, 1.5f, 3e38f}) {
    draft.keys["llama.rope.scaling.yarn_ext_factor"] = bad;
    EXPECT_THAT(refusal_of(draft), HasSubstr("llama.rope.scaling.yarn_ext_factor is"));
  }
}

TEST(ModelConfig, YarnsTemperatureIsAMultiplierOrTheWhole) {
  const float usual = 1.0f + 0.1f * std::log(8.0f);
  const auto magnitude = [](const Draft& draft) {
    return static_cast<float>(config_of(draft)->rope.attn_factor);
  };
  Draft llama = stretched({}, "llama");
  EXPECT_FLOAT_EQ(magnitude(llama), usual);
  llama.keys["llama.rope.scaling.attn_factor"] = 1.5f;
  EXPECT_FLOAT_EQ(magnitude(llama), 1.5f * usual);
  // What writers say who mean nothing by it.
  llama.keys["llama.rope.scaling.yarn_attn_factor"] = 1.0f;
  EXPECT_FLOAT_EQ(magnitude(llama), 1.5f * usual);
  llama.keys["llama.rope.scaling.yarn_attn_factor"] = 1.25f;
  EXPECT_FLOAT_EQ(magnitude(llama), 1.25f);
  Draft olmo = stretched(draft_of("olmo2"), "olmo2");
  EXPECT_FLOAT_EQ(magnitude(olmo), usual);
  olmo.keys["olmo2.rope.scaling.attn_factor"] = 1.25f;
  EXPECT_FLOAT_EQ(magnitude(olmo), 1.25f);
}

TEST(ModelConfig, AParallelResidualMustFitTheTensors) {
  Draft draft = draft_of("stablelm");
  draft.keys["stablelm.use_parallel_residual"] = true;  // Converters say so unasked.
  EXPECT_FALSE(config_of(draft)->parallel_residual);
  draft.tensors.erase("blk.0.ffn_norm.weight");
  EXPECT_TRUE(config_of(draft)->parallel_residual);
  draft.keys["stablelm.use_parallel_residual"] = false;
  EXPECT_THAT(refusal_of(draft), HasSubstr("use_parallel_residual is false, but the tensor "
                                           "'blk.0.ffn_norm.weight' is missing"));
  draft.keys.erase("stablelm.use_parallel_residual");
  draft.keys["stablelm.block_count"] = 2u;
  draft.tensors["blk.1.ffn_norm.weight"] = shape_of({32});
  EXPECT_THAT(refusal_of(draft), HasSubstr("'blk.1.ffn_norm.weight' is there, but 'blk.0."));
}

TEST(ModelConfig, SparseMixersWeightsAreNotNormalized) {
  Draft draft = draft_of("phimoe");
  draft.keys["phimoe.expert_count"] = 4u;
  draft.keys["phimoe.expert_used_count"] = 2u;
  draft.keys["phimoe.expert_weights_norm"] = false;
  EXPECT_EQ(refusal_of(draft), "nothing is refused");
  draft.keys["phimoe.expert_weights_norm"] = true;
  EXPECT_THAT(refusal_of(draft), HasSubstr("phimoe.expert_weights_norm is true"));
}

TEST(ModelConfig, LongRopeNeedsWhatItExtends) {
  Draft draft = draft_of("phi3");
  draft.tensors["rope_factors_short.weight"] = shape_of({4});
  draft.tensors["rope_factors_long.weight"] = shape_of({4});
  EXPECT_THAT(refusal_of(draft), HasSubstr("'phi3.rope.scaling.original_context_length' is miss"));
  draft.tensors["rope_factors_long.weight"] = shape_of({3});
  EXPECT_THAT(refusal_of(draft),
              HasSubstr("'rope_factors_long.weight' has shape [3], expected [4]"));
}

TEST(ModelConfig, WindowsFollowAPeriodOrAList) {
  Draft draft = draft_of("gemma3");
  draft.keys["gemma3.block_count"] = 7u;
  draft.keys["gemma3.attention.sliding_window"] = 16u;
  const auto global_layers = [](const ModelConfig& config) {
    std::vector<std::size_t> layers;
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      if (config.layers[i].sliding_window == 0) layers.push_back(i);
      const bool local = config.layers[i].sliding_window > 0;
      EXPECT_EQ(config.layers[i].rope, local ? LayerRope::kLocal : LayerRope::kGlobal);
    }
    return layers;
  };
  EXPECT_THAT(global_layers(config_of(draft).value()), ::testing::ElementsAre(5));
  draft.keys["gemma3.attention.sliding_window_pattern"] = 3u;
  EXPECT_THAT(global_layers(config_of(draft).value()), ::testing::ElementsAre(2, 5));
  draft.keys["gemma3.attention.sliding_window_pattern"] =
      std::vector<bool>{true, false, true, true, true, true, false};
  EXPECT_THAT(global_layers(config_of(draft).value()), ::testing::ElementsAre(1, 6));
  draft.keys["gemma3.attention.sliding_window_pattern"] = std::vector<bool>{true, false};
  EXPECT_THAT(refusal_of(draft), HasSubstr("sliding_window_pattern has 2 entries for 7 layers"));
}

TEST(ModelConfig, OneSizeOfAFamilyScalesItsAttentionOtherwise) {
  Draft draft = draft_of("gemma2");
  draft.keys["gemma2.attention.key_length"] = 16u;
  draft.keys["gemma2.attention.value_length"] = 16u;
  EXPECT_FLOAT_EQ(config_of(draft)->attention_scale, 1.0f / 4.0f);
  draft.keys["gemma2.block_count"] = 46u;
  EXPECT_FLOAT_EQ(config_of(draft)->attention_scale, 1.0f / std::sqrt(8.0f));
}

TEST(ModelConfig, AlibiSlopesAreGeometricAndHalvedBetween) {
  EXPECT_THAT(alibi_slopes(8, 8.0f), ::testing::ElementsAre(0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f,
                                                            0.015625f, 0.0078125f, 0.00390625f));
  const std::vector<float> six = alibi_slopes(6, 8.0f);
  EXPECT_FLOAT_EQ(six[3], 0.00390625f);
  EXPECT_FLOAT_EQ(six[4], 0.5f);
  EXPECT_FLOAT_EQ(six[5], 0.125f);
}

TEST(ModelConfig, AVocabularyAloneIsRefusedByItsName) {
  GgufWriter writer;
  writer.add("general.architecture", "llama");
  const auto bytes = writer.bytes();
  const auto config = read_model_config(ModelFile::parse(bytes).value());
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error().message(), HasSubstr("a vocabulary alone"));
}

TEST(ModelConfig, MoreTokensThanEmbeddingRowsIsRefused) {
  GgufWriter writer;
  const Draft draft;
  for (const auto& [key, value] : draft.keys) {
    std::visit([&](const auto& v) { writer.add(key, v); }, value);
  }
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>(9, "x"));
  writer.add_tensor("token_embd.weight", DType::kF32, shape_of({8, 32}), std::vector<float>(256));
  const auto bytes = writer.bytes();
  const auto config = read_model_config(ModelFile::parse(bytes).value());
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error().message(),
              HasSubstr("9 entries, but token_embd.weight has only 8 rows"));
}

TEST(Weights, EveryProblemIsReportedAtOnce) {
  Draft draft;
  draft.tensors.erase("blk.0.attn_q.weight");
  draft.tensors["blk.0.ffn_up.weight"] = shape_of({16, 32});
  draft.tensors["blk.0.attn_q_norm.weight"] = shape_of({8});
  const Status status = load_status(draft);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("3 tensor problems"));
  EXPECT_THAT(status.message(), HasSubstr("'blk.0.attn_q.weight' [32, 32] is missing"));
  EXPECT_THAT(status.message(),
              HasSubstr("'blk.0.ffn_up.weight' has shape [16, 32], expected [32, 32]"));
  EXPECT_THAT(status.message(), HasSubstr("'blk.0.attn_q_norm.weight'"));
}

// A file with tensors we do not know describes another model than the one we would compute.
TEST(Weights, UndeclaredTensorsAreRefused) {
  Draft draft;
  draft.tensors["blk.0.attn_q_norm.weight"] = shape_of({8});
  const Status status = load_status(draft);
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), HasSubstr("attn_q_norm"));
}

TEST(Weights, FusedProjectionsMustHoldAllParts) {
  Draft draft;
  for (const char* part : {"q", "k", "v"})
    draft.tensors.erase("blk.0.attn_" + std::string(part) + ".weight");
  draft.tensors["blk.0.attn_qkv.weight"] = shape_of({64, 32});
  EXPECT_TRUE(load_status(draft).ok());
  draft.tensors["blk.0.attn_qkv.weight"] = shape_of({63, 32});
  EXPECT_THAT(load_status(draft).message(),
              HasSubstr("'blk.0.attn_qkv.weight' has shape [63, 32], expected [64, 32]"));
}

TEST(Weights, FamiliesWithBiasesNeedAllOfThem) {
  Draft draft = draft_of("bloom");
  const Status status = load_status(draft);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("'blk.0.attn_q.bias' [32] is missing"));
}

TEST(Weights, ExpertsWithoutARouterTakeNoMemory) {
  Draft draft;
  draft.keys["llama.block_count"] = 4096u;
  draft.keys["llama.expert_count"] = 4096u;
  draft.keys["llama.expert_used_count"] = 1u;
  test::reset_peak_bytes();
  const std::size_t before = test::live_bytes();
  EXPECT_THAT(load_status(draft).message(),
              HasSubstr("'blk.0.ffn_gate_inp.weight' [4096, 32] is missing"));
  EXPECT_LT(test::peak_bytes() - before, 64u << 20);
}

TEST(Weights, NormsWithoutTensorsTakeNoMemoryThatNothingProves) {
  constexpr std::size_t kWidth = 1u << 18;
  for (const std::string architecture : {"olmo", "command-r"}) {
    Draft draft = draft_of(architecture);
    draft.keys[architecture + ".block_count"] = 4096u;
    draft.keys[architecture + ".embedding_length"] = static_cast<std::uint32_t>(kWidth);
    draft.keys[architecture + ".attention.head_count"] = 1u;
    draft.keys[architecture + ".attention.head_count_kv"] = 1u;
    draft.keys[architecture + ".attention.key_length"] = 64u;
    draft.tensors = {{"token_embd.weight", shape_of({1, kWidth})}};
    test::reset_peak_bytes();
    const std::size_t before = test::live_bytes();
    EXPECT_THAT(load_status(draft).message(), HasSubstr("'blk.0.attn_q.weight'"));
    EXPECT_LT(test::peak_bytes() - before, 64u << 20);
  }
}

// Layers behind the first wrong one are not looked at, nor are messages kept that nobody sees.
TEST(Weights, ProblemsBeyondThoseShownAreOnlyCounted) {
  constexpr std::size_t kNumExperts = 4096;
  Draft draft;
  draft.keys["llama.block_count"] = 100u;
  draft.keys["llama.expert_count"] = static_cast<std::uint32_t>(kNumExperts);
  draft.keys["llama.expert_used_count"] = 1u;
  draft.keys["llama.embedding_length"] = 8u;
  draft.tensors = {{"token_embd.weight", shape_of({8, 8})}};
  for (std::size_t i = 0; i < 100; ++i)
    draft.tensors[fmt::format("blk.{}.ffn_gate_inp.weight", i)] = shape_of({kNumExperts, 8});
  test::reset_peak_bytes();
  const std::size_t before = test::live_bytes();
  // Beside each expert's three matrices: attention's four, two norms and the last one.
  const std::string message = load_status(draft).message();
  EXPECT_THAT(message, HasSubstr("12295 tensor problems up to layer 'blk.0.'"));
  EXPECT_THAT(message, HasSubstr("; and 12287 more"));
  EXPECT_LT(test::peak_bytes() - before, 64u << 20);
}

TEST(Weights, PositionsBeyondTheLearnedOnesAreRefused) {
  const ModelFile file = ModelFile::open("tests/golden/models/gpt2.gguf").value();
  const auto device = make_cpu_device({.num_threads = 1}).value();
  const auto model = Model::load(file, *device).value();
  EXPECT_TRUE(model->reserve(1, 1, 128).ok());
  EXPECT_THAT(model->reserve(1, 1, 129).message(), HasSubstr("learned 128 positions; 129"));
}

TEST(Weights, FrequenciesLeftByConvertersAreIgnored) {
  Draft draft;
  draft.tensors["blk.0.attn_rot_embd.weight"] = shape_of({4});
  EXPECT_TRUE(load_status(draft).ok());
}

}  // namespace
}  // namespace hearth
