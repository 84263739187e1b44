#include "engine/served_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>

#include "engine/engine_test_util.h"
#include "tests/support/temp_directory.h"
#include "tests/support/tiny_llama.h"

namespace hearth::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ServedModelTest : public ::testing::Test {
 protected:
  ServedModelOptions options() const {
    ServedModelOptions options;
    options.path = directory_.path() / "tiny.Q8_0.gguf";
    options.num_threads = 2;
    options.engine.max_num_seqs = 4;
    options.engine.max_num_batched_tokens = 64;
    options.engine.kv_cache_bytes = 32 << 20;
    return options;
  }

  std::unique_ptr<ServedModel> load(const ServedModelOptions& options) {
    auto model = ServedModel::load(options, metrics_);
    EXPECT_TRUE(model.has_value()) << model.error().to_string();
    return *std::move(model);
  }

  std::filesystem::path write_text(const std::string& text) const {
    const std::filesystem::path path = directory_.path() / "template.jinja";
    std::ofstream(path) << text;
    return path;
  }

  TempDirectory directory_;
  Metrics metrics_;
};

TEST_F(ServedModelTest, HasEverythingItTakesToAnswer) {
  write_tiny_llama(options().path);
  const auto model = load(options());
  EXPECT_EQ(model->name(), "tiny.Q8_0");
  EXPECT_GT(model->created(), 1'700'000'000);
  EXPECT_EQ(model->tokenizer().vocab_size(), kTinyVocabSize);
  ASSERT_NE(model->chat_template(), nullptr);
  EXPECT_TRUE(model->chat_template_status().ok());
  EXPECT_EQ(model->engine().max_model_len(), 512u);
  EXPECT_NE(model->device_description().find("2 threads"), std::string::npos);
  EXPECT_EQ(metrics_.info.model.with({"tiny.Q8_0", "llama", "F32", "512"}).value(), 1.0);

  GenerationRequest request = request_of({3, 4, 5}, 5);
  request.ignore_eos = true;
  const Answer answer = collect(**model->engine().submit(request, {}));
  EXPECT_TRUE(answer.finished());
  EXPECT_EQ(answer.choices[0].tokens.size(), 5u);
}

TEST_F(ServedModelTest, WithoutAChatTemplateItStillServes) {
  write_tiny_llama(options().path, {.chat_template = false});
  const auto model = load(options());
  EXPECT_EQ(model->chat_template(), nullptr);
  EXPECT_EQ(model->chat_template_status().code(), StatusCode::kNotFound);
}

TEST_F(ServedModelTest, AGivenTemplateReplacesTheModelsOwn) {
  write_tiny_llama(options().path);
  ServedModelOptions with_file = options();
  with_file.chat_template_file = write_text("{{ messages[0].content }}");
  EXPECT_EQ(load(with_file)->chat_template()->source(), "{{ messages[0].content }}");
}

TEST_F(ServedModelTest, AGivenTemplateThatDoesNotCompileStopsTheStart) {
  write_tiny_llama(options().path);
  ServedModelOptions with_file = options();
  with_file.chat_template_file = write_text("{% if %}");
  const auto model = ServedModel::load(with_file, metrics_);
  ASSERT_FALSE(model.has_value());
  EXPECT_NE(model.error().message().find("template.jinja"), std::string::npos);
}

TEST_F(ServedModelTest, LoadErrorsAreThoseOfTheParts) {
  EXPECT_EQ(ServedModel::load(options(), metrics_).error().code(), StatusCode::kNotFound);
  write_tiny_llama(options().path);
  ServedModelOptions wrong = options();
  wrong.kernels = "abacus";
  EXPECT_EQ(ServedModel::load(wrong, metrics_).error().code(), StatusCode::kInvalidArgument);
  wrong = options();
  wrong.engine.max_model_len = 513;
  EXPECT_EQ(ServedModel::load(wrong, metrics_).error().code(), StatusCode::kOutOfRange);
}

// The bit-equality promise with the real forward pass.
class ServedAnswersTest : public ServedModelTest, public ::testing::WithParamInterface<DType> {
 protected:
  static std::vector<GenerationRequest> requests() {
    std::mt19937 random(3);
    std::vector<GenerationRequest> requests;
    for (std::uint32_t idx = 0; idx < 10; ++idx) {
      Tokens prompt = some_tokens(1 + random() % 70, idx % 2);
      GenerationRequest request = request_of(std::move(prompt), 20 + 3 * idx);
      request.ignore_eos = true;
      request.sampling.temperature = idx % 2 == 0 ? 0.0f : 1.0f;
      if (idx % 4 == 3) request.sampling.logit_bias = {{50, 20.0f}, {51, 20.0f}};
      request.sampling.seed = idx;
      request.num_choices = idx % 3 == 0 ? 2 : 1;
      request.top_logprobs = 1;
      requests.push_back(std::move(request));
    }
    return requests;
  }

  // Tokens and log-probabilities of all choices.
  using Bits = std::vector<std::pair<std::int32_t, float>>;
  static Bits bits_of(const Answer& answer) {
    EXPECT_TRUE(answer.finished());
    Bits bits;
    for (const Answer::Choice& choice : answer.choices) {
      for (std::size_t idx = 0; idx < choice.tokens.size(); ++idx) {
        bits.emplace_back(choice.tokens[idx], choice.logprobs[idx]->chosen.logprob);
      }
      bits.emplace_back(-1, 0.0f);
    }
    return bits;
  }
};

TEST_P(ServedAnswersTest, AreTheSameBitsAloneAndInAnyCompany) {
  write_tiny_llama(options().path, {.dtype = GetParam()});
  std::vector<Bits> alone;
  {
    ServedModelOptions plain = options();
    plain.engine.prefix_cache = false;
    plain.engine.speculation = SpeculationMethod::kOff;
    plain.num_threads = 1;
    const auto model = load(plain);
    for (const GenerationRequest& request : requests()) {
      alone.push_back(bits_of(collect(**model->engine().submit(request, {}), request.num_choices)));
    }
    EXPECT_EQ(metrics_.of_model("tiny.Q8_0").engine.draft_tokens.value(), 0.0);
  }
  struct Setting {
    std::size_t max_num_seqs, max_num_batched_tokens, num_blocks;
  };
  for (const auto& [seqs, budget, blocks] :
       {Setting{8, 512, 400}, Setting{3, 5, 400}, Setting{8, 64, 8}}) {
    ServedModelOptions shared = options();
    shared.engine.max_model_len = 128;
    shared.engine.max_num_seqs = seqs;
    shared.engine.max_num_batched_tokens = budget;
    const auto probe = load(shared);
    shared.engine.kv_cache_bytes =
        blocks * probe->engine().memory().kv_cache_bytes / probe->engine().memory().num_kv_blocks;
    const auto model = load(shared);
    std::vector<std::shared_ptr<GenerationHandle>> handles;
    for (const GenerationRequest& request : requests()) {
      handles.push_back(model->engine().submit(request, {}).value());
    }
    for (std::size_t idx = 0; idx < handles.size(); ++idx) {
      const Answer answer = collect(*handles[idx], requests()[idx].num_choices);
      EXPECT_EQ(bits_of(answer), alone[idx])
          << "request " << idx << " with " << seqs << " sequences and " << budget << " tokens";
    }
  }
  EXPECT_GT(metrics_.of_model("tiny.Q8_0").engine.preemptions.value(), 0.0);
  EXPECT_GT(metrics_.of_model("tiny.Q8_0").engine.accepted_draft_tokens.value(), 20.0);
}

INSTANTIATE_TEST_SUITE_P(Formats, ServedAnswersTest,
                         ::testing::Values(DType::kF32, DType::kQ8_0, DType::kQ4_1));

// Letters for ids from 3 on, so that every token of the tiny golden model has a spelling.
std::string letters_tokenizer_json() {
  std::string vocab = R"("<unk>":0,"<s>":1,"</s>":2)";
  for (int id = 3; id < 55; ++id) {
    vocab +=
        fmt::format(R"(,"{}":{})", static_cast<char>(id < 29 ? 'A' + id - 3 : 'a' + id - 29), id);
  }
  return R"({"version":"1.0","added_tokens":[{"id":2,"content":"</s>","special":true,)"
         R"("single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],)"
         R"("normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,)"
         R"("model":{"type":"BPE","unk_token":"<unk>","vocab":{)" +
         vocab + R"(},"merges":[]}})";
}

TEST_F(ServedModelTest, AHuggingFaceDirectoryIsServedLikeAFile) {
  const auto path = directory_.path() / "Tiny-1.5B";
  std::filesystem::copy("tests/golden/hf/llama-tied", path);
  std::ofstream(path / "tokenizer.json") << letters_tokenizer_json();
  std::ofstream(path / "tokenizer_config.json")
      << R"({"eos_token":"</s>","chat_template":"{{ messages[0].content }}"})";
  ServedModelOptions in_directory = options();
  in_directory.path = path;
  const auto model = load(in_directory);
  EXPECT_EQ(model->name(), "Tiny-1.5B");
  EXPECT_EQ(model->tokenizer().encode("AZ", false, SpecialText::kPlain),
            (std::vector<TokenId>{3, 28}));
  ASSERT_NE(model->chat_template(), nullptr);
  EXPECT_EQ(model->sampling_defaults().temperature, 0.6f);
  EXPECT_EQ(model->sampling_defaults().top_k, 20u);

  // generation_config.json ends answers at 2 and 5; a bias makes 5 the certain choice.
  GenerationRequest request = request_of({3, 4, 5}, 10);
  request.sampling.temperature = 0.0f;
  request.sampling.logit_bias = {{5, 100.0f}};
  const Answer answer = collect(**model->engine().submit(request, {}));
  EXPECT_EQ(answer.choices[0].reason, FinishReason::kStop);

  in_directory.sampling_defaults = false;
  EXPECT_EQ(load(in_directory)->sampling_defaults().temperature, 1.0f);
}

TEST_F(ServedModelTest, ADirectoryWithoutATokenizerSaysSo) {
  ServedModelOptions in_directory = options();
  in_directory.path = "tests/golden/hf/llama-tied";
  const auto model = ServedModel::load(in_directory, metrics_);
  ASSERT_FALSE(model.has_value());
  EXPECT_NE(model.error().message().find("neither a file tokenizer.json"), std::string::npos)
      << model.error().to_string();
}

TEST_F(ServedModelTest, LengthsOfVectorsThatItCannotHaveAreSaidInTheLog) {
  const auto log_of = [this](const std::filesystem::path& path, std::vector<std::size_t> lengths) {
    ServedModelOptions shortened = options();
    shortened.path = path;
    shortened.matryoshka_dimensions = std::move(lengths);
    ::testing::internal::CaptureStderr();
    EXPECT_TRUE(ServedModel::load(shortened, metrics_).has_value());
    return ::testing::internal::GetCapturedStderr();
  };
  const std::filesystem::path encoders = "tests/golden/encoders";
  const std::string nothing = "--matryoshka-dimensions";
  EXPECT_THAT(log_of(encoders / "bert-mean", {16, 33, 4096}),
              HasSubstr("--matryoshka-dimensions 33,4096 does nothing for model 'bert-mean': its "
                        "vectors have 32 numbers"));
  EXPECT_THAT(log_of(encoders / "bert-mean", {16, 32}), Not(HasSubstr(nothing)));
  EXPECT_THAT(log_of(encoders / "bert-classifier", {16}),
              HasSubstr("--matryoshka-dimensions 16 does nothing for model 'bert-classifier'"));
  write_tiny_llama(options().path);
  EXPECT_THAT(log_of(options().path, {16}), HasSubstr("does nothing for model 'tiny.Q8_0'"));
  EXPECT_THAT(log_of(options().path, {}), Not(HasSubstr(nothing)));
}

// The vectors of these files are checked against transformers in src/models.
TEST_F(ServedModelTest, AnEncoderHasAnEngineOfItsOwn) {
  const char* source = std::getenv("HEARTH_SOURCE_DIR");
  ServedModelOptions encoder = options();
  encoder.path = std::filesystem::path(source == nullptr ? "." : source) / "tests" / "golden" /
                 "encoders" / "bert-mean";
  encoder.engine.max_num_batched_tokens = 8;  // Below the longest text, which then is the budget.
  const auto model = load(encoder);
  ASSERT_NE(model->embedder(), nullptr);
  EXPECT_EQ(model->name(), "bert-mean");
  EXPECT_EQ(model->chat_template(), nullptr);
  const EmbeddingEngine& engine = *model->embedder();
  EXPECT_EQ(engine.config().width, 32u);
  EXPECT_GT(model->memory().weight_bytes, 0u);
  EXPECT_EQ(metrics_.of_model(model->name()).memory.bytes[MemoryKind::kWeights].value(),
            static_cast<double>(model->memory().weight_bytes));
  EXPECT_EQ(
      metrics_.info.model.with({"bert-mean", "bert", "F32", std::to_string(engine.max_model_len())})
          .value(),
      1.0);

  EmbeddingRequest request;
  request.inputs.push_back({.tokens = {2, 5, 3}, .token_types = {}});
  request.inputs.push_back(
      {.tokens = std::vector<std::int32_t>(engine.max_model_len(), 5), .token_types = {}});
  const EmbeddingResult result = (*model->embedder()->submit(request, {}))->wait();
  EXPECT_TRUE(result.status.ok()) << result.status.to_string();
  EXPECT_EQ(result.rows.size(), 64u);

  encoder.engine.max_model_len = engine.max_model_len() + 1;
  const auto longer = ServedModel::load(encoder, metrics_);
  ASSERT_FALSE(longer.has_value());
  EXPECT_EQ(longer.error().code(), StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace hearth::test
