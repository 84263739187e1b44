// What configurations of encoders and the files of sentence-transformers become, and what of them
// is refused.
#include "models/encoder_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "models/hf_directory.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A directory of tests/golden/encoders with the members of one of its JSON files changed, or with
// the whole file replaced where `changes` is no object; "absent" takes something out.
class ChangedEncoder {
 public:
  ChangedEncoder(const std::string& model, const std::string& file, const std::string& changes) {
    std::filesystem::copy(std::filesystem::path("tests/golden/encoders") / model, directory_.path(),
                          std::filesystem::copy_options::recursive);
    const auto path = directory_.path() / file;
    if (changes == "absent") {
      std::filesystem::remove(path);
      return;
    }
    const json::Value wanted = json::parse(changes).value();
    const json::Value after = wanted.as_object() == nullptr
                                  ? wanted
                                  : merged(read_text_file(path, 1u << 20).value(), wanted);
    std::ofstream(path) << json::dump(after);
  }

  Result<EncoderConfig> describe() const {
    HEARTH_ASSIGN_OR_RETURN(const ModelFile file, open_hf_directory(directory_.path()));
    return read_encoder_description(file);
  }

 private:
  static json::Value merged(const std::string& text, const json::Value& wanted) {
    json::Object result;
    const json::Value before = json::parse(text).value();
    for (const json::Member& member : *before.as_object()) {
      if (wanted.as_object()->find(member.key) == nullptr) result.set(member.key, member.value);
    }
    for (const json::Member& member : *wanted.as_object()) {
      if (!(member.value == json::Value("absent"))) result.set(member.key, member.value);
    }
    return result;
  }

  test::TempDirectory directory_;
};

struct Refusal {
  std::string name;
  std::string model;
  std::string file;
  std::string changes;
  std::string message;

  friend void PrintTo(const Refusal& row, std::ostream* out) { *out << row.name; }
};

class RefusedEncoder : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedEncoder, IsRefusedByName) {
  const Refusal& row = GetParam();
  const auto config = ChangedEncoder(row.model, row.file, row.changes).describe();
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error().message(), HasSubstr(row.message));
}

constexpr const char* kConfig = "config.json";
constexpr const char* kDense = "2_Dense/config.json";
constexpr const char* kPooling = "1_Pooling/config.json";

INSTANTIATE_TEST_SUITE_P(
    Config, RefusedEncoder,
    ::testing::Values(
        Refusal{"OtherClass", "bert-cls", kConfig, R"({"architectures":["BertForPreTraining"]})",
                "'BertForPreTraining' is not supported; supported:"},
        Refusal{"Activation", "bert-cls", kConfig, R"({"hidden_act":"gelu_new"})",
                "'hidden_act' is 'gelu_new'; BertModel is supported with 'gelu'"},
        Refusal{"Decoder", "bert-cls", kConfig, R"({"is_decoder":true})", "'is_decoder' is true"},
        Refusal{"CrossAttention", "bert-cls", kConfig, R"({"add_cross_attention":true})",
                "'add_cross_attention' is true"},
        Refusal{"RelativePositions", "bert-cls", kConfig,
                R"({"position_embedding_type":"relative_key"})",
                "'position_embedding_type' is 'relative_key'"},
        Refusal{"GapInLabels", "bert-classifier", kConfig, R"({"id2label":{"0":"a","2":"b"}})",
                "'id2label' must be an object that names the labels 0, 1, ..."},
        Refusal{"ListOfLabels", "bert-classifier", kConfig, R"({"id2label":["a","b","c"]})",
                "'id2label' must be"},
        Refusal{"FewLabels", "bert-classifier", kConfig, R"({"id2label":{"0":"a","1":"b"}})",
                "'classifier.weight' has 3 rows"},
        Refusal{"Scores", "xlm-roberta-reranker", kConfig,
                R"({"sentence_transformers":{"activation_fn":"torch.nn.Tanh"}})",
                "the activation function of scores is 'torch.nn.Tanh'"},
        Refusal{"NoRoomForPositions", "roberta-mean", kConfig, R"({"max_position_embeddings":2})",
                "must be above 'pad_token_id' + 1 (2)"},
        Refusal{"HeadPooling", "modernbert-classifier", kConfig, R"({"classifier_pooling":"max"})",
                "'classifier_pooling' is 'max'"},
        Refusal{"HeadActivation", "modernbert-classifier", kConfig,
                R"({"classifier_activation":"relu"})", "'classifier_activation' is 'relu'"},
        Refusal{"DistanceBuckets", "mpnet-mean", kConfig,
                R"({"relative_attention_num_buckets":64})",
                "'relative_attention_num_buckets' is 64"},
        Refusal{"OtherFirstPosition", "mpnet-mean", kConfig, R"({"pad_token_id":0})",
                "'pad_token_id' is 0"},
        Refusal{"LooksBack", "gemma-embedding", kConfig,
                R"({"use_bidirectional_attention":"absent"})",
                "'use_bidirectional_attention' is false; Gemma3TextModel"},
        Refusal{"ScaledByLength", "gte-cls", kConfig, R"({"logn_attention_scale":true})",
                "'logn_attention_scale' is true"},
        Refusal{"OtherNorm", "gte-cls", kConfig, R"({"layer_norm_type":"rms_norm"})",
                "'layer_norm_type' is 'rms_norm'"},
        Refusal{"LearnedPositions", "gte-cls", kConfig, R"({"position_embedding_type":"absolute"})",
                "'position_embedding_type' is 'absolute'"},
        Refusal{"MixedNtk", "gte-cls", kConfig,
                R"({"rope_scaling":{"type":"ntk","factor":8.0,"mixed_b":0.6}})", "'mixed_b'"},
        Refusal{"NtkOfOthers", "nomic-bert-mean", kConfig,
                R"({"rope_parameters":{"rope_type":"ntk","factor":8.0}})",
                "rope scaling of type 'ntk' is not supported"},
        Refusal{"OtherGate", "jina-mean", kConfig, R"({"feed_forward_type":"reglu"})",
                "'feed_forward_type' is 'reglu'"},
        Refusal{"UngatedByDefault", "jina-mean", kConfig, R"({"feed_forward_type":"absent"})",
                "'feed_forward_type' is 'original'"},
        Refusal{"WithoutAlibi", "jina-mean", kConfig, R"({"position_embedding_type":"absent"})",
                "'position_embedding_type' is 'absolute'"},
        Refusal{"NormInFront", "nomic-bert-mean", kConfig, R"({"prenorm":true})",
                "'prenorm' is true"},
        Refusal{"GrowingRotation", "nomic-bert-mean", kConfig, R"({"rotary_scaling_factor":2})",
                "'rotary_scaling_factor' is not null"}),
    [](const auto& case_info) { return case_info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    SentenceTransformers, RefusedEncoder,
    ::testing::Values(
        Refusal{"OtherModule", "bert-mean", "modules.json",
                R"([{"path":"","type":"a.Transformer"},{"path":"1_Pooling","type":"a.Pooling"},
                    {"path":"2_LSTM","type":"a.LSTM"}])",
                "module 'LSTM' is not supported there"},
        Refusal{"DenseElsewhere", "bert-mean", "modules.json",
                R"([{"path":"1_Pooling","type":"a.Pooling"},{"path":"..","type":"a.Dense"}])",
                "'..' is no folder of the directory"},
        Refusal{"NoDenseFolder", "bert-mean", "modules.json",
                R"([{"path":"1_Pooling","type":"a.Pooling"},{"path":"2_Dense","type":"a.Dense"}])",
                "2_Dense/config.json"},
        Refusal{"DenseActivation", "bert-dense", kDense,
                R"({"activation_function":"torch.nn.modules.activation.SiLU"})",
                "'activation_function' is 'torch.nn.modules.activation.SiLU'"},
        Refusal{"ForeignActivation", "bert-dense", kDense, R"({"activation_function":"mine.Tanh"})",
                "'activation_function' is 'mine.Tanh'"},
        Refusal{"DenseWidth", "bert-dense", kDense, R"({"in_features":31})",
                "'in_features' is 31, but vectors have 32 numbers there"},
        Refusal{"DenseShape", "bert-dense", kDense, R"({"out_features":15})",
                "has shape [16], expected [15]"},
        Refusal{"DenseWithoutItsBias", "bert-dense", kDense, R"({"bias":false})",
                "tensor 'linear.bias' is none that its config.json has"},
        Refusal{"DenseLacksItsBias", "bert-dense-behind", "4_Dense/config.json", R"({"bias":true})",
                "4_Dense: tensor 'linear.weight' or 'linear.bias' is missing"},
        Refusal{"DensePerToken", "bert-dense", kDense,
                R"({"module_input_name":"token_embeddings"})",
                "'module_input_name' is 'token_embeddings'"},
        Refusal{"DenseResidual", "bert-dense", kDense, R"({"use_residual":true})",
                "'use_residual' is true"},
        Refusal{"NoDenseWeights", "bert-dense", "2_Dense/model.safetensors", "absent",
                "module '2_Dense'"},
        Refusal{"NormalizeFirst", "bert-mean", "modules.json",
                R"([{"path":"","type":"a.Transformer"},{"path":"","type":"a.Normalize"},
                    {"path":"1_Pooling","type":"a.Pooling"}])",
                "module 'Normalize' is not supported there"},
        Refusal{"NoPooling", "bert-mean", "modules.json", R"([{"path":"","type":"a.Transformer"}])",
                "there is no module 'Pooling'"},
        Refusal{"ElsewhereOnDisk", "bert-mean", "modules.json",
                R"([{"path":"../1_Pooling","type":"a.Pooling"}])",
                "'../1_Pooling' is no folder of the directory"},
        Refusal{"TransformerBelow", "bert-mean", "modules.json",
                R"([{"path":"0_Transformer","type":"a.Transformer"}])",
                "the transformer lies in '0_Transformer'"},
        Refusal{"NoList", "bert-mean", "modules.json", "7", "modules.json is of JSON type integer"},
        Refusal{"NoPoolingFile", "bert-mean", kPooling, "absent", "1_Pooling/config.json"},
        Refusal{"Max", "bert-mean", kPooling,
                R"({"pooling_mode_mean_tokens":false,"pooling_mode_max_tokens":true})",
                "pooling by max is not supported"},
        Refusal{"Two", "bert-mean", kPooling, R"({"pooling_mode_cls_token":true})",
                "pooling by cls and mean is not supported"},
        Refusal{"None", "bert-mean", kPooling, R"({"pooling_mode_mean_tokens":false})",
                "pooling by nothing is not supported"},
        Refusal{"WithoutPrompt", "bert-mean", kPooling, R"({"include_prompt":false})",
                "'include_prompt' is false"},
        Refusal{"Width", "bert-mean", kPooling, R"({"word_embedding_dimension":16})",
                "'word_embedding_dimension' is 16, but 'hidden_size' of config.json is 32"},
        Refusal{"LowerCase", "bert-mean", "sentence_bert_config.json", R"({"do_lower_case":true})",
                "'do_lower_case' is true"},
        Refusal{"Prompts", "bert-mean", "config_sentence_transformers.json", R"({"prompts":[]})",
                "'prompts' is no object"},
        Refusal{"Prompt", "bert-mean", "config_sentence_transformers.json",
                R"({"prompts":{"query":1}})", "prompt 'query' is no string"},
        Refusal{"DefaultPrompt", "bert-mean", "config_sentence_transformers.json",
                R"({"default_prompt_name":"q"})", "there is no prompt of that name"},
        Refusal{"DefaultPromptOfNone", "bert-mean", "config_sentence_transformers.json",
                R"({"prompts":"absent"})", "there is no prompt of that name"},
        Refusal{"LongerThanTheVectors", "bert-mean", "config.json",
                R"({"matryoshka_dimensions":[16,33]})", "has 33, but vectors have 32 numbers"}),
    [](const auto& case_info) { return case_info.param.name; });

EncoderConfig described(const std::string& model, const std::string& file,
                        const std::string& changes) {
  return ChangedEncoder(model, file, changes).describe().value();
}

TEST(EncoderConfigs, FilesSayHowVectorsMayBeShortened) {
  const ShorterVectors none = described("bert-cls", "modules.json", "absent").shorter;
  EXPECT_FALSE(none.allow(16));
  const ShorterVectors some =
      described("bert-cls", "config.json",
                R"({"matryoshka_dimensions":[32,16,8],"is_matryoshka":true})")
          .shorter;
  EXPECT_EQ(some.lengths, (std::vector<std::size_t>{8, 16}));
  EXPECT_TRUE(some.allow(8));
  EXPECT_FALSE(some.allow(9));
  const ShorterVectors any =
      described("bert-cls", "config.json", R"({"is_matryoshka":true})").shorter;
  EXPECT_TRUE(any.allow(9));
  const ShorterVectors usual =
      described("bert-mean", "config_sentence_transformers.json", R"({"truncate_dim":24})").shorter;
  EXPECT_EQ(usual.usual, 24u);
  EXPECT_TRUE(usual.allow(24));
  EXPECT_FALSE(usual.allow(16));
}

TEST(EncoderConfigs, OthersMayAllowFurtherLengths) {
  ShorterVectors shorter{.lengths = {8, 16}};
  const std::size_t further[] = {12, 8, 32, 64, 4};
  shorter.add(further, 32);
  EXPECT_EQ(shorter.lengths, (std::vector<std::size_t>{4, 8, 12, 16}));
}

TEST(EncoderConfigs, WithoutModulesTheMeanIsTakenAsItIs) {
  const EncoderConfig config = described("bert-cls", "modules.json", "absent");
  EXPECT_EQ(config.pooling, Pooling::kMean);
  EXPECT_FALSE(config.normalize);
}

TEST(EncoderConfigs, DenseLayersSetTheWidth) {
  const EncoderConfig narrow = described("bert-dense", "config.json", R"({"is_matryoshka":true})");
  EXPECT_EQ(narrow.width, 16u);
  EXPECT_TRUE(narrow.normalize);
  EXPECT_TRUE(narrow.shorter.any);
  const EncoderConfig behind = described("bert-dense-behind", "3_Dense/config.json", "{}");
  EXPECT_EQ(behind.width, 24u);
  EXPECT_FALSE(behind.normalize);
  const auto plain = R"({"activation_function":null})";
  EXPECT_EQ(described("bert-dense", kDense, plain).width, 16u);
}

TEST(EncoderConfigs, PoolingMayBeNamedAsInNewerFiles) {
  const EncoderConfig config = described("bert-cls", kPooling, R"({"pooling_mode":"lasttoken"})");
  EXPECT_EQ(config.pooling, Pooling::kLast);
  EXPECT_TRUE(config.normalize);
}

TEST(EncoderConfigs, ScoresAreWhatTheFilesSay) {
  const auto activation = [](const std::string& changes) {
    return described("xlm-roberta-reranker", kConfig, changes).head_activation;
  };
  EXPECT_EQ(activation(R"({"problem_type":"regression"})"), HeadActivation::kNone);
  EXPECT_EQ(
      activation(R"({"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"})"),
      HeadActivation::kNone);
  EXPECT_EQ(activation(R"({"problem_type":"regression","sentence_transformers":
                           {"activation_fn":"torch.nn.modules.activation.Sigmoid"}})"),
            HeadActivation::kSigmoid);
}

TEST(EncoderConfigs, AModelOfMaskedWordsIsReadWithoutItsHead) {
  EXPECT_EQ(described("roberta-mean", kConfig, R"({"architectures":["RobertaForMaskedLM"]})").width,
            32u);
}

// As GTE's multilingual model lists its second task beside the first.
TEST(EncoderConfigs, OfSeveralClassesTheFirstCounts) {
  const auto classes = R"({"architectures":["NewModel","NewForTokenClassification"]})";
  EXPECT_EQ(described("gte-cls", kConfig, classes).architecture, "gte");
  const auto swapped = R"({"architectures":["NewForTokenClassification","NewModel"]})";
  const auto refused = ChangedEncoder("gte-cls", kConfig, swapped).describe();
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("'NewForTokenClassification' is not supported"));
}

TEST(EncoderConfigs, LongTextsEndWhereTheModelWasTrained) {
  EXPECT_EQ(described("nomic-bert-mean", kConfig, R"({"max_trained_positions":20})").max_tokens,
            20u);
}

// The smallest file that says something about pooling.
test::GgufWriter small_gguf() {
  test::GgufWriter writer;
  writer.add("general.architecture", "bert");
  for (const char* key : {"block_count", "attention.head_count"})
    writer.add(std::string("bert.") + key, std::uint32_t{1});
  for (const char* key : {"embedding_length", "feed_forward_length", "context_length"})
    writer.add(std::string("bert.") + key, std::uint32_t{32});
  writer.add_tensor("token_embd.weight", DType::kF32, test::shape_of({2, 32}),
                    std::vector<float>(64));
  return writer;
}

std::string refusal_of(const test::GgufWriter& writer) {
  const auto bytes = writer.bytes();
  const ModelFile file = ModelFile::parse(bytes).value();
  const auto config = read_encoder_description(file);
  return config.has_value() ? "none" : config.error().message();
}

TEST(EncoderConfigs, GgufFilesMustSayHowToPool) {
  EXPECT_THAT(refusal_of(small_gguf()), HasSubstr("'bert.pooling_type' is missing"));
  for (const auto& [type, message] : std::vector<std::pair<std::uint32_t, std::string>>{
           {0, "a vector per token"},
           {1, "none"},
           {2, "none"},
           {3, "none"},
           {4, "the file holds no classification head"},
           {9, "which means nothing"}}) {
    test::GgufWriter writer = small_gguf();
    writer.add("bert.pooling_type", type);
    EXPECT_THAT(refusal_of(writer), HasSubstr(message)) << type;
  }
}

TEST(EncoderConfigs, GgufFilesThatContradictThemselvesAreRefused) {
  test::GgufWriter causal = small_gguf();
  causal.add("bert.attention.causal", true);
  EXPECT_THAT(refusal_of(causal), HasSubstr("bert.attention.causal is true"));

  test::GgufWriter prompts = small_gguf();
  prompts.add("bert.pooling_type", std::uint32_t{1});
  prompts.add("bert.embedding.prompt_names", std::vector<std::string>{"query"});
  EXPECT_THAT(refusal_of(prompts),
              HasSubstr("has 1 entries, but bert.embedding.prompt_texts has 0"));

  test::GgufWriter head = small_gguf();
  head.add_tensor("cls.output.weight", DType::kF32, test::shape_of({2, 32}),
                  std::vector<float>(64));
  head.add("bert.classifier.score_activation", "cube");
  EXPECT_THAT(refusal_of(head), HasSubstr("'cube'; supported: none, softmax, sigmoid"));
  head.add("bert.classifier.output_labels", std::vector<std::string>{"one"});
  EXPECT_THAT(refusal_of(head), HasSubstr("has 1 entries, but 'cls.output.weight' has 2 rows"));
}

TEST(EncoderConfigs, ModulesOfGgufFilesAreBounded) {
  const auto refused = [](const std::vector<std::string>& modules,
                          const std::vector<std::string>& activations) {
    test::GgufWriter writer = small_gguf();
    writer.add("bert.pooling_type", std::uint32_t{1});
    writer.add("bert.embedding.modules", modules);
    writer.add("bert.embedding.dense_activations", activations);
    writer.add_tensor("dense_2.weight", DType::kF32, test::shape_of({2, 32}),
                      std::vector<float>(64));
    return refusal_of(writer);
  };
  EXPECT_EQ(refused({"dense_2", "normalize"}, {"tanh"}), "none");
  EXPECT_THAT(refused({"dense_4"}, {"tanh"}), HasSubstr("names 'dense_4.weight', but there is no"));
  EXPECT_THAT(refused({"dense_2"}, {"cube"}),
              HasSubstr("dense_activations is 'cube'; supported: none, tanh, relu, gelu"));
  EXPECT_THAT(refused({"dense_2"}, {"tanh", "tanh"}), HasSubstr("2 entries, but there are 1"));
  EXPECT_THAT(refused(std::vector<std::string>(9, "normalize"), {}), HasSubstr("has 9 entries"));
}

// llama.cpp's converter drops the pooler of BertForSequenceClassification.
TEST(EncoderConfigs, AHeadOfBertWithoutItsDenseLayerIsRefused) {
  test::GgufWriter writer = small_gguf();
  writer.add_tensor("cls.output.weight", DType::kF32, test::shape_of({1, 32}),
                    std::vector<float>(32));
  EXPECT_THAT(refusal_of(writer),
              AllOf(HasSubstr("has 'cls.output.weight', but not 'cls.weight'"),
                    HasSubstr("serve the model's Hugging Face directory instead")));
  writer.add_tensor("cls.weight", DType::kF32, test::shape_of({32, 32}), std::vector<float>(1024));
  EXPECT_EQ(refusal_of(writer), "none");
}

}  // namespace
}  // namespace hearth
