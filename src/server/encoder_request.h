// Bodies of requests to encoders as typed values: everything checked but what only the model knows.
//
// Formats: OpenAI's embeddings, the rerank of Jina and Cohere, vLLM's classify, and embed, rerank
// and predict of text-embeddings-inference (TEI). The parse functions are pure and safe from any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/api_error.h"
#include "server/request_values.h"

namespace hearth {

// What becomes of texts longer than the model reads.
struct Truncation {
  bool allowed = false;                   // Else they are refused.
  std::optional<std::size_t> max_tokens;  // Cut to fewer than the model reads.
};

enum class VectorEncoding : std::uint8_t { kFloat, kBase64 };

struct EmbeddingsRequest {
  std::vector<PromptInput> inputs;
  std::string field;  // What `inputs` is called, for errors.
  VectorEncoding encoding = VectorEncoding::kFloat;
  std::optional<std::size_t> dimensions;
  std::optional<bool> normalize;
  std::optional<std::string> prompt_name;
  Truncation truncation;
};

struct RerankRequest {
  std::string query;
  std::vector<std::string> documents;
  std::string field;  // What `documents` is called, for errors.
  std::optional<std::size_t> top_n;
  bool return_documents = false;
  bool raw_scores = false;
  bool is_tei = false;  // Which shape the answer has.
  Truncation truncation;
};

struct ClassifyRequest {
  std::vector<PromptInput> inputs;
  bool raw_scores = false;
  Truncation truncation;
};

struct PredictRequest {
  struct Input {
    std::string text;
    std::optional<std::string> second;  // Of a pair.
  };
  std::vector<Input> inputs;
  bool is_batch = false;  // Else there is one, and its scores are the answer.
  bool raw_scores = false;
  Truncation truncation;
};

// `vocab_size` bounds every token id.
ApiResult<EmbeddingsRequest> parse_embeddings_request(const json::Value& body,
                                                      std::size_t vocab_size);
ApiResult<EmbeddingsRequest> parse_embed_request(const json::Value& body, std::size_t vocab_size);
ApiResult<RerankRequest> parse_rerank_request(const json::Value& body);
ApiResult<ClassifyRequest> parse_classify_request(const json::Value& body, std::size_t vocab_size);
ApiResult<PredictRequest> parse_predict_request(const json::Value& body);

}  // namespace hearth
