// The API's handlers for encoders: from a typed request to its task for the engine.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "server/api_call.h"
#include "server/encoder_answer.h"
#include "server/encoder_format.h"
#include "server/encoder_input.h"
#include "server/encoder_request.h"

namespace hearth {
namespace {

HttpResponse json_text(std::string body, const EncoderAnswerHeader& header) {
  HttpResponse response;
  response.body = std::move(body);
  const auto num_truncated = std::ranges::count(header.truncated, true);
  // For the formats that have no place for it.
  if (num_truncated > 0) {
    response.headers.emplace_back("x-truncated-texts", std::to_string(num_truncated));
  }
  return response;
}

std::string item_path(const std::string& field, std::size_t idx, std::size_t num_items) {
  return num_items == 1 ? field : fmt::format("{}[{}]", field, idx);
}

// The text that goes in front of each input.
ApiResult<std::string> find_prompt(const EncoderConfig& config,
                                   const std::optional<std::string>& asked) {
  const std::string& name = asked.value_or(config.default_prompt);
  if (name.empty()) return std::string();
  const auto prompt = std::ranges::find(config.prompts, name, &EncoderPrompt::name);
  if (prompt != config.prompts.end()) return prompt->text;
  std::vector<std::string_view> names;
  names.reserve(config.prompts.size());
  for (const EncoderPrompt& known : config.prompts)
    names.push_back(known.name);
  return std::unexpected(invalid_field(
      "prompt_name", "invalid_value",
      fmt::format("This model has no prompt '{}'; it has: {}.", name.substr(0, 64),
                  names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")))));
}

// The lengths of vectors that can be asked for.
std::string lengths_text(const ShorterVectors& shorter, std::size_t width) {
  std::vector<std::size_t> lengths = shorter.lengths;
  if (shorter.usual > 0) lengths.push_back(shorter.usual);
  lengths.push_back(width);
  std::ranges::sort(lengths);
  const auto repeated = std::ranges::unique(lengths);
  lengths.erase(repeated.begin(), repeated.end());
  return fmt::format("{}", fmt::join(lengths, ", "));
}

ApiError refused_length(const ShorterVectors& shorter, std::size_t length, std::size_t width) {
  if (length > width) {
    return invalid_field(
        "dimensions", "value_out_of_range",
        fmt::format("'dimensions' is {}, but this model's vectors have {}.", length, width));
  }
  if (shorter.lengths.empty() && shorter.usual == 0) {
    return invalid_field(
        "dimensions", "unsupported_parameter",
        fmt::format("This model's files do not say that its vectors may be shortened (Matryoshka), "
                    "and of other models the first numbers mean little: leave 'dimensions' out, or "
                    "set it to {}. If it was trained for it, start the server with "
                    "--matryoshka-dimensions.",
                    width));
  }
  return invalid_field("dimensions", "invalid_value",
                       fmt::format("'dimensions' is {}, but this model's vectors may have {}.",
                                   length, lengths_text(shorter, width)));
}

ApiResult<VectorShape> find_shape(const ModelRef& model, const EmbeddingsRequest& request) {
  const EncoderConfig& config = model.embedder->config();
  const ShorterVectors& shorter = model.shorter;
  const std::size_t usual = shorter.usual > 0 ? shorter.usual : config.width;
  const std::size_t length = request.dimensions.value_or(usual);
  if (request.normalize == false && config.normalize) {
    return std::unexpected(
        invalid_field("normalize", "unsupported_parameter",
                      "This model's vectors have length 1: their own lengths are not known."));
  }
  const bool whole = length == config.width;
  if (!whole && (length > config.width || !shorter.allow(length))) {
    return std::unexpected(refused_length(shorter, length, config.width));
  }
  // What was cut is made as long again as the model's own vectors are.
  const bool normalize = request.normalize.value_or(false) || config.normalize;
  return VectorShape{.dimensions = length, .normalize = normalize && !(whole && config.normalize)};
}

EncoderAnswerHeader header_of(const std::string& model_name, PreparedInputs& prepared) {
  return {.model = model_name,
          .num_tokens = prepared.num_tokens,
          .truncated = std::move(prepared.truncated)};
}

// The texts of a request for vectors or labels.
ApiResult<PreparedInputs> prepare_texts(InputPreparer preparer,
                                        const std::vector<PromptInput>& inputs,
                                        const std::string& field, std::string_view prompt = "") {
  if (auto fits = preparer.check(); !fits) return std::unexpected(fits.error());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    auto added = preparer.add(inputs[i], prompt, item_path(field, i, inputs.size()));
    if (!added) return std::unexpected(added.error());
  }
  return preparer.take();
}

ApiResult<PreparedInputs> prepare_documents(InputPreparer preparer, const RerankRequest& request) {
  if (auto fits = preparer.check(); !fits) return std::unexpected(fits.error());
  if (auto fits = preparer.check_text(request.query, "query"); !fits) {
    return std::unexpected(fits.error());
  }
  for (std::size_t i = 0; i < request.documents.size(); ++i) {
    auto added = preparer.add_pair(request.query, request.documents[i],
                                   fmt::format("{}[{}]", request.field, i));
    if (!added) return std::unexpected(added.error());
  }
  return preparer.take();
}

ApiResult<PreparedInputs> prepare_predict(InputPreparer preparer, const PredictRequest& request) {
  if (auto fits = preparer.check(); !fits) return std::unexpected(fits.error());
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    const PredictRequest::Input& input = request.inputs[i];
    const std::string path = item_path("inputs", i, request.inputs.size());
    auto added = input.second ? preparer.add_pair(input.text, *input.second, path)
                              : preparer.add(PromptInput(input.text), "", path);
    if (!added) return std::unexpected(added.error());
  }
  return preparer.take();
}

std::optional<ApiError> needs_labels(const ModelRef& model, std::string_view name) {
  if (model.embedder->config().is_classifier()) return std::nullopt;
  return wrong_model(model, name, "it gives vectors and has no labels");
}

std::optional<ApiError> needs_one_label(const ModelRef& model, std::string_view name) {
  const std::size_t num_labels = model.embedder->config().labels.size();
  if (num_labels == 1) return std::nullopt;
  if (num_labels == 0) return needs_labels(model, name);
  return wrong_model(model, name,
                     fmt::format("it has {} labels, not one score for a pair", num_labels));
}

}  // namespace

ApiError wrong_model(const ModelRef& model, std::string_view name, std::string_view reason) {
  return invalid_field("model", "unsupported_model",
                       fmt::format("The model '{}' cannot do this: {}. It can be asked for: {}.",
                                   name, reason, fmt::join(model.capabilities(), ", ")));
}

// Vectors in one of the two formats.
void Api::encode_vectors(Call& call, const ApiResult<EmbeddingsRequest>& request,
                         VectorsBody body) {
  if (!request) return reject(call, request.error());
  const ModelRef& model = *call.model;
  const EncoderConfig& config = model.embedder->config();
  if (config.is_classifier()) {
    return reject(call, wrong_model(model, call.model_name, "it gives scores, not vectors"));
  }
  const auto shape = find_shape(model, *request);
  if (!shape) return reject(call, shape.error());
  const auto prompt = find_prompt(config, request->prompt_name);
  if (!prompt) return reject(call, prompt.error());
  auto prepared = prepare_texts({model, request->truncation, call.stop.get_token()},
                                request->inputs, request->field, *prompt);
  if (!prepared) return reject(call, prepared.error());
  EncoderTask task;
  task.request.inputs = std::move(prepared->inputs);
  task.format = [header = header_of(call.model_name, *prepared), shape = *shape,
                 width = config.width, body = std::move(body)](std::vector<float> rows) {
    shape_vectors(rows, width, shape);
    return json_text(body(header, rows), header);
  };
  start_encoding(call, std::move(task));
}

void Api::embeddings(Call& call) {
  const auto request = parse_embeddings_request(call.body, call.model->tokenizer->vocab_size());
  const VectorEncoding encoding = request ? request->encoding : VectorEncoding::kFloat;
  encode_vectors(call, request, [encoding](const auto& header, const auto& rows) {
    return embeddings_body(header, rows, encoding);
  });
}

void Api::embed(Call& call) {
  const auto request = parse_embed_request(call.body, call.model->tokenizer->vocab_size());
  encode_vectors(call, request, embed_body);
}

void Api::rerank(Call& call) {
  const ModelRef& model = *call.model;
  if (auto error = needs_one_label(model, call.model_name)) return reject(call, *error);
  auto request = parse_rerank_request(call.body);
  if (!request) return reject(call, request.error());
  auto prepared = prepare_documents({model, request->truncation, call.stop.get_token()}, *request);
  if (!prepared) return reject(call, prepared.error());
  EncoderTask task;
  task.request.inputs = std::move(prepared->inputs);
  task.format = [header = header_of(call.model_name, *prepared),
                 request = *std::move(request)](const std::vector<float>& rows) {
    return json_text(rerank_body(header, request, rows), header);
  };
  start_encoding(call, std::move(task));
}

void Api::classify(Call& call) {
  const ModelRef& model = *call.model;
  if (auto error = needs_labels(model, call.model_name)) return reject(call, *error);
  auto request = parse_classify_request(call.body, model.tokenizer->vocab_size());
  if (!request) return reject(call, request.error());
  auto prepared =
      prepare_texts({model, request->truncation, call.stop.get_token()}, request->inputs, "input");
  if (!prepared) return reject(call, prepared.error());
  EncoderTask task;
  task.request.inputs = std::move(prepared->inputs);
  task.format = [header = header_of(call.model_name, *prepared), &config = model.embedder->config(),
                 raw = request->raw_scores](const std::vector<float>& rows) {
    return json_text(classify_body(header, config, rows, raw), header);
  };
  start_encoding(call, std::move(task));
}

void Api::predict(Call& call) {
  const ModelRef& model = *call.model;
  if (auto error = needs_labels(model, call.model_name)) return reject(call, *error);
  auto request = parse_predict_request(call.body);
  if (!request) return reject(call, request.error());
  auto prepared = prepare_predict({model, request->truncation, call.stop.get_token()}, *request);
  if (!prepared) return reject(call, prepared.error());
  EncoderTask task;
  task.request.inputs = std::move(prepared->inputs);
  task.format = [header = header_of(call.model_name, *prepared), &config = model.embedder->config(),
                 request = *std::move(request)](const std::vector<float>& rows) {
    return json_text(predict_body(config, rows, request), header);
  };
  start_encoding(call, std::move(task));
}

void Api::start_encoding(Call& call, EncoderTask task) {
  task.model = call.model;
  task.workers = &workers_;
  task.request.arrival = call.request.arrival;
  const auto shared = std::make_shared<EncoderTask>(std::move(task));
  call.exchange->post(
      [shared, exchange = call.exchange] { EncoderAnswer::start(std::move(*shared), exchange); });
}

}  // namespace hearth
