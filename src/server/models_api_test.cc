// Several models behind the API: which one answers, and the endpoints that load and unload them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/api_test_util.h"

namespace hearth {
namespace {

using test::ApiTest;
using test::FakeEngine;
using test::FakeRequest;
using test::TestClient;
using test::TestResponse;
using test::TinyText;
using ::testing::HasSubstr;
using ::testing::Not;

class ModelsApiTest : public ApiTest {
 protected:
  ModelsApiTest() {
    ModelSpec other;
    other.names = {"other", "second"};
    other.source = "other.gguf";
    other.load = [this](std::size_t) -> Result<LoadedModel> {
      if (is_broken) return error(StatusCode::kDataLoss, "other.gguf has no tensors");
      return LoadedModel{.ref = {.name = "other",
                                 .created = 1700000001,
                                 .tokenizer = &tokenizer(),
                                 .engine = &other_engine,
                                 .precision = "Q4_K"},
                         .memory_bytes = 1234};
    };
    more_models.push_back(std::move(other));
    options.admin_token = "secret";
    other_engine.set_script(answer("b"));
    engine.set_script(answer("a"));
  }
  void TearDown() override { stop_server(); }

  TestResponse admin(std::string_view method, std::string_view path, std::string_view body = "",
                     std::string_view token = "secret") {
    TestClient client(server().port());
    client.send(
        fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    method, path, token, body.size(), body));
    return client.read_response();
  }
  TestResponse load(std::string_view body = R"({"model":"other"})") {
    return admin("POST", "/admin/models/load", body);
  }
  TestResponse unload(std::string_view body) { return admin("POST", "/admin/models/unload", body); }
  // What the model answers to a prompt: its letter.
  std::string letter(std::string_view model) {
    const TestResponse response = complete(fmt::format(R"({{"model":"{}","prompt":"x"}})", model));
    if (response.status != 200) return error_of(response);
    EXPECT_THAT(response.body, HasSubstr(fmt::format(R"("model":"{}")", model)));
    return response.body.substr(response.body.find(R"("text":")") + 8, 1);
  }

  FakeEngine other_engine;
  std::atomic<bool> is_broken = false;
};

TEST_F(ModelsApiTest, EachRequestIsAnsweredByTheModelItNames) {
  EXPECT_EQ(load().status, 200);
  EXPECT_EQ(letter("tiny"), "a");
  EXPECT_EQ(letter("other"), "b");
  EXPECT_EQ(letter("second"), "b");
  EXPECT_EQ(letter("third"), "404 model_not_found model");
  EXPECT_EQ(error_of(complete(R"({"prompt":"x"})")), "400 missing_field model");
  EXPECT_EQ(error_of(complete(R"({"model":7,"prompt":"x"})")), "400 invalid_type model");
  EXPECT_THAT(complete(R"({"model":"third","prompt":"x"})").body, HasSubstr("tiny, other, second"));
  EXPECT_EQ(metrics().of_model("other").request.rejected[RejectionReason::kInvalid].value(), 0);
}

TEST_F(ModelsApiTest, ModelsTellTheirState) {
  const TestResponse before = get("/v1/models/other");
  EXPECT_THAT(before.body, HasSubstr(R"("status":"unloaded")"));
  EXPECT_THAT(before.body, Not(HasSubstr("max_model_len")));
  EXPECT_EQ(load().status, 200);
  const TestResponse list = get("/v1/models");
  for (const char* fact : {R"("id":"second")", R"("root":"other")", R"("precision":"Q4_K")",
                           R"("memory_bytes":1234)", R"("status":"loaded")"}) {
    EXPECT_THAT(list.body, HasSubstr(fact));
  }
  EXPECT_EQ(get("/v1/models/third").status, 404);
  EXPECT_EQ(get("/healthz?model=third").status, 404);
  EXPECT_EQ(get("/healthz?model=second").status, 200);
  EXPECT_EQ(get("/healthz").status, 200);
  EngineStatus stuck;
  stuck.healthy = false;
  other_engine.set_status(stuck);
  EXPECT_EQ(error_of(get("/health")), "503 unhealthy -");
}

TEST_F(ModelsApiTest, TheAdminEndpointsNeedTheToken) {
  EXPECT_EQ(error_of(get("/admin/models")), "401 invalid_admin_token -");
  for (const char* token : {"", "s", "secre", "secret2", "Secret", "secretsecret"}) {
    const TestResponse response = admin("GET", "/admin/models", "", token);
    EXPECT_EQ(error_of(response), "401 invalid_admin_token -") << token;
    EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
  }
  EXPECT_EQ(error_of(post("/admin/models/unload", R"({"model":"tiny"})")),
            "401 invalid_admin_token -");
  EXPECT_EQ(admin("GET", "/admin/models").status, 200);
  EXPECT_EQ(letter("tiny"), "a");
}

TEST_F(ModelsApiTest, WithoutATokenNobodyIsAnAdmin) {
  options.admin_token.clear();
  EXPECT_EQ(error_of(admin("GET", "/admin/models", "", "")), "403 admin_disabled -");
  EXPECT_EQ(error_of(admin("POST", "/admin/models/load", R"({"model":"other"})", "x")),
            "403 admin_disabled -");
}

TEST_F(ModelsApiTest, BadAdminRequestsAreRefused) {
  EXPECT_EQ(error_of(load("{")), "400 invalid_json -");
  EXPECT_EQ(error_of(load("{}")), "400 missing_field model");
  EXPECT_EQ(error_of(load(R"({"model":""})")), "400 value_out_of_range model");
  EXPECT_EQ(error_of(load(R"({"model":"third"})")), "404 model_not_found model");
  EXPECT_EQ(error_of(load(R"({"model":"third","wait":false})")), "404 model_not_found model");
  EXPECT_EQ(error_of(unload(R"({"model":"other","patience_seconds":-1})")),
            "400 value_out_of_range patience_seconds");
  EXPECT_EQ(load(R"({"model":"other","wait":false})").status, 202);
}

TEST_F(ModelsApiTest, AFailedLoadSaysWhyAndLeavesTheOthers) {
  is_broken = true;
  const TestResponse failed = load();
  EXPECT_EQ(error_of(failed), "422 model_invalid model");
  EXPECT_THAT(failed.body, HasSubstr("other.gguf has no tensors"));
  EXPECT_THAT(get("/v1/models").body, HasSubstr(R"("failure":"other.gguf has no tensors")"));
  EXPECT_EQ(letter("other"), "503 model_failed -");
  EXPECT_EQ(letter("tiny"), "a");
  EXPECT_EQ(get("/readyz").status, 200);
  is_broken = false;
  EXPECT_EQ(load().status, 200);
  EXPECT_EQ(letter("other"), "b");
}

TEST_F(ModelsApiTest, UnloadingWaitsForAStreamUnderWay) {
  EXPECT_EQ(load().status, 200);
  other_engine.set_script(nullptr);
  TestClient client(server().port());
  client.post("/v1/completions", R"({"model":"other","prompt":"x","stream":true})");
  const auto request = other_engine.request();
  request->prompt_done();
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_EQ(unload(R"({"model":"other","wait":false,"patience_seconds":3600})").status, 202);
  EXPECT_EQ(letter("other"), "503 model_not_loaded -");
  EXPECT_THAT(get("/v1/models/other").body, HasSubstr(R"("status":"unloading")"));
  request->finish_choice();
  request->finish();
  EXPECT_THAT(client.read_until("[DONE]"), HasSubstr("finish_reason"));
  EXPECT_EQ(unload(R"({"model":"other"})").status, 200);
  EXPECT_THAT(get("/v1/models/other").body, HasSubstr(R"("status":"unloaded")"));
}

TEST_F(ModelsApiTest, UnloadingCutsWhatTakesTooLong) {
  EXPECT_EQ(load().status, 200);
  other_engine.set_script(nullptr);
  TestClient client(server().port());
  client.post("/v1/completions", R"({"model":"other","prompt":"x"})");
  other_engine.request();
  EXPECT_EQ(unload(R"({"model":"other","patience_seconds":0})").status, 200);
  EXPECT_EQ(client.read_response().status, 503);
  EXPECT_EQ(letter("tiny"), "a");
}

TEST_F(ModelsApiTest, AClientThatLeavesLetsGoOfTheModel) {
  EXPECT_EQ(load().status, 200);
  other_engine.set_script(nullptr);
  {
    TestClient client(server().port());
    client.post("/v1/completions", R"({"model":"other","prompt":"x","stream":true})");
    other_engine.request();
  }
  other_engine.request()->wait_until_cancelled();
  EXPECT_EQ(unload(R"({"model":"other","patience_seconds":3600})").status, 200);
}

TEST_F(ModelsApiTest, ARequestLoadsItsModelOnDemand) {
  pool_options.load_on_demand = true;
  EXPECT_EQ(letter("other"), "b");
  EXPECT_EQ(unload(R"({"model":"other"})").status, 200);
  EXPECT_EQ(letter("second"), "b");
  EXPECT_EQ(metrics().pool.loads.with({"other", "loaded"}).value(), 2);
  is_broken = true;
  EXPECT_EQ(unload(R"({"model":"other"})").status, 200);
  EXPECT_EQ(letter("other"), "503 model_failed -");
}

}  // namespace
}  // namespace hearth
