// Requests to encoders, from HTTP to the encoder's input and back.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "server/encoder_test_util.h"
#include "server/request_schemas.h"
#include "tests/support/tokenizer_tables.h"

namespace hearth::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;
using testing::Pointwise;

json::Value parsed(const TestResponse& response) {
  EXPECT_EQ(response.status, 200) << response.body;
  return json::parse(response.body).value();
}

const json::Value& at(const json::Value& object, std::string_view name) {
  const json::Value* member = object.as_object()->find(name);
  HEARTH_CHECK(member != nullptr);
  return *member;
}

double number_of(const json::Value& value) {
  double out = 0;
  EXPECT_TRUE(value.to_double(out));
  return out;
}

std::vector<float> floats_of(const json::Value& array) {
  std::vector<float> out;
  for (const json::Value& value : *array.as_array())
    out.push_back(static_cast<float>(number_of(value)));
  return out;
}

std::vector<float> embedding(const json::Value& answer, std::size_t idx = 0) {
  return floats_of(at(at(answer, "data").as_array()->at(idx), "embedding"));
}

std::int64_t prompt_tokens(const json::Value& answer) {
  std::int64_t out = 0;
  EXPECT_TRUE(at(at(answer, "usage"), "prompt_tokens").to_int64(out));
  return out;
}

class EmbeddingsApiTest : public EncoderApiTest {
 protected:
  TestResponse embed(std::string_view body) { return post("/v1/embeddings", body); }
};

TEST_F(EmbeddingsApiTest, TextsAndIdsGiveTheirVectorsInOrder) {
  const json::Value one = parsed(embed(R"({"input":"hello world"})"));
  const auto ids = ids_of("hello world");
  EXPECT_EQ(embedding(one), vector_of(ids));
  EXPECT_EQ(prompt_tokens(one), static_cast<std::int64_t>(ids.size()));

  const json::Value list = parsed(embed(R"({"input":["the quick fox","a","the"],"user":"me"})"));
  EXPECT_EQ(at(list, "data").as_array()->size(), 3u);
  EXPECT_EQ(embedding(list, 0), vector_of(ids_of("the quick fox")));
  EXPECT_EQ(embedding(list, 1), vector_of(ids_of("a")));
  EXPECT_EQ(embedding(list, 2), vector_of(ids_of("the")));

  EXPECT_EQ(embedding(parsed(embed(R"({"input":[2,524,3]})"))), vector_of({2, 524, 3}));
  const json::Value lists = parsed(embed(R"({"input":[[2,524,3],[7]]})"));
  EXPECT_EQ(embedding(lists, 0), vector_of({2, 524, 3}));
  EXPECT_EQ(embedding(lists, 1), vector_of({7}));
  EXPECT_EQ(parsed(post("/embeddings", R"({"input":"a"})")), parsed(embed(R"({"input":"a"})")));
}

TEST_F(EmbeddingsApiTest, SpecialTokensInTextStayText) {
  const auto ids = ids_of("[SEP]");
  EXPECT_GT(ids.size(), 3u);
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"[SEP]"})"))), vector_of(ids));
}

TEST_F(EmbeddingsApiTest, Base64HoldsTheSameFloats) {
  const json::Value answer = parsed(embed(R"({"input":"hello","encoding_format":"base64"})"));
  const std::string text = *at(at(answer, "data").as_array()->at(0), "embedding").as_string();
  EXPECT_EQ(text.size(), 44u);  // 32 bytes.
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t digit = kDigits.find(text[i]);
    bits = (bits << 6) | static_cast<std::uint32_t>(digit == std::string_view::npos ? 0 : digit);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0})
      bytes += static_cast<char>(bits >> shift & 0xff);
  }
  std::vector<float> floats(8);
  std::memcpy(floats.data(), bytes.data(), 32);
  EXPECT_EQ(floats, vector_of(ids_of("hello")));
}

TEST_F(EmbeddingsApiTest, LongTextsAreRefusedWithCountsUnlessCuttingIsAskedFor) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "the ";
  const TestResponse refused = embed(fmt::format(R"({{"input":["a","{}"]}})", text));
  EXPECT_EQ(error_of(refused), "400 context_length_exceeded input[1]");
  EXPECT_THAT(refused.body, AllOf(HasSubstr("32 tokens"), HasSubstr("has 42 tokens"),
                                  HasSubstr(R"("n_prompt_tokens":42,"n_ctx":32)")));

  std::vector<TokenId> cut(31, 524);
  cut.front() = 2;
  cut.push_back(3);
  for (const std::string_view ask : {R"("truncate":true)", R"("truncate_prompt_tokens":-1)"}) {
    const TestResponse response = embed(fmt::format(R"({{"input":["a","{}"],{}}})", text, ask));
    const json::Value answer = parsed(response);
    EXPECT_EQ(embedding(answer, 1), vector_of(cut));
    EXPECT_EQ(response.headers.at("x-truncated-texts"), "1");
    EXPECT_EQ(prompt_tokens(answer), 32 + static_cast<std::int64_t>(ids_of("a").size()));
    EXPECT_THAT(response.body, AllOf(HasSubstr(R"("index":1,)"), HasSubstr(R"("truncated":true)"),
                                     HasSubstr(R"("truncated_texts":1)")));
  }
  const json::Value shorter =
      parsed(embed(fmt::format(R"({{"input":"{}","truncate_prompt_tokens":4}})", text)));
  EXPECT_EQ(embedding(shorter), vector_of({2, 524, 524, 3}));
  EXPECT_EQ(error_of(embed(R"({"input":"a","truncate_prompt_tokens":33})")),
            "400 value_out_of_range truncate_prompt_tokens");
  EXPECT_EQ(error_of(embed(R"({"input":"the the","truncate_prompt_tokens":2})")),
            "400 value_out_of_range input");
}

TEST_F(EmbeddingsApiTest, BadRequestsNameTheField) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {R"({})", "400 missing_field input"},
      {R"({"input":""})", "400 empty_input input"},
      {R"({"input":[]})", "400 empty_input input"},
      {R"({"input":["a",""]})", "400 empty_input input[1]"},
      {R"({"input":["a",[]]})", "400 empty_input input[1]"},
      {R"({"input":7})", "400 invalid_type input"},
      {R"({"input":["a",{}]})", "400 invalid_type input[1]"},
      {R"({"input":[[1,700]]})", "400 token_out_of_range input[0]"},
      {R"({"input":[-1]})", "400 value_out_of_range input[0]"},
      {R"({"input":"a","encoding_format":"int8"})", "400 invalid_value encoding_format"},
      {R"({"input":"a","dimensions":0})", "400 value_out_of_range dimensions"},
      {R"({"input":"a","dimensions":9})", "400 value_out_of_range dimensions"},
      {R"({"input":"a","dimensions":4})", "400 unsupported_parameter dimensions"},
      {R"({"input":"a","prompt_name":"query"})", "400 invalid_value prompt_name"},
      {R"({"input":"a","input_type":"query"})", "400 unsupported_parameter input_type"},
      {R"({"input":"a","add_special_tokens":false})",
       "400 unsupported_parameter add_special_tokens"},
      {R"({"input":"a","encoding_format":"base64","embed_dtype":"float16"})",
       "400 unsupported_parameter embed_dtype"},
      {R"({"input":"a","encoding_format":"base64","endianness":"big"})",
       "400 unsupported_parameter endianness"},
      {R"({"input":"a","truncate_prompt_tokens":0})",
       "400 value_out_of_range truncate_prompt_tokens"},
      {R"({"input":"a","truncation_direction":"left"})",
       "400 unsupported_parameter truncation_direction"},
      {R"({"input":"a","model":"other"})", "404 model_not_found model"},
  };
  for (const auto& [body, wanted] : cases)
    EXPECT_EQ(error_of(embed(body)), wanted) << body;
  EXPECT_EQ(embed(R"({"input":"a","dimensions":8,"normalize":null,"unknown":1})").status, 200);
}

// The first numbers, divided by their length.
std::vector<float> shortened(std::vector<float> vector, std::size_t length) {
  vector.resize(length);
  double sum = 0;
  for (const float value : vector)
    sum += double{value} * double{value};
  for (float& value : vector)
    value = static_cast<float>(value / std::sqrt(sum));
  return vector;
}

TEST_F(EmbeddingsApiTest, VectorsAreShortenedWhereTheModelAllowsIt) {
  encoder.config.shorter.lengths = {2, 4};
  encoder.config.normalize = true;
  const std::vector<float> whole = vector_of(ids_of("fox"));
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox"})"))), whole);
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox","dimensions":8})"))), whole);
  EXPECT_THAT(embedding(parsed(embed(R"({"input":"fox","dimensions":4})"))),
              Pointwise(FloatEq(), shortened(whole, 4)));
  EXPECT_THAT(
      floats_of(parsed(post("/embed", R"({"inputs":"fox","dimensions":2})")).as_array()->at(0)),
      Pointwise(FloatEq(), shortened(whole, 2)));
  const TestResponse refused = embed(R"({"input":"fox","dimensions":3})");
  EXPECT_EQ(error_of(refused), "400 invalid_value dimensions");
  EXPECT_THAT(refused.body, HasSubstr("may have 2, 4, 8"));
  EXPECT_EQ(error_of(embed(R"({"input":"fox","dimensions":9})")),
            "400 value_out_of_range dimensions");
  EXPECT_THAT(get("/v1/models").body, HasSubstr(R"("matryoshka_dimensions":[2,4])"));
}

TEST_F(EmbeddingsApiTest, AModelMayHaveAUsualLengthAndAllowAny) {
  encoder.config.shorter.usual = 5;
  encoder.config.shorter.any = true;
  const std::vector<float> whole = vector_of(ids_of("fox"));
  const auto first = [&whole](std::ptrdiff_t length) {
    return std::vector<float>(whole.begin(), whole.begin() + length);
  };
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox"})"))), first(5));
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox","dimensions":3})"))), first(3));
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox","dimensions":8})"))), whole);
  EXPECT_THAT(get("/v1/models").body, HasSubstr(R"("truncate_dim":5,"is_matryoshka":true)"));
}

TEST_F(EmbeddingsApiTest, LargeAnswersAreWrittenByWorkers) {
  encoder.config.width = 128;
  std::string body = R"({"input":["fox")";
  for (int i = 1; i < 200; ++i)
    body += R"(,"fox")";
  const json::Value answer = parsed(embed(body + "]}"));
  EXPECT_EQ(at(answer, "data").as_array()->size(), 200u);
  EXPECT_EQ(embedding(answer, 199), vector_of(ids_of("fox")));
}

TEST_F(EmbeddingsApiTest, ManyTextsHaveABound) {
  std::string body = R"({"input":["a")";
  for (int i = 0; i < 2047; ++i)
    body += R"(,"a")";
  EXPECT_EQ(at(parsed(embed(body + "]}")), "data").as_array()->size(), 2048u);
  EXPECT_EQ(error_of(embed(body + R"(,"a"]})")), "400 value_out_of_range input");
}

TEST_F(EmbeddingsApiTest, NormalizedVectorsHaveLengthOne) {
  const auto check = [this](const std::vector<float>& vector) {
    const double sum = std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0);
    EXPECT_NEAR(sum, 1.0, 1e-6);
    EXPECT_NEAR(vector[3] / vector[0],
                vector_of(ids_of("hello"))[3] / vector_of(ids_of("hello"))[0], 1e-5);
  };
  check(embedding(parsed(embed(R"({"input":"hello","normalize":true})"))));
  const json::Value tei = parsed(post("/embed", R"({"inputs":"hello"})"));
  check(floats_of(tei.as_array()->at(0)));
  const json::Value raw = parsed(post("/embed", R"({"inputs":["hello"],"normalize":false})"));
  EXPECT_EQ(floats_of(raw.as_array()->at(0)), vector_of(ids_of("hello")));
}

TEST_F(EmbeddingsApiTest, AModelThatNormalizesCannotUndoIt) {
  encoder.config.normalize = true;
  EXPECT_EQ(error_of(embed(R"({"input":"a","normalize":false})")),
            "400 unsupported_parameter normalize");
  EXPECT_EQ(embed(R"({"input":"a","normalize":true})").status, 200);
}

TEST_F(EmbeddingsApiTest, PromptsGoInFrontOfTexts) {
  encoder.config.prompts = {{.name = "query", .text = "the "}, {.name = "plain", .text = ""}};
  encoder.config.default_prompt = "query";
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox"})"))), vector_of(ids_of("the fox")));
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox","prompt_name":"plain"})"))),
            vector_of(ids_of("fox")));
  EXPECT_EQ(embedding(parsed(embed(R"({"input":"fox","prompt_name":""})"))),
            vector_of(ids_of("fox")));
  const TestResponse unknown = embed(R"({"input":"fox","prompt_name":"passage"})");
  EXPECT_EQ(error_of(unknown), "400 invalid_value prompt_name");
  EXPECT_THAT(unknown.body, HasSubstr("query, plain"));
}

TEST_F(EmbeddingsApiTest, OtherEndpointsSayWhatTheModelIsFor) {
  for (const auto& [path, body] : std::vector<std::pair<std::string, std::string>>{
           {"/v1/chat/completions", std::string(kHello)},
           {"/v1/completions", R"({"prompt":"a"})"},
           {"/v1/rerank", R"({"query":"a","documents":["b"]})"},
           {"/v1/classify", R"({"input":"a"})"},
           {"/predict", R"({"inputs":"a"})"}}) {
    const TestResponse response = post(path, body);
    EXPECT_EQ(error_of(response), "400 unsupported_model model") << path;
    EXPECT_THAT(response.body, AllOf(HasSubstr("'tiny'"), HasSubstr("embeddings"))) << path;
  }
}

TEST_F(EmbeddingsApiTest, ModelsHealthAndTokensAnswer) {
  const json::Value models = parsed(get("/v1/models"));
  const json::Value& model = at(models, "data").as_array()->at(0);
  EXPECT_EQ(json::dump(at(model, "capabilities")), R"(["embeddings"])");
  EXPECT_EQ(number_of(at(model, "max_model_len")), 32);
  EXPECT_EQ(number_of(at(at(model, "meta"), "n_embd")), 8);
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/readyz").status, 200);
  EXPECT_EQ(parsed(get("/healthz")), json::parse(R"({"status":"ok"})").value());
  EXPECT_EQ(number_of(at(parsed(post("/tokenize", R"({"prompt":"the fox"})")), "max_model_len")),
            32);
  EXPECT_EQ(get("/tokenizer_info").status, 200);
  EXPECT_THAT(get("/metrics").body,
              AllOf(HasSubstr("\nhearth_embedding_texts_total{model=\"tiny\"} 1\n"),
                    HasSubstr("\nhearth_engine_healthy{model=\"tiny\"} 1\n")));
}

TEST_F(EmbeddingsApiTest, AFullQueueIsA503WithRetryAfter) {
  engine_options.max_queued_requests = 1;
  Gate gate;
  encoder.on_encode = [&gate](auto) { gate.pass(); };
  TestClient running(server().port()), waiting(server().port());
  running.post("/v1/embeddings", R"({"input":"a"})");
  gate.await_arrival(1);
  waiting.post("/v1/embeddings", R"({"input":"a"})");
  while (metrics().of_model("tiny").embedding.requests_waiting.value() < 1) {
  }
  const TestResponse refused = embed(R"({"input":"a"})");
  EXPECT_EQ(error_of(refused), "503 overloaded -");
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  gate.open();
  EXPECT_EQ(running.read_response().status, 200);
  EXPECT_EQ(waiting.read_response().status, 200);
}

TEST_F(EmbeddingsApiTest, AClientThatLeavesCancelsItsTexts) {
  Gate gate;
  encoder.on_encode = [&gate](auto) { gate.pass(); };
  std::string body = R"({"input":["a")";
  for (int i = 0; i < 500; ++i)
    body += R"(,"a")";
  {
    TestClient client(server().port());
    client.post("/v1/embeddings", body + "]}");
    gate.await_arrival(1);
  }
  while (metrics().http.client_disconnects.value() < 1) {
  }
  gate.let_one_pass();
  while (!embedder().idle()) {
  }
  EXPECT_LE(metrics().of_model("tiny").embedding.texts.value(),
            2 * encoder.limits.max_batch_sequences);
  EXPECT_EQ(metrics().of_model("tiny").embedding.finished[EmbeddingOutcome::kCancelled].value(), 1);
  gate.open();
}

TEST_F(EmbeddingsApiTest, WhatIsNoNumberIsAnError) {
  encoder.poison = 524;
  EXPECT_EQ(error_of(embed(R"({"input":"the"})")), "500 numerical_error -");
  EXPECT_EQ(embed(R"({"input":"a"})").status, 200);
}

class GeneratorApiTest : public ApiTest {};

TEST_F(GeneratorApiTest, AModelThatWritesTextsIsNoEncoder) {
  for (const auto& [path, body] : std::vector<std::pair<std::string, std::string>>{
           {"/v1/embeddings", R"({"input":"a"})"},
           {"/embed", R"({"inputs":"a"})"},
           {"/rerank", R"({"query":"a","documents":["b"]})"},
           {"/classify", R"({"input":"a"})"}}) {
    const TestResponse response = post(path, body);
    EXPECT_EQ(error_of(response), "400 unsupported_model model") << path;
    EXPECT_THAT(response.body, HasSubstr("chat, completions"));
  }
  EXPECT_THAT(get("/v1/models").body, HasSubstr(R"("capabilities":["chat","completions"])"));
}

class RerankApiTest : public EncoderApiTest {
 protected:
  RerankApiTest() { make_classifier({"LABEL_0"}, HeadActivation::kSigmoid); }

  // The raw output for a pair of texts.
  static float output(std::string_view query, std::string_view document) {
    const EncodedPair pair = word_piece_tokenizer().encode_pair(query, document);
    const std::vector<std::int32_t> types(pair.type_ids.begin(), pair.type_ids.end());
    return fake_output(pair.ids, types, 0);
  }
  static double sigmoid(double value) { return 1 / (1 + std::exp(-value)); }

  static std::vector<std::int64_t> indices(const json::Value& results) {
    std::vector<std::int64_t> out;
    for (const json::Value& result : *results.as_array())
      out.push_back(static_cast<std::int64_t>(number_of(at(result, "index"))));
    return out;
  }
};

TEST_F(RerankApiTest, DocumentsComeBestFirst) {
  const std::vector<std::string> documents = {"the fox", "a dog", "the lazy dog", "fox"};
  std::vector<std::int64_t> wanted = {0, 1, 2, 3};
  std::ranges::sort(wanted, std::greater<>(), [&](std::int64_t i) {
    return output("quick", documents[static_cast<std::size_t>(i)]);
  });
  const json::Value answer = parsed(
      post("/v2/rerank",
           R"({"query":"quick","documents":["the fox",{"text":"a dog"},"the lazy dog","fox"]})"));
  const json::Value& results = at(answer, "results");
  EXPECT_EQ(indices(results), wanted);
  const auto best = static_cast<std::size_t>(wanted[0]);
  EXPECT_NEAR(number_of(at(results.as_array()->at(0), "relevance_score")),
              sigmoid(output("quick", documents[best])), 1e-6);
  EXPECT_EQ(results.as_array()->at(0).as_object()->find("document"), nullptr);

  const json::Value two = parsed(post("/rerank", R"({"query":"quick","top_n":2,
      "documents":["the fox","a dog","the lazy dog","fox"],"return_documents":true,
      "raw_scores":true})"));
  EXPECT_EQ(indices(at(two, "results")), (std::vector{wanted[0], wanted[1]}));
  const json::Value& first = at(two, "results").as_array()->at(0);
  EXPECT_FLOAT_EQ(static_cast<float>(number_of(at(first, "relevance_score"))),
                  output("quick", documents[best]));
  EXPECT_EQ(*at(at(first, "document"), "text").as_string(), documents[best]);
}

TEST_F(RerankApiTest, TextsAreAnsweredInTheOtherShape) {
  const json::Value answer = parsed(
      post("/rerank",
           R"({"query":"quick","texts":["fox","dog"],"raw_scores":true,"return_text":true})"));
  const bool fox_first = output("quick", "fox") > output("quick", "dog");
  EXPECT_EQ(indices(answer), (std::vector<std::int64_t>{fox_first ? 0 : 1, fox_first ? 1 : 0}));
  const json::Value& first = answer.as_array()->at(0);
  EXPECT_EQ(*at(first, "text").as_string(), fox_first ? "fox" : "dog");
  EXPECT_FLOAT_EQ(static_cast<float>(number_of(at(first, "score"))),
                  output("quick", fox_first ? "fox" : "dog"));
}

TEST_F(RerankApiTest, LongPairsAreCutFromTheLongerText) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += "the ";
  EXPECT_EQ(
      error_of(post("/rerank", fmt::format(R"({{"query":"a dog","documents":["a","{}"]}})", text))),
      "400 context_length_exceeded documents[1]");
  EXPECT_EQ(
      error_of(post("/rerank", fmt::format(R"({{"query":"{}","documents":["a","b"]}})", text))),
      "400 context_length_exceeded query");
  const std::size_t query_tokens = ids_of("a dog").size() - 2;
  std::string kept;
  for (std::size_t i = 0; i < 32 - 3 - query_tokens; ++i)
    kept += "the ";
  const json::Value answer = parsed(
      post("/rerank",
           fmt::format(R"({{"query":"a dog","texts":["{}"],"truncate":true,"raw_scores":true}})",
                       text)));
  EXPECT_FLOAT_EQ(static_cast<float>(number_of(at(answer.as_array()->at(0), "score"))),
                  output("a dog", kept));
  // Two long texts share the room: 14 and 15 tokens beside three special ones.
  std::string first, second;
  for (int i = 0; i < 15; ++i)
    (i < 14 ? first : kept) += "the ", second += "the ";
  const json::Value both = parsed(post(
      "/rerank", fmt::format(R"({{"query":"{}","texts":["{}"],"truncate":true,"raw_scores":true}})",
                             text, text)));
  EXPECT_FLOAT_EQ(static_cast<float>(number_of(at(both.as_array()->at(0), "score"))),
                  output(first, second));
}

// What is read again with each document would keep a worker for hours.
TEST_F(RerankApiTest, ALongQueryHasFewDocuments) {
  const std::string query(40'000, 'a');
  std::string body = fmt::format(R"({{"query":"{}","truncate":true,"documents":["a")", query);
  EXPECT_EQ(post("/rerank", body + "]}").status, 200);
  for (std::size_t i = 1; i < kMaxDocuments; ++i)
    body += R"(,"a")";
  EXPECT_EQ(error_of(post("/rerank", body + "]}")), "400 value_out_of_range query");
}

TEST_F(RerankApiTest, AModelWithOneTokenTypeIsNotToldOfTwo) {
  encoder.config.num_token_types = 1;
  const EncodedPair pair = word_piece_tokenizer().encode_pair("quick", "fox");
  ASSERT_THAT(pair.type_ids, Contains(1));
  const json::Value answer =
      parsed(post("/rerank", R"({"query":"quick","texts":["fox"],"raw_scores":true})"));
  EXPECT_FLOAT_EQ(static_cast<float>(number_of(at(answer.as_array()->at(0), "score"))),
                  fake_output(pair.ids, {}, 0));
}

class NoPairsApiTest : public RerankApiTest {
 protected:
  ModelRef tiny_model() override {
    TokenizerTables tables = byte_tables();
    tables.rest.architecture = "bert";
    tokenizer_ = Tokenizer::create(tables.metadata()).value();
    ModelRef model = RerankApiTest::tiny_model();
    model.tokenizer = tokenizer_.get();
    return model;
  }
  void TearDown() override { stop_server(); }  // Before the tokenizer it uses.

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(NoPairsApiTest, AFileThatDoesNotSayHowTextsAreJoinedRanksNone) {
  EXPECT_EQ(error_of(post("/rerank", R"({"query":"a","texts":["b"]})")),
            "400 unsupported_model model");
  EXPECT_EQ(post("/predict", R"({"inputs":"a"})").status, 200);
}

class TemplateApiTest : public EncoderApiTest {
 protected:
  TemplateApiTest() {
    make_classifier({"yes"}, HeadActivation::kSigmoid);
    encoder.config.pair_template = "[CLS] the {document} for {query} [SEP]";
  }
};

TEST_F(TemplateApiTest, PairsAreReadAsTheTemplateHasThem) {
  const json::Value answer = parsed(
      post("/v1/rerank", R"({"query":"a dog","documents":["fox [SEP]"],"raw_scores":true})"));
  const TextSpan spans[] = {{.text = "[CLS] the ", .special = SpecialText::kParse},
                            {.text = "fox [SEP]", .special = SpecialText::kPlain},
                            {.text = " for a dog ", .special = SpecialText::kPlain},
                            {.text = "[SEP]", .special = SpecialText::kParse}};
  const auto ids = word_piece_tokenizer().encode(spans, /*add_special=*/false);
  const json::Value& result = at(answer, "results").as_array()->at(0);
  double score = 0;
  ASSERT_TRUE(at(result, "relevance_score").to_double(score));
  EXPECT_NEAR(score, vector_of(ids)[0], 1e-6);
  std::int64_t num_tokens = 0;
  ASSERT_TRUE(at(at(answer, "usage"), "prompt_tokens").to_int64(num_tokens));
  EXPECT_EQ(num_tokens, std::ssize(ids));
}

TEST_F(TemplateApiTest, WhatIsTooLongForItIsRefusedAndNeverCut) {
  std::string text = "fox";
  for (std::size_t i = 0; i < encoder.config.max_tokens; ++i)
    text += " fox";
  const auto response =
      post("/rerank", json::dump(json::Object{
                          {"query", "a"}, {"documents", json::Array{text}}, {"truncate", true}}));
  EXPECT_EQ(error_of(response), "400 context_length_exceeded documents[0]");
  EXPECT_THAT(response.body, HasSubstr("cannot be cut"));
}

class NoTemplateApiTest : public TemplateApiTest {
 protected:
  NoTemplateApiTest() { encoder.config.pair_template = ""; }
};

TEST_F(NoTemplateApiTest, WhereNothingSaysHowPairsAreReadTheyAreRefused) {
  const auto response = post("/rerank", R"({"query":"a","documents":["b"]})");
  EXPECT_EQ(error_of(response), "400 unsupported_model model");
  EXPECT_THAT(response.body, HasSubstr("there is no template 'rerank'"));
  EXPECT_EQ(post("/v1/classify", R"({"input":"a dog"})").status, 200);
}

TEST_F(RerankApiTest, BadRequestsNameTheField) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {R"({"documents":["a"]})", "400 missing_field query"},
      {R"({"query":"","documents":["a"]})", "400 value_out_of_range query"},
      {R"({"query":"a"})", "400 invalid_combination documents"},
      {R"({"query":"a","documents":["a"],"texts":["a"]})", "400 invalid_combination documents"},
      {R"({"query":"a","documents":[]})", "400 value_out_of_range documents"},
      {R"({"query":"a","documents":[1]})", "400 invalid_type documents[0]"},
      {R"({"query":"a","documents":["b",{"title":"a"}]})", "400 invalid_type documents[1]"},
      {R"({"query":"a","documents":["a"],"top_n":0})", "400 value_out_of_range top_n"},
      {R"({"query":"a","documents":["a"],"rank_fields":["title"]})",
       "400 unsupported_parameter rank_fields"},
  };
  for (const auto& [body, wanted] : cases)
    EXPECT_EQ(error_of(post("/rerank", body)), wanted) << body;
  EXPECT_EQ(error_of(post("/v1/embeddings", R"({"input":"a"})")), "400 unsupported_model model");
  EXPECT_THAT(get("/v1/models").body, HasSubstr(R"("capabilities":["rerank","classify"])"));
}

class ClassifyApiTest : public EncoderApiTest {
 protected:
  ClassifyApiTest() { make_classifier({"bad", "fair", "good"}, HeadActivation::kSoftmax); }
};

TEST_F(ClassifyApiTest, LabelsHaveProbabilities) {
  const json::Value answer = parsed(post("/v1/classify", R"({"input":["the fox","a dog"]})"));
  for (std::size_t i = 0; i < 2; ++i) {
    const auto outputs = vector_of(ids_of(i == 0 ? "the fox" : "a dog"));
    const json::Value& result = at(answer, "data").as_array()->at(i);
    const auto probs = floats_of(at(result, "probs"));
    EXPECT_NEAR(std::accumulate(probs.begin(), probs.end(), 0.0), 1.0, 1e-6);
    EXPECT_NEAR(std::log(probs[1] / probs[0]), outputs[1] - outputs[0], 1e-5);
    const auto best = std::ranges::max_element(outputs) - outputs.begin();
    EXPECT_EQ(*at(result, "label").as_string(),
              encoder.config.labels[static_cast<std::size_t>(best)]);
  }
  const json::Value raw =
      parsed(post("/classify", R"({"input":"the fox","use_activation":false})"));
  EXPECT_EQ(floats_of(at(at(raw, "data").as_array()->at(0), "probs")),
            vector_of(ids_of("the fox")));
  EXPECT_EQ(error_of(post("/rerank", R"({"query":"a","documents":["b"]})")),
            "400 unsupported_model model");
}

TEST_F(ClassifyApiTest, PredictTakesTextsPairsAndBatches) {
  const json::Value one = parsed(post("/predict", R"({"inputs":"the fox","raw_scores":true})"));
  ASSERT_EQ(one.as_array()->size(), 3u);
  const auto outputs = vector_of(ids_of("the fox"));
  EXPECT_FLOAT_EQ(static_cast<float>(number_of(at(one.as_array()->at(0), "score"))),
                  std::ranges::max(outputs));
  const json::Value pair = parsed(post("/predict", R"({"inputs":["the fox","a dog"]})"));
  EXPECT_EQ(pair.as_array()->size(), 3u);
  const json::Value batch =
      parsed(post("/predict", R"({"inputs":[["the fox"],["the fox","a dog"]]})"));
  ASSERT_EQ(batch.as_array()->size(), 2u);
  EXPECT_EQ(batch.as_array()->at(1), pair);
  for (const std::string_view body : {R"({"inputs":[]})", R"({"inputs":["a","b","c"]})"})
    EXPECT_EQ(error_of(post("/predict", body)), "400 value_out_of_range inputs");
  EXPECT_EQ(error_of(post("/predict", R"({"inputs":[["a"],"b"]})")), "400 invalid_type inputs[1]");
  EXPECT_EQ(error_of(post("/predict", R"({"inputs":["a",1]})")), "400 invalid_type inputs");
}

}  // namespace
}  // namespace hearth::test
