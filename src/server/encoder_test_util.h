// A server on a free port with a WordPiece tokenizer, the real embedding engine and an encoder that
// the test plays.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/embedding_engine.h"
#include "engine/engine_test_util.h"
#include "server/api_test_util.h"
#include "tests/support/fake_encoder.h"

namespace hearth::test {

// 700 tokens; [CLS] is 2, [SEP] is 3. Loaded once per process.
inline const Tokenizer& word_piece_tokenizer() {
  static const std::unique_ptr<Tokenizer> instance = [] {
    const char* source = std::getenv("HEARTH_SOURCE_DIR");
    const auto path = std::filesystem::path(source == nullptr ? "." : source) / "tests" / "golden" /
                      "tokenizer" / "small_wordpiece.gguf";
    return Tokenizer::load(ModelFile::open(path).value()).value();
  }();
  return *instance;
}

class EncoderApiTest : public ApiTest {
 protected:
  EncoderApiTest() {
    encoder.config = fake_encoder_config();
    encoder.config.vocab_size = word_piece_tokenizer().vocab_size();
  }
  void TearDown() override { stop_server(); }  // Before the engine it uses.

  // Before the first request.
  FakeEncoderOptions encoder;
  EmbeddingEngineOptions engine_options;
  void make_classifier(const std::vector<std::string>& labels, HeadActivation activation) {
    encoder.config.labels = labels;
    encoder.config.width = labels.size();
    encoder.config.head_activation = activation;
  }

  ModelRef tiny_model() override {
    embedder_ = EmbeddingEngine::start(std::make_unique<FakeEncoder>(encoder), engine_options,
                                       metrics().of_model("tiny"))
                    .value();
    ModelRef model = ApiTest::tiny_model();
    model.tokenizer = &word_piece_tokenizer();
    model.chat_template = nullptr;
    model.engine = nullptr;
    model.embedder = embedder_.get();
    model.shorter = encoder.config.shorter;
    return model;
  }
  EmbeddingEngine& embedder() { return *embedder_; }

  static std::vector<TokenId> ids_of(std::string_view text) {
    return word_piece_tokenizer().encode(text, true, SpecialText::kPlain);
  }
  // The vector that the encoder gives for these ids.
  std::vector<float> vector_of(const std::vector<TokenId>& ids) const {
    std::vector<float> out(encoder.config.width);
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = fake_output(ids, {}, i);
    return out;
  }

 private:
  std::unique_ptr<EmbeddingEngine> embedder_;
};

}  // namespace hearth::test
