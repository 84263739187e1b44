#include "server/encoder_request.h"

#include <fmt/format.h>

#include <utility>

#include "server/request_schemas.h"
#include "server/schema.h"

namespace hearth {
namespace {

std::unexpected<ApiError> wrong_type(const std::string& path, std::string_view wanted,
                                     const json::Value& value) {
  return std::unexpected(invalid_field(
      path, "invalid_type",
      fmt::format("'{}' must be {}, but {} was given.", path, wanted, value.type_name())));
}

ApiResult<Truncation> read_truncation(const Fields& fields) {
  Truncation truncation;
  truncation.allowed = fields.boolean("truncate");
  if (!fields.has("truncate_prompt_tokens")) return truncation;
  const std::int64_t max_tokens = fields.integer("truncate_prompt_tokens");
  if (max_tokens == 0) {
    return std::unexpected(
        invalid_field("truncate_prompt_tokens", "value_out_of_range",
                      "'truncate_prompt_tokens' must be -1 or at least 1, but it is 0."));
  }
  truncation.allowed = true;
  if (max_tokens > 0) truncation.max_tokens = static_cast<std::size_t>(max_tokens);
  return truncation;
}

// The texts of a request to an encoder; a text without anything in it has no meaning.
ApiResult<std::vector<PromptInput>> read_texts(const Fields& fields, std::string_view name,
                                               std::size_t vocab_size) {
  API_ASSIGN_OR_RETURN(auto inputs,
                       text_or_ids_list({*fields.value(name), name, kMaxTexts}, vocab_size));
  const bool is_list = inputs.size() > 1;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool is_empty = std::visit([](const auto& value) { return value.empty(); }, inputs[i]);
    if (!is_empty) continue;
    const std::string path = is_list ? fmt::format("{}[{}]", name, i) : std::string(name);
    return std::unexpected(
        invalid_field(path, "empty_input", fmt::format("'{}' must not be empty.", path)));
  }
  return inputs;
}

ApiResult<EmbeddingsRequest> read_embeddings(const Fields& fields, std::string_view name,
                                             std::size_t vocab_size) {
  EmbeddingsRequest request;
  request.field = name;
  API_ASSIGN_OR_RETURN(request.inputs, read_texts(fields, name, vocab_size));
  API_ASSIGN_OR_RETURN(request.truncation, read_truncation(fields));
  if (fields.has("dimensions")) {
    request.dimensions = static_cast<std::size_t>(fields.integer("dimensions"));
  }
  if (fields.has("normalize")) request.normalize = fields.boolean("normalize");
  if (fields.has("prompt_name")) request.prompt_name = fields.text("prompt_name");
  return request;
}

// A document is a text, or an object that has one.
ApiResult<std::string> read_document(const json::Value& value, const std::string& path) {
  const json::Value* text = &value;
  if (const json::Object* object = value.as_object()) text = object->find("text");
  if (text == nullptr || text->as_string() == nullptr) {
    return wrong_type(path, "a string or an object with a 'text'", value);
  }
  return *text->as_string();
}

// Before a body of some megabytes becomes hours of tokenizing.
ApiResult<void> check_query(const std::string& query, std::size_t num_documents) {
  if (query.size() <= kMaxRepeatedQueryBytes / num_documents) return {};
  return std::unexpected(invalid_field(
      "query", "value_out_of_range",
      fmt::format("'query' has {} bytes, but with {} documents it may have at most {}.",
                  query.size(), num_documents, kMaxRepeatedQueryBytes / num_documents)));
}

}  // namespace

ApiResult<EmbeddingsRequest> parse_embeddings_request(const json::Value& body,
                                                      std::size_t vocab_size) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(embedding_schema(), *body.as_object()));
  API_ASSIGN_OR_RETURN(EmbeddingsRequest request, read_embeddings(fields, "input", vocab_size));
  const std::string format = fields.text("encoding_format");
  if (format == "base64") {
    request.encoding = VectorEncoding::kBase64;
  } else if (format != "float") {
    return std::unexpected(
        invalid_field("encoding_format", "invalid_value",
                      fmt::format("'encoding_format' must be float or base64, but it is '{}'.",
                                  format.substr(0, 32))));
  }
  return request;
}

ApiResult<EmbeddingsRequest> parse_embed_request(const json::Value& body, std::size_t vocab_size) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(embed_schema(), *body.as_object()));
  API_ASSIGN_OR_RETURN(EmbeddingsRequest request, read_embeddings(fields, "inputs", vocab_size));
  // What this format's own server does where nothing is asked.
  if (!request.normalize) request.normalize = true;
  return request;
}

ApiResult<RerankRequest> parse_rerank_request(const json::Value& body) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(rerank_schema(), *body.as_object()));
  RerankRequest request;
  request.is_tei = fields.has("texts");
  if (request.is_tei == fields.has("documents")) {
    return std::unexpected(
        invalid_field("documents", "invalid_combination", "Give either 'documents' or 'texts'."));
  }
  request.field = request.is_tei ? "texts" : "documents";
  request.query = fields.text("query");
  const json::Array& documents = *fields.value(request.field)->as_array();
  if (auto fits = check_query(request.query, documents.size()); !fits) {
    return std::unexpected(fits.error());
  }
  for (std::size_t i = 0; i < documents.size(); ++i) {
    API_ASSIGN_OR_RETURN(auto text,
                         read_document(documents[i], fmt::format("{}[{}]", request.field, i)));
    request.documents.push_back(std::move(text));
  }
  if (fields.has("top_n")) request.top_n = static_cast<std::size_t>(fields.integer("top_n"));
  request.return_documents =
      fields.boolean("return_documents") || (request.is_tei && fields.boolean("return_text"));
  request.raw_scores = fields.boolean("raw_scores");
  API_ASSIGN_OR_RETURN(request.truncation, read_truncation(fields));
  return request;
}

ApiResult<ClassifyRequest> parse_classify_request(const json::Value& body, std::size_t vocab_size) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(classify_schema(), *body.as_object()));
  ClassifyRequest request;
  API_ASSIGN_OR_RETURN(request.inputs, read_texts(fields, "input", vocab_size));
  request.raw_scores = !fields.boolean("use_activation");
  API_ASSIGN_OR_RETURN(request.truncation, read_truncation(fields));
  return request;
}

namespace {

// [text] or [text, text].
ApiResult<PredictRequest::Input> read_texts_of_one(const json::Array& texts,
                                                   const std::string& path) {
  if (texts.empty() || texts.size() > 2) {
    return std::unexpected(invalid_field(
        path, "value_out_of_range",
        fmt::format("'{}' must hold one text or a pair, but it has {}.", path, texts.size())));
  }
  for (const json::Value& text : texts) {
    if (text.as_string() == nullptr) return wrong_type(path, "a list of strings", text);
  }
  PredictRequest::Input input{.text = *texts[0].as_string(), .second = std::nullopt};
  if (texts.size() == 2) input.second = *texts[1].as_string();
  return input;
}

}  // namespace

ApiResult<PredictRequest> parse_predict_request(const json::Value& body) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(predict_schema(), *body.as_object()));
  PredictRequest request;
  request.raw_scores = fields.boolean("raw_scores");
  API_ASSIGN_OR_RETURN(request.truncation, read_truncation(fields));
  const json::Value& inputs = *fields.value("inputs");
  const json::Array single{inputs};
  const json::Array& list = inputs.as_array() != nullptr ? *inputs.as_array() : single;
  request.is_batch = !list.empty() && list.front().as_array() != nullptr;
  if (!request.is_batch) {
    API_ASSIGN_OR_RETURN(auto input, read_texts_of_one(list, "inputs"));
    request.inputs.push_back(std::move(input));
    return request;
  }
  if (list.size() > kMaxTexts) {
    return std::unexpected(invalid_field(
        "inputs", "value_out_of_range",
        fmt::format("'inputs' may hold at most {} texts, but it has {}.", kMaxTexts, list.size())));
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = fmt::format("inputs[{}]", i);
    const json::Array* texts = list[i].as_array();
    if (texts == nullptr) return wrong_type(path, "a list of strings", list[i]);
    API_ASSIGN_OR_RETURN(auto input, read_texts_of_one(*texts, path));
    request.inputs.push_back(std::move(input));
  }
  return request;
}

}  // namespace hearth
