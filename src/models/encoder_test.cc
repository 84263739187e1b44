// Encoders against transformers, from directories and from GGUF files of the same weights, and what
// callers rely on besides the values.
#include "models/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "kernels/kernels.h"
#include "models/architectures.h"
#include "models/hf_directory.h"
#include "models/model.h"
#include "models/model_test_util.h"
#include "tensor/quantize.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_directory.h"
#include "tokenizer/hf_tokenizer.h"

namespace hearth {
namespace {

using Vectors = std::vector<std::vector<float>>;

// Keys and values are stored in float16, which transformers does not do; outputs lie within +-3.
constexpr float kErrorBudget = 4e-3f;
constexpr double kSmallestCosine = 0.9999;
// Of matrices and inputs in blocks of 32 eight-bit integers: rows of random weights as short as
// these have few errors to average out.
constexpr double kSmallestCosineQ8 = 0.99;

// Of bfloat16, likewise: real models keep 0.9999.
constexpr double kSmallestCosineBf16 = 0.9995;
constexpr float kErrorBudgetBf16 = 0.1f;

constexpr std::size_t kMaxTokens = 256;
constexpr std::size_t kMaxSequences = 16;

struct GoldenSequence {
  std::vector<std::string> texts;  // Empty, one, or a pair.
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> types;
  std::vector<float> outputs;

  EncoderInput input() const { return {ids, types}; }
};

std::filesystem::path folder_of(std::string_view name) {
  return std::filesystem::path("tests/golden/encoders") / name;
}

std::vector<GoldenSequence> golden_of(std::string_view name) {
  const auto text = read_text_file(folder_of(name) / "golden.json", 1u << 20);
  const json::Value root = json::parse(text.value()).value();
  std::vector<GoldenSequence> sequences;
  for (const json::Value& item : *root.as_object()->find("sequences")->as_array()) {
    const json::Object& object = *item.as_object();
    GoldenSequence& sequence = sequences.emplace_back();
    sequence.ids = test::ids_of(*object.find("ids"));
    sequence.types = test::ids_of(*object.find("types"));
    for (const json::Value& value : *object.find("outputs")->as_array()) {
      double number = 0;
      EXPECT_TRUE(value.to_double(number));
      sequence.outputs.push_back(static_cast<float>(number));
    }
    const json::Value* texts = object.find("texts");
    for (const json::Value& value : texts == nullptr ? json::Array() : *texts->as_array())
      sequence.texts.push_back(*value.as_string());
  }
  return sequences;
}

std::vector<EncoderInput> inputs_of(const std::vector<GoldenSequence>& sequences) {
  std::vector<EncoderInput> inputs;
  std::ranges::transform(sequences, std::back_inserter(inputs), &GoldenSequence::input);
  return inputs;
}

// A loaded encoder with all that it borrows.
class Loaded {
 public:
  explicit Loaded(ModelFile file, const CpuDeviceOptions& device = {.num_threads = 2})
      : file_(std::move(file)),
        device_(make_cpu_device(device).value()),
        encoder_(load_encoder(file_, *device_, {kMaxTokens, kMaxSequences}).value()) {}
  explicit Loaded(std::string_view name) : Loaded(open_hf_directory(folder_of(name)).value()) {}

  Encoder& encoder() { return *encoder_; }
  const EncoderConfig& config() const { return encoder_->config(); }

  Vectors encode(const std::vector<EncoderInput>& inputs) {
    const std::size_t width = config().width;
    std::vector<float> out(inputs.size() * width);
    encoder_->encode(inputs, {out.data(), inputs.size(), width, width});
    Vectors rows;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      rows.emplace_back(&out[i * width], &out[i * width] + width);
    return rows;
  }
  std::vector<float> encode_one(const GoldenSequence& sequence) {
    return encode({sequence.input()}).front();
  }

 private:
  ModelFile file_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Encoder> encoder_;
};

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return dot / std::sqrt(aa * bb);
}

void expect_golden(Loaded& model, std::string_view name) {
  for (const GoldenSequence& sequence : golden_of(name)) {
    const std::vector<float> outputs = model.encode_one(sequence);
    ASSERT_EQ(outputs.size(), sequence.outputs.size());
    EXPECT_GT(cosine(outputs, sequence.outputs), kSmallestCosine) << sequence.ids.size();
    for (std::size_t i = 0; i < outputs.size(); ++i)
      EXPECT_NEAR(outputs[i], sequence.outputs[i], kErrorBudget) << sequence.ids.size();
  }
}

// The same model as a GGUF file with matrices in `dtype`, as far as their rows allow it.
std::vector<std::byte> as_gguf(const ModelFile& file, DType dtype) {
  test::GgufWriter writer;
  for (const MetadataEntry& entry : file.metadata()) {
    std::visit(
        [&](const auto& value) {
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<T, std::vector<std::string_view>>) {
            writer.add(entry.key, std::vector<std::string>(value.begin(), value.end()));
          } else if constexpr (std::is_same_v<T, std::vector<bool>>) {
            test::ByteSink payload;
            payload.put(test::gguf_value::kBool).put(std::uint64_t{value.size()});
            for (const bool flag : value)
              payload.put(flag);
            writer.add_raw(entry.key, test::gguf_value::kArray, payload.bytes());
          } else {
            writer.add(entry.key, value);
          }
        },
        entry.value);
  }
  for (const TensorView& tensor : file.tensors()) {
    std::vector<float> values(tensor.shape.num_elements());
    dequantize_row(tensor.dtype, tensor.data, values);
    const bool fits =
        tensor.shape.rank == 2 && tensor.shape.dims[1] % dtype_info(dtype).block_len == 0;
    writer.add_tensor(tensor.name, fits ? dtype : DType::kF32, tensor.shape, values);
  }
  return writer.bytes();
}

class GoldenEncoder : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenEncoder, OutputsMatchTransformers) {
  Loaded model(GetParam());
  expect_golden(model, GetParam());
}

TEST_P(GoldenEncoder, CompanyThreadsAndKernelsChangeNoBit) {
  const auto golden = golden_of(GetParam());
  const std::vector<EncoderInput> all = inputs_of(golden);
  Vectors alone;
  Loaded reference(open_hf_directory(folder_of(GetParam())).value(),
                   {.num_threads = 1, .kernels = "reference"});
  for (const GoldenSequence& sequence : golden)
    alone.push_back(reference.encode_one(sequence));
  for (const KernelSetInfo& set : kernel_sets()) {
    if (!set.supported) continue;
    Loaded model(open_hf_directory(folder_of(GetParam())).value(),
                 {.num_threads = 3, .kernels = set.name});
    EXPECT_EQ(model.encode(all), alone) << set.name;
    EXPECT_EQ(model.encode_one(golden.front()), alone.front()) << set.name;
  }
}

TEST_P(GoldenEncoder, AGgufFileOfTheSameWeightsGivesTheSameBits) {
  const ModelFile directory = open_hf_directory(folder_of(GetParam())).value();
  const auto bytes = as_gguf(directory, DType::kF32);
  Loaded from_gguf(ModelFile::parse(bytes).value());
  Loaded from_directory(GetParam());
  const auto sequence = golden_of(GetParam()).back();
  EXPECT_EQ(from_gguf.encode_one(sequence), from_directory.encode_one(sequence));
}

TEST_P(GoldenEncoder, QuantizedWeightsStayClose) {
  const auto bytes = as_gguf(open_hf_directory(folder_of(GetParam())).value(), DType::kQ8_0);
  Loaded quantized(ModelFile::parse(bytes).value());
  if (quantized.config().is_classifier()) {
    // A few outputs have no direction to speak of.
    Loaded plain(GetParam());
    const auto sequence = golden_of(GetParam()).back();
    EXPECT_NEAR(quantized.encode_one(sequence).front(), plain.encode_one(sequence).front(), 0.1f);
    return;
  }
  for (const GoldenSequence& sequence : golden_of(GetParam()))
    EXPECT_GT(cosine(quantized.encode_one(sequence), sequence.outputs), kSmallestCosineQ8);
}

TEST_P(GoldenEncoder, RoundedProductsStayCloseAndKeepTheirBits) {
  const auto golden = golden_of(GetParam());
  const auto rounding = [](std::size_t num_threads, std::string_view kernels) {
    return Loaded(
        open_hf_directory(folder_of(GetParam())).value(),
        {.num_threads = num_threads, .kernels = kernels, .float_products = FloatProducts::kBf16});
  };
  Loaded reference = rounding(1, "reference");
  Vectors alone;
  for (const GoldenSequence& sequence : golden) {
    alone.push_back(reference.encode_one(sequence));
    if (reference.config().is_classifier()) {
      for (std::size_t i = 0; i < alone.back().size(); ++i)
        EXPECT_NEAR(alone.back()[i], sequence.outputs[i], kErrorBudgetBf16);
    } else {
      EXPECT_GT(cosine(alone.back(), sequence.outputs), kSmallestCosineBf16);
    }
  }
  for (const KernelSetInfo& set : kernel_sets()) {
    if (!set.supported) continue;
    Loaded model = rounding(3, set.name);
    EXPECT_EQ(model.encode(inputs_of(golden)), alone) << set.name;
  }
}

TEST_P(GoldenEncoder, EncodingAllocatesNothing) {
  Loaded model(GetParam());
  const auto golden = golden_of(GetParam());
  const std::vector<EncoderInput> inputs = inputs_of(golden);
  const std::size_t width = model.config().width;
  std::vector<float> out(inputs.size() * width);
  const std::size_t before = test::total_allocations();
  model.encoder().encode(inputs, {out.data(), inputs.size(), width, width});
  EXPECT_EQ(test::total_allocations(), before);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, GoldenEncoder,
    ::testing::Values("bert-mean", "bert-cls", "bert-dense", "bert-dense-behind", "bert-classifier",
                      "roberta-mean", "xlm-roberta-cls", "xlm-roberta-reranker", "distilbert-last",
                      "distilbert-labels", "gemma-embedding", "gte-cls", "gte-reranker",
                      "gte-untyped", "jina-mean", "modernbert-mean", "modernbert-classifier",
                      "mpnet-mean", "mpnet-classifier", "nomic-bert-mean", "qwen3-last",
                      "qwen3-score"),
    [](const auto& case_info) {
      std::string name = case_info.param;
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST(Encoders, EachArchitectureHasAGoldenGgufFile) {
  std::set<std::string, std::less<>> proven;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/encoders")) {
    const auto path = entry.path() / "model.gguf";
    if (!std::filesystem::exists(path)) continue;
    Loaded model(ModelFile::open(path).value());
    expect_golden(model, entry.path().filename().string());
    proven.insert(model.config().architecture);
  }
  for (const Architecture& row : encoder_architectures())
    EXPECT_TRUE(proven.contains(row.name)) << row.name;
}

TEST(Encoders, TextsGoThroughTheTokenizer) {
  for (const char* name : {"bert-mean", "bert-classifier"}) {
    const auto tokenizer = load_hf_tokenizer(folder_of(name) / "tokenizer.json").value();
    for (const GoldenSequence& sequence : golden_of(name)) {
      if (sequence.texts.size() == 1) {
        EXPECT_EQ(tokenizer->encode(sequence.texts[0], true, SpecialText::kPlain), sequence.ids);
      } else if (sequence.texts.size() == 2) {
        const EncodedPair pair = tokenizer->encode_pair(sequence.texts[0], sequence.texts[1]);
        EXPECT_EQ(pair.ids, sequence.ids);
        EXPECT_EQ(std::vector<std::int32_t>(pair.type_ids.begin(), pair.type_ids.end()),
                  sequence.types);
      }
    }
  }
}

TEST(Encoders, DescribeThemselves) {
  const ModelFile vectors = open_hf_directory(folder_of("bert-mean")).value();
  const EncoderConfig config = read_encoder_description(vectors).value();
  EXPECT_TRUE(is_encoder(vectors));
  EXPECT_EQ(config.architecture, "bert");
  EXPECT_EQ(config.width, 32u);
  EXPECT_EQ(config.max_tokens, 48u);
  EXPECT_EQ(config.vocab_size, 80u);
  EXPECT_EQ(config.num_token_types, 2u);
  EXPECT_EQ(config.pooling, Pooling::kMean);
  EXPECT_TRUE(config.normalize);
  EXPECT_FALSE(config.is_classifier());
  ASSERT_EQ(config.prompts.size(), 2u);
  EXPECT_EQ(config.prompts[0].name, "query");
  EXPECT_EQ(config.prompts[0].text, "what is ");
  EXPECT_EQ(config.default_prompt, "query");

  const auto describe = [](std::string_view name) {
    return read_encoder_description(open_hf_directory(folder_of(name)).value()).value();
  };
  const EncoderConfig reranker = describe("xlm-roberta-reranker");
  EXPECT_EQ(reranker.labels, std::vector<std::string>{"LABEL_0"});
  EXPECT_EQ(reranker.head_activation, HeadActivation::kSigmoid);
  EXPECT_EQ(reranker.pooling, Pooling::kNone);
  EXPECT_EQ(reranker.max_tokens, 64u);
  const EncoderConfig classifier = describe("bert-classifier");
  EXPECT_EQ(classifier.labels, (std::vector<std::string>{"bad", "so-so", "good"}));
  EXPECT_EQ(classifier.head_activation, HeadActivation::kSoftmax);
  EXPECT_EQ(describe("distilbert-labels").head_activation, HeadActivation::kSigmoid);
  EXPECT_EQ(describe("distilbert-last").num_token_types, 0u);
}

TEST(Encoders, DecodersEmbedByTheirLastTokenAlone) {
  const ModelFile directory = open_hf_directory(folder_of("qwen3-last")).value();
  EXPECT_TRUE(is_encoder(directory));
  EXPECT_EQ(read_encoder_description(directory).value().pooling, Pooling::kLast);

  test::TempDirectory changed;
  std::filesystem::copy(folder_of("qwen3-last"), changed.path(),
                        std::filesystem::copy_options::recursive);
  std::ofstream(changed.path() / "1_Pooling/config.json") << R"({"pooling_mode":"mean"})";
  const auto mean = read_encoder_description(open_hf_directory(changed.path()).value());
  ASSERT_FALSE(mean.has_value());
  EXPECT_NE(mean.error().message().find("other pooling is not supported"), std::string::npos);

  std::filesystem::remove(changed.path() / "modules.json");
  const auto bare = open_hf_directory(changed.path());
  ASSERT_FALSE(bare.has_value());
  EXPECT_NE(bare.error().message().find("'Qwen3Model' writes no text"), std::string::npos);
}

TEST(Encoders, DecodersRankByTheWordsTheyWouldWrite) {
  const ModelFile file = ModelFile::open("tests/golden/encoders/qwen3-yes-no/model.gguf").value();
  const EncoderConfig config = read_encoder_description(file).value();
  EXPECT_EQ(config.labels, std::vector<std::string>{"yes"});
  EXPECT_EQ(config.width, 1u);
  EXPECT_EQ(config.head_activation, HeadActivation::kSigmoid);
  EXPECT_EQ(config.pair_template, "<q>{query}<d>{document}<a>");
  // Nothing in a directory says how it reads pairs unless a template does.
  test::TempDirectory changed;
  std::filesystem::copy(folder_of("qwen3-score"), changed.path(),
                        std::filesystem::copy_options::recursive);
  const auto pairs = [&] {
    return read_encoder_description(open_hf_directory(changed.path()).value());
  };
  EXPECT_EQ(pairs().value().pair_template, "");
  const auto tokenizer_config = [&](std::string_view text) {
    std::ofstream(changed.path() / "tokenizer_config.json") << json::dump(json::Object{
        {"chat_template",
         json::Array{json::Object{{"name", "default"}, {"template", "x"}},
                     json::Object{{"name", "rerank"}, {"template", std::string(text)}}}}});
  };
  tokenizer_config("{query} or {document}");
  EXPECT_EQ(pairs().value().pair_template, "{query} or {document}");
  tokenizer_config("{query} and {query}");
  EXPECT_THAT(pairs().error().message(), ::testing::HasSubstr("must have '{query}' once"));
}

// What a directory's model lacks without the tensor `left_out`.
std::string lacking(std::string_view name, std::string_view left_out) {
  test::TempDirectory changed;
  std::filesystem::copy(folder_of(name), changed.path(), std::filesystem::copy_options::recursive);
  const auto path = changed.path() / "model.safetensors";
  const std::string bytes = read_text_file(path, 1u << 20).value();
  std::vector<test::PlainTensor> kept;
  const auto tensors = read_safetensors(std::as_bytes(std::span(bytes))).value();
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.name == left_out) continue;
    const auto dims = std::span(tensor.shape.dims).first(tensor.shape.rank);
    kept.push_back({.name = tensor.name,
                    .dtype = std::string(tensor.type),
                    .shape = {dims.begin(), dims.end()},
                    .data = {tensor.data.begin(), tensor.data.end()}});
  }
  std::ofstream out(path, std::ios::binary);
  const auto written = test::safetensors_bytes(kept);
  out.write(reinterpret_cast<const char*>(written.data()), std::ssize(written));
  out.close();
  const ModelFile file = open_hf_directory(changed.path()).value();
  const auto device = make_cpu_device({.num_threads = 1}).value();
  const auto encoder = load_encoder(file, *device, {kMaxTokens, kMaxSequences});
  return encoder.has_value() ? "" : encoder.error().message();
}

// A head without its dense layer would score, but otherwise than it was trained to.
TEST(Encoders, HeadsOfDirectoriesAreWhole) {
  EXPECT_EQ(lacking("bert-classifier", "none"), "");
  for (const auto& [name, tensor] : std::vector<std::pair<std::string, std::string>>{
           {"bert-classifier", "bert.pooler.dense.weight"},
           {"xlm-roberta-reranker", "classifier.dense.weight"},
           {"distilbert-labels", "pre_classifier.weight"},
           {"modernbert-classifier", "head.dense.weight"},
           {"modernbert-classifier", "head.norm.weight"}}) {
    const std::string message = lacking(name, tensor);
    EXPECT_NE(message.find("'" + tensor + "' [32"), std::string::npos) << name << ": " << message;
    EXPECT_NE(message.find("is missing"), std::string::npos) << message;
  }
}

// transformers would go on with random ones.
TEST(Encoders, TokenTypesThatTheConfigurationStatesMustBeThere) {
  EXPECT_THAT(lacking("bert-cls", "embeddings.token_type_embeddings.weight"),
              ::testing::HasSubstr("'bert.embeddings.token_type_embeddings.weight' [2, 32]"));
  EXPECT_EQ(lacking("gte-untyped", "none"), "");
}

// The class would pass over their table; to add its row would change every vector.
TEST(Encoders, TokenTypesThatTheConfigurationDeniesAreRefused) {
  test::TempDirectory changed;
  std::filesystem::copy(folder_of("gte-cls"), changed.path(),
                        std::filesystem::copy_options::recursive);
  const auto path = changed.path() / "config.json";
  std::string text = read_text_file(path, 1u << 16).value();
  const std::string_view one = "\"type_vocab_size\": 1";
  ASSERT_NE(text.find(one), std::string::npos);
  text.replace(text.find(one), one.size(), "\"type_vocab_size\": 0");
  std::ofstream(path) << text;
  const ModelFile file = open_hf_directory(changed.path()).value();
  const auto device = make_cpu_device({.num_threads = 1}).value();
  const auto encoder = load_encoder(file, *device, {kMaxTokens, kMaxSequences});
  ASSERT_FALSE(encoder.has_value());
  EXPECT_THAT(encoder.error().message(),
              ::testing::HasSubstr("token_type_embeddings.weight' [1, 32] is not part of"));
}

TEST(Encoders, CountWhatTheyHold) {
  Loaded model("bert-mean");
  const std::size_t layer = 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32;
  EXPECT_EQ(model.encoder().num_parameters(), (80 + 64 + 2) * 32 + 2 * 32 + 2 * layer);
  EXPECT_GE(model.encoder().weight_bytes(), 4 * model.encoder().num_parameters());
  EXPECT_GT(model.encoder().activation_bytes(), kMaxTokens * 32 * sizeof(float));
}

TEST(Encoders, AreNoDecodersAndTheOtherWayRound) {
  const auto device = make_cpu_device({.num_threads = 1}).value();
  const ModelFile encoder = open_hf_directory(folder_of("bert-cls")).value();
  const auto as_decoder = Model::load(encoder, *device);
  ASSERT_FALSE(as_decoder.has_value());
  EXPECT_NE(as_decoder.error().message().find("'bert' is an encoder"), std::string::npos);

  const ModelFile decoder = ModelFile::open("tests/golden/models/llama-tied.gguf").value();
  EXPECT_FALSE(is_encoder(decoder));
  const auto as_encoder = load_encoder(decoder, *device, {kMaxTokens, kMaxSequences});
  ASSERT_FALSE(as_encoder.has_value());
  EXPECT_EQ(as_encoder.error().code(), StatusCode::kUnimplemented);
  EXPECT_NE(
      as_encoder.error().message().find(
          "supported: bert, gemma-embedding, gte, jina-bert-v2, modern-bert, mpnet, nomic-bert"),
      std::string::npos);
}

}  // namespace
}  // namespace hearth
