#include "models/hf_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "models/model_test_util.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using test::Golden;
using test::ModelHarness;
using test::read_golden;
using test::TempDirectory;
using ::testing::HasSubstr;

// As kLogitErrorBudget; of the models here one lies just above it. Where transformers rounds its
// keys and values to float16 too, all differences fall below 1e-4.
constexpr float kHfLogitErrorBudget = 3e-2f;

std::filesystem::path hf(const std::string& name) {
  return std::filesystem::path("tests/golden/hf") / name;
}

std::filesystem::path gguf(const std::string& name) {
  return std::filesystem::path("tests/golden/models") / (name + ".gguf");
}

Golden golden_of(const std::string& name) {
  const auto own = hf(name) / "golden.json";
  if (std::filesystem::exists(own)) return read_golden(own);
  return read_golden(std::filesystem::path("tests/golden/models") / (name + ".json"));
}

// The rope cases keep their configuration alone; their weights are those of llama-tied.
class HfCase {
 public:
  explicit HfCase(const std::string& name) {
    std::filesystem::copy(hf("llama-tied"), directory_.path(), kOverwrite);
    std::filesystem::copy(hf(name), directory_.path(), kOverwrite);
  }
  explicit HfCase(const HfCase&) = delete;

  std::filesystem::path path() const { return directory_.path(); }
  ModelFile open() const { return open_hf_directory(path()).value(); }

 private:
  static constexpr auto kOverwrite =
      std::filesystem::copy_options::overwrite_existing | std::filesystem::copy_options::recursive;
  TempDirectory directory_;
};

std::string case_name(const ::testing::TestParamInfo<std::string>& case_info) {
  std::string name = case_info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

class HfGoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  HfGoldenModel() : case_(GetParam()), expected_(golden_of(GetParam())) {}

  HfCase case_;
  Golden expected_;
};

TEST_P(HfGoldenModel, LogitsAgreeWithTransformers) {
  const auto logits =
      ModelHarness(case_.open()).evaluate(expected_.prompt, expected_.prompt.size());
  ASSERT_EQ(logits.size(), expected_.logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    for (std::size_t j = 0; j < logits[i].size(); ++j) {
      ASSERT_NEAR(logits[i][j], expected_.logits[i][j], kHfLogitErrorBudget)
          << "position " << i << ", token " << j;
    }
  }
}

TEST_P(HfGoldenModel, GreedyContinuationEqualsTransformers) {
  EXPECT_EQ(ModelHarness(case_.open()).continue_greedily(expected_.prompt, expected_.greedy.size()),
            expected_.greedy);
}

INSTANTIATE_TEST_SUITE_P(Families, HfGoldenModel,
                         ::testing::Values("llama-tied", "llama-bf16", "llama-rope-linear",
                                           "llama-rope-llama3", "llama-rope-yarn", "mistral-f16",
                                           "qwen2"),
                         case_name);

std::vector<std::vector<float>> logits_of(ModelFile file) {
  return ModelHarness(std::move(file)).evaluate(golden_of("qwen2").prompt, 40);
}

// Same weights, same formats, same order of every sum. The logits of the GGUF files are compared
// with transformers in decoder_test.cc.
class HfSameBits : public ::testing::TestWithParam<std::string> {};

TEST_P(HfSameBits, AsAGgufFileOfTheSameWeights) {
  EXPECT_EQ(logits_of(open_hf_directory(hf(GetParam())).value()),
            logits_of(ModelFile::open(gguf(GetParam())).value()));
}

INSTANTIATE_TEST_SUITE_P(
    Families, HfSameBits,
    ::testing::Values("bloom", "bloom-six-heads", "gemma", "gemma2", "gemma3", "gpt2", "phi3",
                      "phi3-long", "phi3-short", "phimoe", "phimoe-long", "qwen2", "qwen2moe",
                      "qwen3", "qwen3moe", "chatglm", "cohere2", "command-r", "ernie4_5", "exaone4",
                      "falcon", "falcon-two-norms", "glm4", "gptneox", "hunyuan", "olmo2", "olmo3",
                      "olmoe", "phi2", "seed_oss", "stablelm", "stablelm-parallel", "starcoder",
                      "starcoder2", "gpt-oss", "gpt-oss-mxfp4", "command-r-plus", "exaone", "gptj",
                      "mpt", "nemotron", "opt", "stablelm-head-norms", "jais2", "helium",
                      "deepseek2", "deepseek2-lite", "deepseek3"),
    case_name);

// Some families' GGUF files hold the rotated pairs of Q and K side by side, so that the products of
// attention are added up in another order.
class HfNearlySame : public ::testing::TestWithParam<std::string> {};

TEST_P(HfNearlySame, AsAPermutedGgufFile) {
  const auto here = logits_of(open_hf_directory(hf(GetParam())).value());
  const auto there = logits_of(ModelFile::open(gguf(GetParam())).value());
  for (std::size_t i = 0; i < here.size(); ++i) {
    for (std::size_t j = 0; j < here[i].size(); ++j) {
      ASSERT_NEAR(here[i][j], there[i][j], 1e-3f) << "position " << i << ", token " << j;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, HfNearlySame,
                         ::testing::Values("arcee", "cwm", "granite", "granitemoe", "internlm2",
                                           "llama-tied", "minicpm", "mixtral", "olmo", "smollm3"),
                         case_name);

TEST(HfDirectory, ShardsGiveTheBitsOfOneFile) {
  const ModelFile file = open_hf_directory(hf("qwen2-sharded")).value();
  EXPECT_EQ(file.format(), "safetensors in 3 shards");
  EXPECT_EQ(logits_of(open_hf_directory(hf("qwen2-sharded")).value()),
            logits_of(open_hf_directory(hf("qwen2")).value()));
}

// One change to config.json.
struct BadConfig {
  std::string name;
  std::string key;
  std::string value;  // JSON; empty: the key is taken out.
  StatusCode code;
  std::string message;
};

// Writes an object back with one member changed or, for an empty value, without it.
void change_member(const std::filesystem::path& path, const std::string& key,
                   const std::string& value) {
  const json::Value root = json::parse(read_text_file(path, 1u << 20).value()).value();
  json::Object changed;
  for (const json::Member& member : *root.as_object()) {
    if (member.key != key) changed.set(member.key, member.value);
  }
  if (!value.empty()) changed.set(key, json::parse(value).value());
  ASSERT_TRUE(write_file_atomically(path, json::dump(changed)).ok());
}

Status load_status(const std::filesystem::path& directory) {
  const auto file = open_hf_directory(directory);
  if (!file.has_value()) return file.error();
  const auto device = make_cpu_device({.num_threads = 1}).value();
  const auto model = Model::load(*file, *device);
  return model.has_value() ? Status() : model.error();
}

class RefusedHfConfig : public ::testing::TestWithParam<BadConfig> {};

TEST_P(RefusedHfConfig, NamesFileKeyAndValue) {
  const HfCase model("llama-bf16");
  change_member(model.path() / "config.json", GetParam().key, GetParam().value);
  const Status status = load_status(model.path());
  EXPECT_EQ(status.code(), GetParam().code) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RefusedHfConfig,
    ::testing::Values(
        BadConfig{"Missing", "hidden_size", "", StatusCode::kDataLoss,
                  "config.json: key 'hidden_size' is missing"},
        BadConfig{"NullIsMissing", "rms_norm_eps", "null", StatusCode::kDataLoss,
                  "config.json: key 'rms_norm_eps' is missing"},
        BadConfig{"TextForSize", "hidden_size", "\"32\"", StatusCode::kDataLoss,
                  "'hidden_size' should be an integer but is of type string"},
        BadConfig{"FractionForSize", "hidden_size", "32.5", StatusCode::kDataLoss,
                  "'hidden_size' should be an integer but is of type number"},
        BadConfig{"Zero", "num_attention_heads", "0", StatusCode::kDataLoss,
                  "'num_attention_heads' is 0; it must be 1 to 2147483647"},
        BadConfig{"Negative", "num_hidden_layers", "-1", StatusCode::kDataLoss,
                  "'num_hidden_layers' is -1"},
        BadConfig{"TooLarge", "vocab_size", "9007199254740993", StatusCode::kDataLoss,
                  "'vocab_size' is 9007199254740993"},
        BadConfig{"TooManyLayers", "num_hidden_layers", "100000", StatusCode::kDataLoss,
                  "block_count is 100000"},
        BadConfig{"VocabularyOtherThanRows", "vocab_size", "65", StatusCode::kDataLoss,
                  "but model.embed_tokens.weight has 64 rows"},
        BadConfig{"LayersBeyondTheWeights", "num_hidden_layers", "3", StatusCode::kDataLoss,
                  "'model.layers.2.self_attn.q_proj.weight' [32, 32] is missing"},
        BadConfig{"WeightsBeyondTheLayers", "num_hidden_layers", "1", StatusCode::kUnimplemented,
                  "'model.layers.1."},
        BadConfig{"OtherShape", "intermediate_size", "47", StatusCode::kDataLoss,
                  "'model.layers.0.mlp.gate_proj.weight' has shape [48, 32], expected [47, 32]"},
        BadConfig{"HeadsDoNotDivide", "num_key_value_heads", "3", StatusCode::kDataLoss,
                  "'num_attention_heads' (4) is not a multiple of 'num_key_value_heads' (3)"},
        BadConfig{"NoArchitecture", "architectures", "", StatusCode::kDataLoss,
                  "'architectures' must be a list of class names"},
        BadConfig{"EmptyArchitectures", "architectures", "[]", StatusCode::kDataLoss,
                  "'architectures' must be a list of class names"},
        BadConfig{"UnknownArchitecture", "architectures", "[\"NovelForCausalLM\"]",
                  StatusCode::kUnimplemented,
                  "'NovelForCausalLM' is not supported; supported: ArceeForCausalLM, "},
        BadConfig{"OtherActivation", "hidden_act", "\"relu\"", StatusCode::kUnimplemented,
                  "'hidden_act' is 'relu'; LlamaForCausalLM is supported with 'silu'"},
        BadConfig{"Quantized", "quantization_config", R"({"quant_method":"quip"})",
                  StatusCode::kUnimplemented, "quantized by 'quip'"},
        BadConfig{"NovelRope", "rope_parameters", R"({"rope_type":"proportional","factor":2.0})",
                  StatusCode::kUnimplemented,
                  "type 'proportional' is not supported; supported are default, linear, dynamic, "
                  "yarn, llama3 and longrope"},
        BadConfig{"RopeFactorMissing", "rope_parameters", R"({"rope_type":"linear"})",
                  StatusCode::kDataLoss, "'factor' of the rope scaling is missing"},
        BadConfig{"RopeFactorZero", "rope_parameters", R"({"rope_type":"linear","factor":0})",
                  StatusCode::kDataLoss, "'factor' of the rope scaling is 0"},
        BadConfig{"HugeHeads", "head_dim", "2147483646", StatusCode::kDataLoss,
                  "heads have 2147483646 values; 1 to 65536 are supported"},
        BadConfig{"RopeThetaZero", "rope_parameters", R"({"rope_theta":0})", StatusCode::kDataLoss,
                  "'rope_theta' is 0"}),
    [](const auto& case_info) { return case_info.param.name; });

TEST(HfDirectory, RefusesTheContradictionsBetweenConfigurationAndOutput) {
  const HfCase untied("llama-tied");
  change_member(untied.path() / "config.json", "tie_word_embeddings", "false");
  EXPECT_THAT(load_status(untied.path()).message(),
              HasSubstr("'lm_head.weight' is missing, although 'tie_word_embeddings' is false"));
}

// Copies the bytes of one tensor over those of another in the directory's only file.
void repeat_tensor(const std::filesystem::path& directory, std::string_view from,
                   std::string_view to) {
  const auto path = directory / "model.safetensors";
  std::string bytes = read_text_file(path, 1u << 20).value();
  const auto tensors = read_safetensors(std::as_bytes(std::span(bytes))).value();
  const auto source = std::ranges::find(tensors, from, &SafetensorsTensor::name);
  const auto target = std::ranges::find(tensors, to, &SafetensorsTensor::name);
  ASSERT_TRUE(source != tensors.end() && target != tensors.end());
  std::string changed = bytes;
  const auto offset = [&](const SafetensorsTensor& tensor) {
    return reinterpret_cast<const char*>(tensor.data.data()) - bytes.data();
  };
  std::memcpy(changed.data() + offset(*target), bytes.data() + offset(*source),
              source->data.size());
  ASSERT_TRUE(write_file_atomically(path, changed).ok());
}

// As transformers since its version 5: a stored matrix that differs from the embedding is used.
TEST(HfDirectory, ATiedOutputIsLeftOutOnlyWhereItRepeatsTheEmbedding) {
  const HfCase model("llama-bf16");
  change_member(model.path() / "config.json", "tie_word_embeddings", "true");
  EXPECT_NE(open_hf_directory(model.path())->find_tensor("output.weight"), nullptr);
  repeat_tensor(model.path(), "model.embed_tokens.weight", "lm_head.weight");
  EXPECT_EQ(open_hf_directory(model.path())->find_tensor("output.weight"), nullptr);
}

TEST(HfDirectory, RefusesBiasesThatTheConfigurationDoesNotDeclare) {
  const auto message = [](const std::string& name, const std::string& key) {
    const HfCase model(name);
    change_member(model.path() / "config.json", key, "false");
    return load_status(model.path()).message();
  };
  EXPECT_THAT(
      message("llama-bf16", "attention_bias"),
      HasSubstr("_proj.bias' is a bias that by config.json LlamaForCausalLM does not have"));
  EXPECT_THAT(message("llama-bf16", "mlp_bias"), HasSubstr("_proj.bias' is a bias that by"));
  EXPECT_THAT(message("qwen2moe", "qkv_bias"), HasSubstr("_proj.bias' is a bias that by"));
  EXPECT_EQ(message("qwen2", "attention_bias"), "");  // The class knows no such key.
}

TEST(HfDirectory, RefusesWhatOnlySomeModelsOfAClassHave) {
  const auto message = [](const std::string& name, const std::string& key,
                          const std::string& value) {
    const HfCase model(name);
    change_member(model.path() / "config.json", key, value);
    return load_status(model.path()).message();
  };
  EXPECT_THAT(message("command-r", "use_qk_norm", "true"),
              HasSubstr("q_norm.weight' [4, 8] is missing"));
  EXPECT_THAT(message("command-r-plus", "use_qk_norm", "false"),
              HasSubstr("q_norm.weight' [4, 8] is not part"));
  EXPECT_THAT(message("stablelm-head-norms", "qk_layernorm", ""), HasSubstr("q_layernorm.norms."));
  EXPECT_THAT(message("gpt-oss", "swiglu_limit", "5.0"),
              HasSubstr("'swiglu_limit' is 5; GptOssForCausalLM is supported with 7"));
  EXPECT_THAT(message("gpt-oss", "rope_parameters", ""), HasSubstr("'rope_parameters' is missing"));
  EXPECT_THAT(message("cwm", "rope_parameters", ""), HasSubstr("'rope_parameters' is missing"));
  EXPECT_THAT(message("gpt-oss", "attention_bias", "false"),
              HasSubstr("_proj.bias' is a bias that by"));
  EXPECT_THAT(message("gpt-oss", "quantization_config", R"({"quant_method":"awq"})"),
              HasSubstr("quantized by 'awq'"));
  EXPECT_THAT(message("qwen3", "quantization_config", R"({"quant_method":"mxfp4"})"),
              HasSubstr("quantized by 'mxfp4'"));
  EXPECT_THAT(message("minicpm", "scale_depth", ""), HasSubstr("'scale_depth' is missing"));
  EXPECT_THAT(message("minicpm", "sparse_config", "{}"), HasSubstr("'sparse_config' is {}"));
  EXPECT_THAT(message("mpt", "expansion_ratio", "2"), HasSubstr("'expansion_ratio' is 2"));
  EXPECT_THAT(message("mpt", "attn_config", R"({"alibi":false})"), HasSubstr("'alibi' is false"));
  EXPECT_THAT(
      message("mpt", "norm_type", R"("low_precision_rmsnorm")"),
      HasSubstr("'norm_type' is 'low_precision_rmsnorm'; MptForCausalLM is supported with"));
  EXPECT_THAT(message("mpt", "attn_config", R"({"qk_ln":true})"), HasSubstr("'qk_ln' is true"));
  EXPECT_THAT(message("opt", "do_layer_norm_before", "false"),
              HasSubstr("'do_layer_norm_before' is false"));
  EXPECT_THAT(message("opt", "word_embed_proj_dim", "16"),
              HasSubstr("'word_embed_proj_dim' is 16; OPTForCausalLM is supported with 32"));
  EXPECT_THAT(message("gptj", "rotary_dim", ""), HasSubstr("'rotary_dim' is missing"));
  EXPECT_THAT(message("falcon", "alibi", "true"), HasSubstr("'alibi' is true"));
  EXPECT_THAT(message("falcon", "parallel_attn", "false"), HasSubstr("'parallel_attn' is false"));
  EXPECT_THAT(message("phimoe", "lm_head_bias", "false"), HasSubstr("'lm_head.bias' is a bias"));
  EXPECT_THAT(message("phimoe", "num_experts_per_tok", "3"),
              HasSubstr("SparseMixer chooses 2 experts"));
}

TEST(HfDirectory, RefusesWhatDeepSeeksClassesDoNotCompute) {
  const auto message = [](const std::string& name, const std::string& key,
                          const std::string& value) {
    const HfCase model(name);
    change_member(model.path() / "config.json", key, value);
    return load_status(model.path()).message();
  };
  EXPECT_THAT(message("deepseek3", "num_key_value_heads", "2"),
              HasSubstr("'num_key_value_heads' is 2; with a latent it must be"));
  EXPECT_THAT(message("deepseek3", "moe_layer_freq", "2"), HasSubstr("'moe_layer_freq' is 2"));
  EXPECT_THAT(message("deepseek3", "q_lora_rank", ""), HasSubstr("key 'q_lora_rank' is missing"));
  EXPECT_THAT(message("deepseek3", "q_lora_rank", "null"), HasSubstr("q_proj.weight' [96, 32]"));
  EXPECT_THAT(message("deepseek3", "scoring_func", "\"softmax\""),
              HasSubstr("'scoring_func' is 'softmax'; supported is 'sigmoid'"));
  EXPECT_THAT(message("deepseek3", "topk_method", "\"greedy\""),
              HasSubstr("'topk_method' is 'greedy'; supported is 'noaux_tc'"));
  EXPECT_THAT(message("deepseek2", "topk_method", "\"noaux_tc\""),
              HasSubstr("supported is 'greedy' or 'group_limited_greedy'"));
  EXPECT_THAT(message("deepseek2", "norm_topk_prob", "true"),
              HasSubstr("'norm_topk_prob' is true; DeepseekV2ForCausalLM is supported without"));
  EXPECT_THAT(message("deepseek2", "attention_bias", "false"), HasSubstr("' is a bias that by"));
  // The class has groups where config.json is silent.
  EXPECT_THAT(message("deepseek3", "n_group", ""), HasSubstr("key 'n_group' is missing"));
  EXPECT_THAT(message("deepseek3", "topk_group", ""), HasSubstr("key 'topk_group' is missing"));
  EXPECT_THAT(message("deepseek3", "first_k_dense_replace", "-1"),
              HasSubstr("'first_k_dense_replace' is -1; it must be 0 to"));
  // By transformers' name of the tensor.
  EXPECT_THAT(message("deepseek3", "n_routed_experts", "12"),
              HasSubstr("'model.layers.1.mlp.gate"));
}

// The quotient of both scales, or YaRN's own where one of them is not stated; the scores'
// temperature follows from the second one alone.
TEST(HfDirectory, MagnitudesOfDeepSeeksRotationsAreThoseOfItsClass) {
  const double own = 1.0 + 0.1 * std::log(8.0);
  const auto config_of = [](const std::string& scales) {
    const HfCase model("deepseek3");
    change_member(model.path() / "config.json", "rope_parameters",
                  R"({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0,
                      "original_max_position_embeddings": 16)" +
                      scales + "}");
    return read_model_config(open_hf_directory(model.path()).value()).value();
  };
  const ModelConfig both = config_of(R"(, "mscale": 0.5, "mscale_all_dim": 1.0)");
  EXPECT_NEAR(both.rope.attn_factor, (1.0 + 0.05 * std::log(8.0)) / own, 1e-6);
  EXPECT_NEAR(both.attention_scale, own * own / std::sqrt(24.0), 1e-6);
  const ModelConfig second = config_of(R"(, "mscale_all_dim": 1.0)");
  EXPECT_NEAR(second.rope.attn_factor, own, 1e-6);
  EXPECT_EQ(second.attention_scale, both.attention_scale);
  const ModelConfig neither = config_of("");
  EXPECT_NEAR(neither.rope.attn_factor, own, 1e-6);
  EXPECT_NEAR(neither.attention_scale, 1.0 / std::sqrt(24.0), 1e-6);
}

// The layers behind the model's own guess further tokens; the class leaves them out, too.
TEST(HfDirectory, LayersThatGuessFurtherTokensAreLeftOut) {
  const HfCase model("deepseek3");
  const auto config = model.path() / "config.json";
  change_member(config, "num_hidden_layers", "1");
  EXPECT_TRUE(load_status(model.path()).ok());
  change_member(config, "num_nextn_predict_layers", "0");
  EXPECT_THAT(load_status(model.path()).message(), HasSubstr("'model.layers.1."));
}

TEST(HfDirectory, RefusesATensorThatContradictsTheParallelResidual) {
  const auto message = [](const std::string& name, const std::string& value) {
    const HfCase model(name);
    change_member(model.path() / "config.json", "use_parallel_residual", value);
    return load_status(model.path()).message();
  };
  EXPECT_EQ(message("stablelm", ""), "");
  EXPECT_THAT(message("stablelm", "true"),
              HasSubstr("use_parallel_residual is true, but the tensor "
                        "'model.layers.0.post_attention_layernorm.weight' is there"));
  EXPECT_THAT(message("stablelm-parallel", ""), HasSubstr("is false, but the tensor"));
}

TEST(HfDirectory, HeadsMayHaveASizeOfTheirOwn) {
  for (const std::string name : {"olmo", "starcoder2"}) {
    const HfCase model(name);
    change_member(model.path() / "config.json", "head_dim", "16");
    EXPECT_THAT(load_status(model.path()).message(), HasSubstr("[32, 32], expected [64, 32]"));
    change_member(model.path() / "config.json", "head_dim", "8");
    EXPECT_EQ(load_status(model.path()).message(), "");
  }
}

TEST(HfDirectory, SaysWhichLinkIsBroken) {
  for (const std::string name :
       {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}) {
    const HfCase model("llama-tied");
    std::filesystem::remove(model.path() / name);
    std::filesystem::create_symlink("../../blobs/0a1b", model.path() / name);
    EXPECT_THAT(load_status(model.path()).message(),
                HasSubstr(name + "' is a broken link: its target '../../blobs/0a1b'"));
  }
}

TEST(HfDirectory, RemoteCodeIsNeverRunAndSaidSo) {
  const HfCase model("llama-tied");
  change_member(model.path() / "config.json", "auto_map",
                R"({"AutoModelForCausalLM":"modeling_novel.NovelForCausalLM"})");
  EXPECT_TRUE(load_status(model.path()).ok());
  change_member(model.path() / "config.json", "architectures", R"(["NovelForCausalLM"])");
  EXPECT_THAT(load_status(model.path()).message(), HasSubstr("'auto_map' names is never run"));
}

TEST(HfDirectory, NamesWhatIsMissingOrMalformed) {
  const HfCase model("llama-tied");
  const auto message = [&] { return load_status(model.path()).message(); };
  ASSERT_TRUE(write_file_atomically(model.path() / "generation_config.json", "{").ok());
  EXPECT_THAT(message(), HasSubstr("generation_config.json is not valid JSON"));
  ASSERT_TRUE(
      write_file_atomically(model.path() / "generation_config.json", R"({"temperature":"hot"})")
          .ok());
  EXPECT_THAT(message(), HasSubstr("generation_config.json: 'temperature' should be a number"));
  ASSERT_TRUE(
      write_file_atomically(model.path() / "generation_config.json", R"({"eos_token_id":[2,"x"]})")
          .ok());
  EXPECT_THAT(message(), HasSubstr("'eos_token_id' holds string, which is no token id"));
  ASSERT_TRUE(write_file_atomically(model.path() / "generation_config.json", "{}").ok());
  std::filesystem::remove(model.path() / "model.safetensors");
  EXPECT_THAT(message(), HasSubstr("holds neither model.safetensors nor"));
  std::filesystem::remove(model.path() / "config.json");
  EXPECT_THAT(message(), HasSubstr("holds no config.json"));
}

TEST(HfDirectory, OneOfItsFilesIsNotTheModel) {
  EXPECT_THAT(open_model_file(hf("qwen2") / "model.safetensors").error().message(),
              HasSubstr("name the directory that holds it"));
  EXPECT_TRUE(open_model_file(hf("qwen2")).has_value());
  EXPECT_TRUE(open_model_file(gguf("qwen2")).has_value());
}

TEST(HfDirectory, RefusesWeightsThatAreNotFinite) {
  const HfCase model("llama-tied");
  const auto path = model.path() / "model.safetensors";
  std::string bytes = read_text_file(path, 1u << 20).value();
  const std::uint32_t nan = 0x7fc00000;
  std::memcpy(bytes.data() + bytes.size() - sizeof(nan), &nan, sizeof(nan));
  ASSERT_TRUE(write_file_atomically(path, bytes).ok());
  EXPECT_THAT(load_status(model.path()).message(), HasSubstr("' holds a NaN or an infinity"));
}

TEST(HfDirectory, GenerationDefaultsAndEndTokensBecomeMetadata) {
  const HfCase model("llama-tied");
  const ModelFile file = model.open();
  EXPECT_EQ(**file.find_integers(ModelFile::kEndOfGenerationKey),
            (std::vector<std::int64_t>{2, 5}));
  EXPECT_EQ(file.find_double("general.sampling.temp").value(), 0.6);
  EXPECT_EQ(file.find_double("general.sampling.top_k").value(), 20.0);
  EXPECT_EQ(file.find_double("general.sampling.min_p").value(), std::nullopt);
  change_member(model.path() / "generation_config.json", "do_sample", "false");
  EXPECT_EQ(model.open().find_double("general.sampling.temp").value(), std::nullopt);
  // Without a file of its own, config.json names the end.
  std::filesystem::remove(model.path() / "generation_config.json");
  const ModelFile plain = model.open();
  EXPECT_EQ(**plain.find_integers(ModelFile::kEndOfGenerationKey), (std::vector<std::int64_t>{2}));
}

TEST(HfDirectory, ChatTemplatesComeFromTheirOwnFileFirst) {
  const HfCase model("llama-tied");
  const auto chat_template = [&] {
    return std::string(model.open().find_text("tokenizer.chat_template")->value_or("none"));
  };
  EXPECT_EQ(chat_template(), "none");
  ASSERT_TRUE(write_file_atomically(model.path() / "tokenizer_config.json",
                                    R"({"chat_template":[{"name":"tool_use","template":"t"},)"
                                    R"({"name":"default","template":"d"}]})")
                  .ok());
  EXPECT_EQ(chat_template(), "d");
  const auto replace_by = [&](std::string_view templates) {
    return write_file_atomically(model.path() / "tokenizer_config.json",
                                 fmt::format(R"({{"chat_template":{}}})", templates));
  };
  ASSERT_TRUE(replace_by(R"([{"name":"rag","template":"only"}])").ok());
  EXPECT_EQ(chat_template(), "only");
  ASSERT_TRUE(
      replace_by(R"([{"name":"rag","template":"r"},{"name":"tools","template":"t"}])").ok());
  EXPECT_EQ(chat_template(), "none");
  for (const std::string_view wrong : {"1", R"([{"name":"default"}])"}) {
    ASSERT_TRUE(replace_by(wrong).ok());
    EXPECT_THAT(open_model_file(model.path()).error().message(), HasSubstr("'chat_template'"));
  }
  ASSERT_TRUE(write_file_atomically(model.path() / "chat_template.jinja", "own").ok());
  EXPECT_EQ(chat_template(), "own");
}

}  // namespace
}  // namespace hearth
