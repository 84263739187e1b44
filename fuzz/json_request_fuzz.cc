// Any body for each endpoint: a typed request within its limits, or a 400 that can be sent.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "server/api_request.h"
#include "server/encoder_request.h"
#include "server/request_schemas.h"
#include "server/schema.h"

namespace {

constexpr std::size_t kVocabSize = 300;

template <typename Request>
void check(const hearth::ApiResult<Request>& result) {
  if (result) return;
  HEARTH_CHECK(result.error().status == 400 && !result.error().message.empty());
  HEARTH_CHECK(hearth::json::parse(hearth::error_response(result.error()).body).has_value());
}

void check_params(const hearth::GenerationParams& params) {
  HEARTH_CHECK(params.num_choices >= 1 && params.num_choices <= hearth::kMaxChoices);
  HEARTH_CHECK(params.sampling.temperature >= 0 && params.sampling.temperature <= 2);
  HEARTH_CHECK(params.sampling.top_p > 0 || params.sampling.top_p <= 1);
  HEARTH_CHECK(params.stop.size() <= hearth::kMaxStopStrings);
  HEARTH_CHECK(params.sampling.logit_bias.size() <= hearth::kMaxLogitBias);
  for (const auto& [id, bias] : params.sampling.logit_bias)
    HEARTH_CHECK(id >= 0 && static_cast<std::size_t>(id) < kVocabSize && bias >= -100 &&
                 bias <= 100);
}

void check_encoder_requests(const hearth::json::Value& body) {
  const auto embeddings = hearth::parse_embeddings_request(body, kVocabSize);
  check(embeddings);
  if (embeddings) {
    HEARTH_CHECK(!embeddings->inputs.empty() && embeddings->inputs.size() <= hearth::kMaxTexts);
  }
  check(hearth::parse_embed_request(body, kVocabSize));
  const auto rerank = hearth::parse_rerank_request(body);
  check(rerank);
  if (rerank) {
    HEARTH_CHECK(!rerank->documents.empty() && rerank->documents.size() <= hearth::kMaxDocuments);
  }
  check(hearth::parse_classify_request(body, kVocabSize));
  const auto predict = hearth::parse_predict_request(body);
  check(predict);
  if (predict) HEARTH_CHECK(!predict->inputs.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed =
      hearth::parse_json_object(std::string_view(reinterpret_cast<const char*>(data), size));
  check(parsed);
  if (!parsed) return 0;
  const hearth::json::Value& body = *parsed;
  check(hearth::requested_model(body));
  const auto chat = hearth::parse_chat_request(body, kVocabSize);
  check(chat);
  if (chat) check_params(chat->params);
  const auto completion = hearth::parse_completion_request(body, kVocabSize);
  check(completion);
  if (completion) {
    check_params(completion->params);
    HEARTH_CHECK(!completion->prompts.empty() && completion->prompts.size() <= hearth::kMaxPrompts);
  }
  check_encoder_requests(body);
  check(hearth::parse_tokenize_request(body));
  check(hearth::parse_detokenize_request(body, kVocabSize));
  return 0;
}
