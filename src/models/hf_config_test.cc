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
                   "'no_rope_layer_interval' is 2; only every 4th layer"},
        ConfigCase{"OtherLayers", "smollm3", R"({"no_rope_layers":[0,1,1,1]})", "block_count",
                   "'no_rope_layers' is [0,1,1,1]; only every 4th layer"},
        ConfigCase{"ShortList", "smollm3", R"({"no_rope_layers":[1]})", "block_count",
                   "'no_rope_layers' must be a list of 'num_hidden_layers' (4) numbers"}),
    name_of);

}  // namespace
}  // namespace hearth
