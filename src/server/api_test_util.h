// A server on a free port with a real tokenizer and chat template and an engine the test plays.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "formats/model_file.h"
#include "metrics/metrics.h"
#include "server/fake_engine_test_util.h"
#include "server/http_client_test_util.h"
#include "server/server.h"
#include "tests/support/temp_directory.h"
#include "tests/support/tiny_llama.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth::test {

// Tokenizer and template of the tiny model (see tiny_llama.h), loaded once per process.
class TinyText {
 public:
  static const TinyText& get() {
    static const TinyText instance;
    return instance;
  }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate& chat_template() const { return *chat_template_; }

 private:
  TinyText() {
    const TempDirectory directory;
    const auto path = directory.path() / "tiny.gguf";
    write_tiny_llama(path);
    file_ = std::make_unique<ModelFile>(ModelFile::open(path).value());
    tokenizer_ = Tokenizer::load(*file_).value();
    const auto source = file_->find_text("tokenizer.chat_template").value().value();
    chat_template_ = std::make_unique<ChatTemplate>(ChatTemplate::compile(source).value());
  }

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
};

class ApiTest : public testing::Test {
 protected:
  static constexpr std::string_view kHello = R"({"messages":[{"role":"user","content":"hello"}]})";

  // Before the first use of server().
  ServerOptions options;
  bool load_model = true;
  std::vector<ModelSpec> more_models;  // Besides the tiny one; not loaded at the start.
  ModelPoolOptions pool_options;
  SamplingParams sampling_defaults;
  std::string chat_template_problem;  // Set: the model has no template, for this reason.

  Server& server() {
    if (server_) return *server_;
    options.http.port = 0;
    std::vector<ModelSpec> specs;
    specs.push_back({.names = {"tiny"}, .source = "tiny.gguf", .load = [this](std::size_t) {
                       may_load_.get_future().wait();
                       return LoadedModel{.ref = tiny_model()};
                     }});
    std::ranges::move(more_models, std::back_inserter(specs));
    models_ = std::make_unique<ModelPool>(pool_options, std::move(specs), metrics_);
    server_ = Server::start(options, *models_, metrics_).value();
    models_->load("tiny", [this](const Status&) { loaded_.set_value(); });
    if (load_model) serve_model();
    return *server_;
  }
  // Returns when the model is loaded.
  void serve_model() {
    may_load_.set_value();
    loaded_.get_future().wait();
  }
  virtual ModelRef tiny_model() {
    return {
        .name = "tiny",
        .created = 1700000000,
        .tokenizer = &tokenizer(),
        .chat_template = chat_template_problem.empty() ? &TinyText::get().chat_template() : nullptr,
        .chat_template_problem = chat_template_problem,
        .engine = &engine,
        .sampling_defaults = sampling_defaults};
  }
  void stop_server() {
    server_.reset();
    models_.reset();
  }
  const Tokenizer& tokenizer() const { return TinyText::get().tokenizer(); }
  Metrics& metrics() { return metrics_; }
  ModelPool& models() { return *models_; }

  // The one token of a text.
  std::int32_t id_of(std::string_view text) const {
    const auto ids = tokenizer().encode(text, false, SpecialText::kPlain);
    EXPECT_EQ(ids.size(), 1u) << text;
    return ids.at(0);
  }
  // Plays an answer of these texts' tokens, byte by byte where they have no token of their own.
  static FakeEngine::Script answer(std::string text, FinishReason reason = FinishReason::kStop) {
    return [text = std::move(text), reason](FakeRequest& request) {
      request.prompt_done();
      for (std::uint32_t choice = 0; choice < request.request().num_choices; ++choice) {
        for (const char c : text)
          request.token(kTinyFirstByte + static_cast<unsigned char>(c), choice);
        request.finish_choice(reason, choice);
      }
      request.finish();
    };
  }

  TestResponse post(std::string_view path, std::string_view body) {
    TestClient client(server().port());
    client.post(path, body);
    return client.read_response();
  }
  TestResponse get(std::string_view path) {
    TestClient client(server().port());
    client.get(path);
    return client.read_response();
  }
  TestResponse chat(std::string_view body) { return post("/v1/chat/completions", body); }
  TestResponse complete(std::string_view body) { return post("/v1/completions", body); }

  // "400 code param" of an error answer; checks its form.
  static std::string error_of(const TestResponse& response) {
    const auto body = json::parse(response.body);
    if (!body) return "not JSON: " + response.body;
    EXPECT_TRUE(response.headers.contains("x-request-id"));
    const json::Value* error = body->as_object()->find("error");
    if (error == nullptr) return "no error: " + std::to_string(response.status) + response.body;
    const auto text = [error](std::string_view name) {
      const json::Value* member = error->as_object()->find(name);
      if (member == nullptr) return std::string("absent");
      return member->is_null() ? std::string("-") : *member->as_string();
    };
    EXPECT_FALSE(text("message").empty());
    EXPECT_NE(text("type"), "-");
    return std::to_string(response.status) + " " + text("code") + " " + text("param");
  }

  FakeEngine engine;

 private:
  Metrics metrics_;
  std::promise<void> may_load_;
  std::promise<void> loaded_;
  std::unique_ptr<ModelPool> models_;
  std::unique_ptr<Server> server_;  // Ends before what it borrows.
};

}  // namespace hearth::test
