#include "models/hf_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "base/file.h"
#include "formats/safetensors.h"

namespace hearth {
namespace {

using ::testing::HasSubstr;

// "110" for flags, "absent" for a key that was not written.
std::string text_of(const ModelFileContent& content, std::string_view key) {
  for (const MetadataEntry& entry : content.metadata) {
    if (entry.key != key) continue;
    if (const auto* list = std::get_if<std::vector<bool>>(&entry.value)) {
      std::string flags;
      for (const bool flag : *list)
        flags += flag ? '1' : '0';
      return flags;
    }
    if (const auto* size = std::get_if<std::int64_t>(&entry.value)) return fmt::format("{}", *size);
    if (const auto* real = std::get_if<double>(&entry.value)) return fmt::format("{:g}", *real);
    return "of another type";
  }
  return "absent";
}

// The configuration of a model below tests/golden/hf with some members changed: those of `changes`
// are set, or taken out where they are "absent".
json::Object changed_config(const std::string& model, const std::string& changes) {
  const auto path = std::filesystem::path("tests/golden/hf") / model / "config.json";
  const json::Value root = json::parse(read_text_file(path, 1u << 20).value()).value();
  const json::Value wanted = json::parse(changes).value();
  json::Object config;
  for (const json::Member& member : *root.as_object()) {
    if (wanted.as_object()->find(member.key) == nullptr) config.set(member.key, member.value);
  }
  for (const json::Member& member : *wanted.as_object()) {
    if (!(member.value == json::Value("absent"))) config.set(member.key, member.value);
  }
  return config;
}

// What a metadata key becomes, or the message of the refusal.
std::string translated(const std::string& model, const std::string& changes, std::string_view key) {
  const json::Object object = changed_config(model, changes);
  const HfObject plain(object, "config.json");
  const auto family = hf_family_of(plain);
  if (!family.has_value()) return family.error().message();
  const HfObject config = plain.with((*family)->aliases);
  ModelFileContent content;
  MetadataWriter out(content);
  const Status status = translate_hf_config(config, **family, out);
  if (!status.ok()) return status.message();
  return text_of(content, (*family)->metadata_key(key));
}

struct ConfigCase {
  std::string name;
  std::string model;
  std::string changes;
  std::string key;  // Below the architecture's prefix.
  std::string expected;
};

class HfConfig : public ::testing::TestWithParam<ConfigCase> {};

// The expected values are what transformers computes with or, where it says so, our refusal.
TEST_P(HfConfig, BecomesMetadataOrIsRefused) {
  const ConfigCase& row = GetParam();
  const std::string result = translated(row.model, row.changes, row.key);
  if (row.expected.contains(' ')) {
    EXPECT_THAT(result, HasSubstr(row.expected));
  } else {
    EXPECT_EQ(result, row.expected);
  }
}

const auto name_of = [](const auto& case_info) { return case_info.param.name; };

const std::string kPattern = "attention.sliding_window_pattern";
const std::string kWindow = "attention.sliding_window";

INSTANTIATE_TEST_SUITE_P(
    Windows, HfConfig,
    ::testing::Values(
        ConfigCase{"ListDecides", "qwen3",
                   R"({"use_sliding_window":true,"sliding_window":8,"max_window_layers":0,
                       "layer_types":["full_attention","sliding_attention"]})",
                   kPattern, "01"},
        ConfigCase{"ListAboveTheBorder", "qwen2",
                   R"({"use_sliding_window":true,"sliding_window":8,
                       "layer_types":["sliding_attention","sliding_attention"]})",
                   kPattern, "11"},
        ConfigCase{"BorderWithoutList", "qwen3",
                   R"({"use_sliding_window":true,"sliding_window":8,"max_window_layers":1,
                       "layer_types":"absent"})",
                   kPattern, "01"},
        ConfigCase{"UnusedWindow", "qwen2",
                   R"({"use_sliding_window":false,"sliding_window":8,"layer_types":"absent"})",
                   kWindow, "absent"},
        ConfigCase{"ListWithoutWindow", "qwen3",
                   R"({"sliding_window":8,"layer_types":["sliding_attention","full_attention"]})",
                   kPattern,
                   "'layer_types' holds sliding_attention, but by 'use_sliding_window' and"},
        ConfigCase{"ListTooShort", "qwen3", R"({"layer_types":["full_attention"]})", kPattern,
                   "'layer_types' must be a list of 'num_hidden_layers' (2) names"},
        ConfigCase{"OtherKind", "gemma2", R"({"layer_types":["chunked_attention","x"]})", kPattern,
                   "'layer_types' may only hold sliding_attention and full_attention"},
        ConfigCase{"Qwen2MoeBelowTheBorder", "qwen2moe",
                   R"({"use_sliding_window":true,"sliding_window":8,"layer_types":"absent"})",
                   kPattern, "10"},
        ConfigCase{"Qwen3MoeEverywhere", "qwen3moe",
                   R"({"use_sliding_window":true,"sliding_window":8,"max_window_layers":28})",
                   kPattern, "11"},
        ConfigCase{"Qwen3MoeReadsNoList", "qwen3moe",
                   R"({"use_sliding_window":true,"sliding_window":8,
                       "layer_types":["full_attention","full_attention"]})",
                   kPattern, "the class does not read it"},
        ConfigCase{"SmolLm3Unrotated", "smollm3",
                   R"({"use_sliding_window":true,"sliding_window":8,"layer_types":"absent"})",
                   kPattern, "0001"},
        ConfigCase{
            "SmolLm3HasNoDefault", "smollm3",
            R"({"use_sliding_window":true,"sliding_window":"absent","layer_types":"absent"})",
            kPattern, "0000"},
        ConfigCase{"Gemma3Pattern", "gemma3",
                   R"({"sliding_window_pattern":3,"layer_types":"absent"})", kPattern, "110110"},
        ConfigCase{"Gemma3PrivatePatternIsNotRead", "gemma3",
                   R"({"_sliding_window_pattern":3,"layer_types":"absent"})", kPattern, "111110"},
        ConfigCase{"Gemma3DefaultWindow", "gemma3", R"({"sliding_window":"absent"})", kWindow,
                   "4096"},
        ConfigCase{"Gemma3NeedsAWindow", "gemma3", R"({"sliding_window":null})", kWindow,
                   "'sliding_window' is null, but some layers need one"},
        ConfigCase{"MistralDefaultWindow", "mistral-f16", R"({"sliding_window":"absent"})", kWindow,
                   "4096"},
        ConfigCase{"MistralWithoutWindow", "mistral-f16", R"({"sliding_window":null})", kWindow,
                   "absent"},
        ConfigCase{"MixtralHasNoDefault", "mixtral", R"({"sliding_window":"absent"})", kWindow,
                   "absent"},
        ConfigCase{"MixtralWindow", "mixtral", R"({"sliding_window":8})", kPattern, "11"},
        ConfigCase{"TooManyLayers", "gemma3", R"({"num_hidden_layers":2147483647})", kPattern,
                   "'num_hidden_layers' is 2147483647; it must be 1 to 4096"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    UnrotatedLayers, HfConfig,
    ::testing::Values(
        ConfigCase{"Default", "smollm3",
                   R"({"no_rope_layers":"absent","no_rope_layer_interval":"absent"})",
                   "block_count", "4"},
        ConfigCase{"OtherInterval", "smollm3",
                   R"({"no_rope_layers":"absent","no_rope_layer_interval":2})", "block_count",
                   "'no_rope_layer_interval' is 2; only 4 is supported"},
        ConfigCase{"OtherLayers", "smollm3", R"({"no_rope_layers":[0,1,1,1]})", "block_count",
                   "'no_rope_layers' is not 1 for layer 0; only every 4th"},
        ConfigCase{"ShortList", "smollm3", R"({"no_rope_layers":[1]})", "block_count",
                   "'no_rope_layers' must be a list of 'num_hidden_layers' (4) numbers"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Rotation, HfConfig,
    ::testing::Values(
        ConfigCase{"LlamaTheta", "llama-bf16", R"({"rope_parameters":"absent"})", "rope.freq_base",
                   "10000"},
        ConfigCase{"MixtralTheta", "mixtral", R"({"rope_parameters":"absent"})", "rope.freq_base",
                   "1e+06"},
        ConfigCase{"SmolLm3Theta", "smollm3", R"({"rope_parameters":"absent"})", "rope.freq_base",
                   "2e+06"},
        ConfigCase{"Gemma3Theta", "gemma3", R"({"rope_parameters":"absent"})", "rope.freq_base",
                   "1e+06"},
        ConfigCase{"Gemma3OlderKeys", "gemma3",
                   R"({"rope_parameters":"absent","rope_theta":5000.0,
                       "rope_local_base_freq":300.0})",
                   "rope.freq_base_swa", "300"},
        ConfigCase{"LocalThetaBesideItsObject", "gemma3",
                   R"({"rope_parameters":{"sliding_attention":{"rope_type":"default"}},
                       "rope_local_base_freq":300.0})",
                   "rope.freq_base_swa", "300"},
        ConfigCase{"LocalThetaIsGemma3s", "mistral-f16", R"({"rope_local_base_freq":300.0})",
                   "rope.freq_base_swa", "absent"},
        ConfigCase{"Gemma3NeedsBothKinds", "gemma3",
                   R"({"rope_parameters":{"rope_type":"default","rope_theta":500.0}})",
                   "rope.freq_base", "holds no objects 'full_attention' and 'sliding_attention'"},
        ConfigCase{"OthersReadNoKinds", "qwen3",
                   R"({"rope_parameters":{"full_attention":{"rope_theta":500.0}}})",
                   "rope.freq_base", "which Qwen3ForCausalLM does not read"},
        ConfigCase{"ScalingTwice", "qwen3", R"({"rope_scaling":{"type":"linear","factor":4.0}})",
                   "rope.freq_base", "'rope_scaling' and 'rope_parameters' are both there and"},
        ConfigCase{"SameScalingTwice", "qwen3",
                   R"({"rope_scaling":{"type":"linear","factor":4.0},
                       "rope_parameters":{"type":"linear","factor":4.0}})",
                   "rope.scaling.factor", "4"},
        ConfigCase{"OriginalContextBeside", "qwen3",
                   R"({"rope_parameters":{"rope_type":"yarn","factor":4.0},
                       "original_max_position_embeddings":16})",
                   "rope.scaling.original_context_length", "16"},
        ConfigCase{"OriginalContextTwice", "qwen3",
                   R"({"rope_parameters":{"rope_type":"yarn","factor":4.0,
                                          "original_max_position_embeddings":32},
                       "original_max_position_embeddings":8})",
                   "rope.scaling.original_context_length",
                   "'original_max_position_embeddings' is 32 in the rope scaling, but 8 beside it"},
        ConfigCase{"Phi3OriginalContextByDefault", "phi3-long",
                   R"({"original_max_position_embeddings":"absent"})",
                   "rope.scaling.original_context_length", "but 4096 beside it by default"},
        ConfigCase{"Phi3ScalesByLongRopeOnly", "phi3",
                   R"({"rope_parameters":{"rope_type":"yarn","factor":4.0}})", "rope.scaling.type",
                   "type 'yarn' is not supported; supported are default and longrope"},
        ConfigCase{"PartOfAHead", "phi3",
                   R"({"rope_parameters":{"rope_type":"default"},"partial_rotary_factor":0.5})",
                   "rope.dimension_count", "4"},
        ConfigCase{"PartAboveOne", "phi3",
                   R"({"rope_parameters":"absent","partial_rotary_factor":1.5})",
                   "rope.dimension_count",
                   "'partial_rotary_factor' is 1.5; it must be above 0 and at most 1"},
        ConfigCase{"PartThatIsNotRead", "qwen3", R"({"partial_rotary_factor":0.5})",
                   "rope.dimension_count", "16"},
        ConfigCase{"PartThatOnlyScalingReads", "qwen3",
                   R"({"rope_parameters":{"rope_type":"yarn","factor":4.0,
                                          "partial_rotary_factor":0.5}})",
                   "rope.dimension_count", "Qwen3ForCausalLM rotates whole heads only"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Attention, HfConfig,
    ::testing::Values(
        ConfigCase{"Gemma2ScoreCap", "gemma2", R"({"attn_logit_softcapping":"absent"})",
                   "attn_logit_softcapping", "50"},
        ConfigCase{"Gemma2LogitCap", "gemma2", R"({"final_logit_softcapping":"absent"})",
                   "final_logit_softcapping", "30"},
        ConfigCase{"Gemma2WithoutCap", "gemma2", R"({"final_logit_softcapping":null})",
                   "final_logit_softcapping", "0"},
        ConfigCase{"Gemma2CapOfZero", "gemma2", R"({"attn_logit_softcapping":0})",
                   "attn_logit_softcapping", "'attn_logit_softcapping' is 0; it must be above 0"},
        ConfigCase{"Gemma3LogitCap", "gemma3", R"({"final_logit_softcapping":5.0})",
                   "final_logit_softcapping", "5"},
        ConfigCase{"Gemma3UsesNoScoreCap", "gemma3", R"({"attn_logit_softcapping":3.0})",
                   "attn_logit_softcapping", "absent"},
        ConfigCase{"Gemma2QueryScale", "gemma2", R"({"query_pre_attn_scalar":"absent"})",
                   "attention.scale", "0.0625"},
        ConfigCase{"Gemma3QueryScale", "gemma3", R"({"query_pre_attn_scalar":"absent"})",
                   "attention.scale", "0.0625"},
        ConfigCase{"QueryScaleOfZero", "gemma3", R"({"query_pre_attn_scalar":0})",
                   "attention.scale", "'query_pre_attn_scalar' is 0; it must be above 0"},
        ConfigCase{"BothWays", "gemma3", R"({"use_bidirectional_attention":true})", "block_count",
                   "'use_bidirectional_attention' is true; attention to later tokens"},
        ConfigCase{"NotCausal", "qwen3", R"({"is_causal":false})", "block_count",
                   "'is_causal' is false; attention to later tokens"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Activations, HfConfig,
    ::testing::Values(
        ConfigCase{"OtherKeyIsNotRead", "gemma2", R"({"hidden_act":"silu"})", "block_count", "2"},
        ConfigCase{"OwnKeyCounts", "gemma2",
                   R"({"hidden_act":"gelu_pytorch_tanh","hidden_activation":"silu"})",
                   "block_count", "'hidden_activation' is 'silu'; Gemma2ForCausalLM"},
        ConfigCase{"ExactGelu", "gemma3", R"({"hidden_activation":"gelu"})", "block_count",
                   "'hidden_activation' is 'gelu'; Gemma3ForCausalLM"},
        ConfigCase{"Gemma1MeansItsApproximation", "gemma", R"({"hidden_act":"gelu"})",
                   "block_count", "2"},
        ConfigCase{"Gpt2", "gpt2", R"({"activation_function":"gelu"})", "block_count",
                   "'activation_function' is 'gelu'; GPT2LMHeadModel"},
        ConfigCase{"AliasesDiffer", "gpt2", R"({"num_attention_heads":2})", "block_count",
                   "'num_attention_heads' and 'n_head' mean the same, but differ"}),
    name_of);

}  // namespace
}  // namespace hearth
