#include "server/api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include "base/build_info.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "server/admin.h"
#include "server/api_call.h"
#include "server/api_request.h"
#include "server/prompt.h"
#include "server/request_schemas.h"
#include "server/routes.h"

namespace hearth {
namespace {

HttpResponse json_response(const json::Value& body) {
  HttpResponse response;
  response.body = json::dump(body);
  return response;
}

json::Value count(std::size_t value) {
  return static_cast<std::int64_t>(value);
}

void append_shorter(const ShorterVectors& shorter, json::Object& out) {
  if (shorter.usual > 0) out.append("truncate_dim", count(shorter.usual));
  if (shorter.any) out.append("is_matryoshka", true);
  if (shorter.lengths.empty()) return;
  json::Array lengths;
  for (const std::size_t length : shorter.lengths)
    lengths.push_back(count(length));
  out.append("matryoshka_dimensions", std::move(lengths));
}

json::Value encoder_meta_json(const ModelRef& model) {
  const EncoderConfig& config = model.embedder->config();
  json::Object out{{"n_ctx", count(model.max_model_len())},
                   {"n_ctx_train", count(config.max_tokens)},
                   {"n_vocab", count(model.tokenizer->vocab_size())}};
  if (!config.is_classifier()) {
    out.append("n_embd", count(config.width));
    append_shorter(model.shorter, out);
  } else {
    out.append("labels", json::Array(config.labels.begin(), config.labels.end()));
  }
  if (!model.encoder_precision.empty()) out.append("encoder_precision", model.encoder_precision);
  out.append("architecture", config.architecture);
  return out;
}

// Facts of a loaded model.
json::Value meta_json(const ModelRef& model) {
  if (model.embedder != nullptr) return encoder_meta_json(model);
  const ModelConfig& config = model.engine->model_config();
  return json::Object{{"n_ctx", count(model.engine->max_model_len())},
                      {"n_ctx_train", count(config.context_len)},
                      {"n_vocab", count(model.tokenizer->vocab_size())},
                      {"n_embd", count(config.hidden_size)},
                      {"n_layer", count(config.num_layers)},
                      {"architecture", config.architecture}};
}

// One of the names of a model, which have an entry each.
json::Value model_json(const ModelStatus& model, const std::string& name) {
  json::Object out{{"id", name},
                   {"object", "model"},
                   {"created", model.lease ? model.lease->created : 0},
                   {"owned_by", "hearth"},
                   {"root", model.names.front()},
                   {"parent", nullptr},
                   {"status", model_state_name(model.state)},
                   {"memory_bytes", static_cast<std::int64_t>(model.memory_bytes)}};
  if (!model.failure.empty()) out.append("failure", model.failure);
  if (model.lease == nullptr) return out;
  const auto capabilities = model.lease->capabilities();
  out.append("capabilities", json::Array(capabilities.begin(), capabilities.end()));
  out.append("precision", model.lease->precision);
  out.append("max_model_len", count(model.lease->max_model_len()));
  out.append("meta", meta_json(*model.lease));
  return out;
}

ApiError loading() {
  return unavailable("loading", "The model is still loading.");
}

// Nothing can be answered yet, but soon.
bool still_loading(const std::vector<ModelStatus>& models) {
  return std::ranges::all_of(
      models, [](const ModelStatus& model) { return model.state == ModelState::kLoading; });
}

json::Value ids_json(const std::vector<TokenId>& ids) {
  json::Array out;
  for (const TokenId id : ids)
    out.emplace_back(std::int64_t{id});
  return out;
}

// An echo is repeated in each of n answers: a short request could ask for gigabytes.
std::optional<ApiError> check_echo(const GenerationJob& job) {
  if (!job.echo) return std::nullopt;
  std::size_t num_tokens = 0;
  for (const PreparedPrompt& prompt : job.prompts)
    num_tokens += prompt.ids.size() * job.params.num_choices;
  if (num_tokens <= kMaxEchoedTokens) return std::nullopt;
  return invalid_field("echo", "value_out_of_range",
                       fmt::format("'echo' would repeat {} prompt tokens in all answers together, "
                                   "but at most {} are allowed.",
                                   num_tokens, kMaxEchoedTokens));
}

}  // namespace

std::function<void(HttpResponse)> Api::responder(const Call& call) {
  return [exchange = call.exchange](const HttpResponse& response) {
    exchange->post([exchange, response] { exchange->respond(response); });
  };
}

struct Api::Route {
  RouteInfo info;
  Handler handler;
  Need need = Need::kNothing;
  bool for_admins = false;
};

const std::vector<Api::Route>& Api::routes() {
  constexpr bool kAdmins = true;
  using enum Need;
  static const std::vector<Route> table = {
      {{"POST", "/v1/chat/completions", "Answer a conversation.", chat_schema},
       &Api::chat,
       kGenerator},
      {{"POST", "/chat/completions", "The same.", chat_schema}, &Api::chat, kGenerator},
      {{"POST", "/v1/completions", "Continue a text.", completion_schema},
       &Api::completion,
       kGenerator},
      {{"POST", "/completions", "The same.", completion_schema}, &Api::completion, kGenerator},
      {{"POST", "/v1/embeddings", "Vectors of texts.", embedding_schema},
       &Api::embeddings,
       kEncoder},
      {{"POST", "/embeddings", "The same.", embedding_schema}, &Api::embeddings, kEncoder},
      {{"POST", "/embed", "The same, as text-embeddings-inference has it.", embed_schema},
       &Api::embed,
       kEncoder},
      {{"POST", "/v1/rerank", "Documents by how well they fit a query.", rerank_schema},
       &Api::rerank,
       kEncoder},
      {{"POST", "/v2/rerank", "The same.", rerank_schema}, &Api::rerank, kEncoder},
      {{"POST", "/rerank", "The same.", rerank_schema}, &Api::rerank, kEncoder},
      {{"POST", "/v1/classify", "Labels of texts.", classify_schema}, &Api::classify, kEncoder},
      {{"POST", "/classify", "The same.", classify_schema}, &Api::classify, kEncoder},
      {{"POST", "/predict", "The same, as text-embeddings-inference has it.", predict_schema},
       &Api::predict,
       kEncoder},
      {{"GET", "/v1/models", "The models served.", nullptr}, &Api::models},
      {{"GET", "/models", "The same.", nullptr}, &Api::models},
      {{"GET", "/v1/models/{id}", "One model.", nullptr}, &Api::one_model},
      {{"POST", "/tokenize", "Token ids of a text or conversation.", tokenize_schema},
       &Api::tokenize,
       kModel},
      {{"POST", "/detokenize", "Text of token ids.", detokenize_schema}, &Api::detokenize, kModel},
      {{"GET", "/tokenizer_info", "Special tokens and chat template.", nullptr},
       &Api::tokenizer_info,
       kModel},
      {{"GET", "/health", "Liveness: 503 when the engine is stuck.", nullptr}, &Api::health},
      {{"GET", "/readyz", "Readiness: 503 while loading or draining.", nullptr}, &Api::ready},
      {{"GET", "/healthz", "Generates one token with every loaded model.", nullptr}, &Api::probe},
      {{"GET", "/metrics", "Prometheus metrics.", nullptr}, &Api::metrics_text, kWorker},
      {{"GET", "/admin/models", "Models and their memory; needs the admin token.", nullptr},
       &Api::admin_models,
       kNothing,
       kAdmins},
      {{"POST", "/admin/models/load", "Load a model; needs the admin token.", admin_load_schema},
       &Api::load_model,
       kWorker,
       kAdmins},
      {{"POST", "/admin/models/unload", "Unload a model; needs the admin token.",
        admin_unload_schema},
       &Api::unload_model,
       kWorker,
       kAdmins},
      {{"GET", "/openapi.json", "This description.", nullptr}, &Api::openapi},
      {{"GET", "/docs", "This description as a page.", nullptr}, &Api::docs},
      {{"GET", "/", "Where to look.", nullptr}, &Api::index},
  };
  return table;
}

Api::Api(const ApiOptions& options, ModelPool& models, Metrics& metrics)
    : options_(options),
      pool_(models),
      metrics_(metrics),
      health_probes_(options.health_probe_ttl),
      workers_(options.num_workers, options.max_waiting_for_worker) {}

Api::~Api() {
  shutdown_.request_stop();
  pool_.close();
}

void Api::fail_answers() {
  shutdown_.request_stop();
  pool_.stop_answers();
}

void Api::handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
  if (request.method == "OPTIONS") {
    answer_options(request.path, *exchange);
    return;
  }
  if (const auto refusal = check_host(request, options_.host)) {
    exchange->respond(error_response(*refusal));
    return;
  }
  std::vector<std::string_view> allowed;
  std::string id;
  for (const Route& route : routes()) {
    if (!match_route(route.info.path, request.path, id)) continue;
    const bool same = request.method == route.info.method ||
                      (request.method == "HEAD" && route.info.method == "GET");
    if (!same) {
      allowed.push_back(route.info.method);
      continue;
    }
    exchange->set_route(route.info.path);
    dispatch(route, {std::move(request), std::move(exchange), std::move(id),
                     route.need != Need::kNothing});
    return;
  }
  if (allowed.empty()) {
    exchange->respond(error_response(
        {404, "not_found", "There is nothing at this path; see GET /docs.", "", std::nullopt}));
    return;
  }
  HttpResponse response = error_response(
      {405, "method_not_allowed",
       fmt::format("This path answers {} only.", fmt::join(allowed, ", ")), "", std::nullopt});
  response.headers.emplace_back("allow", fmt::format("{}", fmt::join(allowed, ", ")));
  exchange->respond(std::move(response));
}

void Api::dispatch(const Route& route, Call call) {
  if (route.for_admins) {
    if (const auto refusal = check_admin(call.request, options_.admin_token)) {
      HttpResponse response = error_response(*refusal);
      if (refusal->status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
      return call.respond(std::move(response));
    }
  }
  if (route.need == Need::kNothing) {
    (this->*route.handler)(call);
    return;
  }
  const auto shared = std::make_shared<Call>(std::move(call));
  shared->exchange->on_disconnect([stop = shared->stop]() mutable { stop.request_stop(); });
  shared->on_shutdown = std::make_unique<std::stop_callback<std::function<void()>>>(
      shutdown_.get_token(), [stop = shared->stop]() mutable { stop.request_stop(); });
  if (route.need != Need::kWorker) {
    post_to_worker(shared, [this, shared, &route] { run_with_model(shared, route); });
  } else {
    post_to_worker(shared, [this, shared, handler = route.handler] { (this->*handler)(*shared); });
  }
}

void Api::post_to_worker(const std::shared_ptr<Call>& call, std::function<void()> task) {
  const bool queued =
      workers_.try_post(std::move(task), [this, call](const std::exception& exception) {
        log::error("a request failed while it was read: {}", exception.what());
        reject(*call,
               unavailable("overloaded", "The server has not enough memory for this request now."));
      });
  if (queued) return;
  reject(*call,
         unavailable("overloaded", fmt::format("{} requests are waiting already, the most allowed.",
                                               options_.max_waiting_for_worker)));
}

// False when the call has been answered.
bool Api::parse_body(Call& call) {
  auto body = parse_json_object(call.request.body);
  if (!body) {
    reject(call, body.error());
    return false;
  }
  call.body = *std::move(body);
  return true;
}

// On a worker. A model that must be loaded first holds no worker up: the rest comes when it is
// there.
void Api::run_with_model(const std::shared_ptr<Call>& call, const Route& route) {
  if (call->request.method == "POST") {
    if (!parse_body(*call)) return;
    auto name = requested_model(call->body);
    if (!name) return reject(*call, name.error());
    call->model_name = *std::move(name);
  } else {
    call->model_name = query_value(call->request.query, "model");
  }
  const auto run = [this, call, &route](ApiResult<ModelLease> lease) {
    if (!lease) return reject(*call, lease.error());
    call->model = *std::move(lease);
    if (call->model_name.empty()) call->model_name = call->model->name;
    if (auto error = check_purpose(*call, route.need)) {
      reject(*call, *error);
    } else {
      (this->*route.handler)(*call);
    }
    call->model.reset();  // Whatever answers has a lease of its own.
  };
  auto lease = pool_.acquire(call->model_name,
                             {.stop = call->stop.get_token(),
                              .on_lease = [this, call, run](const ApiResult<ModelLease>& late) {
                                post_to_worker(call, [run, late] { run(late); });
                              }});
  if (lease) run(*std::move(lease));
}

std::optional<ApiError> Api::check_purpose(const Call& call, Need need) {
  const bool is_encoder = call.model->embedder != nullptr;
  if (need == Need::kModel || is_encoder == (need == Need::kEncoder)) return std::nullopt;
  return wrong_model(
      *call.model, call.model_name,
      is_encoder ? "it reads texts and does not write any" : "it writes texts and is no encoder");
}

void Api::answer_options(std::string_view path, HttpExchange& exchange) const {
  std::string methods = "OPTIONS", id;
  for (const Route& route : routes()) {
    if (match_route(route.info.path, path, id)) methods += fmt::format(", {}", route.info.method);
  }
  HttpResponse response;
  response.status = 204;
  response.content_type.clear();
  response.headers.emplace_back("allow", methods);
  if (!options_.host.cors_origin.empty()) {
    response.headers.emplace_back("access-control-allow-methods", methods);
    response.headers.emplace_back("access-control-allow-headers",
                                  "authorization, content-type, x-request-id");
    response.headers.emplace_back("access-control-max-age", "600");
  }
  exchange.respond(std::move(response));
}

void Api::reject(Call& call, const ApiError& error) {
  RejectionReason reason = RejectionReason::kInvalid;
  if (error.code == "context_length_exceeded") reason = RejectionReason::kTooLong;
  if (error.code == "overloaded") reason = RejectionReason::kQueueFull;
  if (error.code == "loading") reason = RejectionReason::kUnavailable;
  const auto& rejected =
      call.model ? metrics_.of_model(call.model->name).request.rejected : metrics_.pool.rejected;
  rejected[reason].increment();
  call.respond(error_response(error));
}

void Api::chat(Call& call) {
  auto request = parse_chat_request(call.body, call.model->tokenizer->vocab_size(),
                                    call.model->sampling_defaults);
  if (!request) return reject(call, request.error());
  auto prompt =
      prepare_chat(*call.model, request->input, {.must_fit = true, .stop = call.stop.get_token()});
  if (!prompt) return reject(call, prompt.error());
  GenerationJob job;
  job.kind = AnswerKind::kChat;
  job.prompts.push_back(*std::move(prompt));
  job.params = std::move(request->params);
  start_generation(call, std::move(job));
}

void Api::completion(Call& call) {
  auto request = parse_completion_request(call.body, call.model->tokenizer->vocab_size(),
                                          call.model->sampling_defaults);
  if (!request) return reject(call, request.error());
  GenerationJob job;
  job.kind = AnswerKind::kCompletion;
  job.echo = request->echo;
  if (const std::size_t most = call.model->engine->max_queued_requests();
      request->prompts.size() > most) {
    return reject(call, invalid_field("prompt", "value_out_of_range",
                                      fmt::format("'prompt' holds {} prompts, but this server "
                                                  "queues at most {} requests at once.",
                                                  request->prompts.size(), most)));
  }
  for (const PromptInput& input : request->prompts) {
    auto prompt = prepare_text(*call.model, input, request->add_special_tokens,
                               {.must_fit = true, .stop = call.stop.get_token()});
    if (!prompt) return reject(call, prompt.error());
    job.prompts.push_back(*std::move(prompt));
  }
  job.params = std::move(request->params);
  start_generation(call, std::move(job));
}

void Api::start_generation(Call& call, GenerationJob job) {
  if (auto error = check_echo(job)) return reject(call, *error);
  for (const PreparedPrompt& prompt : job.prompts) {
    const auto fits = check_prompt_length(*call.model, prompt, job.params);
    if (!fits) return reject(call, fits.error());
  }
  job.model = call.model;
  job.model_name = call.model_name;
  job.arrival = call.request.arrival;
  job.keep_alive = options_.sse_keep_alive;
  const auto shared = std::make_shared<GenerationJob>(std::move(job));
  call.exchange->post(
      [shared, exchange = call.exchange] { Generation::start(std::move(*shared), exchange); });
}

void Api::tokenize(Call& call) {
  auto request = parse_tokenize_request(call.body);
  if (!request) return reject(call, request.error());
  const auto* chat = std::get_if<ChatInput>(&request->input);
  const PromptOptions options{.stop = call.stop.get_token()};
  const auto prompt = chat != nullptr
                          ? prepare_chat(*call.model, *chat, options)
                          : prepare_text(*call.model, std::get<std::string>(request->input),
                                         request->add_special_tokens, options);
  if (!prompt) return reject(call, prompt.error());
  json::Object out{{"count", static_cast<std::int64_t>(prompt->ids.size())},
                   {"max_model_len", static_cast<std::int64_t>(call.model->max_model_len())},
                   {"tokens", ids_json(prompt->ids)}};
  if (request->return_texts) {
    json::Array texts;
    for (const TokenId id : prompt->ids)
      texts.emplace_back(call.model->tokenizer->piece(id));
    out.append("token_strs", std::move(texts));
  }
  call.respond(json_response(std::move(out)));
}

void Api::detokenize(Call& call) {
  const auto request = parse_detokenize_request(call.body, call.model->tokenizer->vocab_size());
  if (!request) return reject(call, request.error());
  const std::string text = call.model->tokenizer->decode(request->tokens, /*render_control=*/true);
  call.respond(json_response(json::Object{{"prompt", utf8::sanitize(text)}}));
}

// Kubernetes' runtimes for other servers ask this path whether a pod is ready.
void Api::models(Call& call) {
  json::Array data;
  const std::vector<ModelStatus> models = pool_.list();
  if (still_loading(models)) return reject(call, loading());
  for (const ModelStatus& model : models) {
    for (const std::string& name : model.names)
      data.push_back(model_json(model, name));
  }
  call.respond(json_response(json::Object{{"object", "list"}, {"data", std::move(data)}}));
}

void Api::one_model(Call& call) {
  const auto model = pool_.find(call.id);
  call.respond(model ? json_response(model_json(*model, call.id))
                     : error_response(no_such_model(pool_.list())));
}

// What evaluation harnesses ask before they send token ids.
void Api::tokenizer_info(Call& call) {
  const SpecialTokens& special = call.model->tokenizer->special();
  const auto text = [&call](std::optional<TokenId> id) {
    return id ? json::Value(call.model->tokenizer->piece(*id)) : json::Value();
  };
  json::Value chat_template;
  if (call.model->chat_template != nullptr) chat_template = call.model->chat_template->source();
  call.respond(json_response(
      json::Object{{"tokenizer_class", call.model->tokenizer->description()},
                   {"model_max_length", static_cast<std::int64_t>(call.model->max_model_len())},
                   {"bos_token", text(special.bos)},
                   {"eos_token", text(special.eos)},
                   {"unk_token", text(special.unknown)},
                   {"pad_token", text(special.padding)},
                   {"add_bos_token", special.add_bos},
                   {"add_eos_token", special.add_eos},
                   {"chat_template", std::move(chat_template)}}));
}

void Api::health(Call& call) {
  const std::vector<ModelStatus> models = pool_.list();
  for (const ModelStatus& model : models) {
    if (model.lease == nullptr || model.lease->healthy()) continue;
    call.respond(error_response(unavailable(
        "unhealthy", fmt::format("The engine of '{}' makes no progress.", model.names.front()))));
    return;
  }
  call.respond(json_response(json::Object{{"status", still_loading(models) ? "loading" : "ok"}}));
}

void Api::ready(Call& call) {
  if (draining_) {
    call.respond(error_response(unavailable("draining", "The server is shutting down.")));
  } else if (still_loading(pool_.list())) {
    call.respond(error_response(loading()));
  } else {
    call.respond(json_response(json::Object{{"status", "ready"}}));
  }
}

// Of the loaded models, or of the one that the query names.
void Api::probe(Call& call) {
  const std::string name = query_value(call.request.query, "model");
  std::vector<ModelStatus> models;
  if (name.empty()) {
    models = pool_.list();
  } else if (auto model = pool_.find(name)) {
    models.push_back(*std::move(model));
  } else {
    return reject(call, no_such_model(pool_.list()));
  }
  if (still_loading(models)) return reject(call, loading());
  std::vector<ModelLease> leases;
  for (const ModelStatus& model : models) {
    if (model.lease != nullptr) leases.push_back(model.lease);
  }
  health_probes_.answer(leases, call.exchange);
}

void Api::metrics_text(Call& call) {
  for (const ModelStatus& model : pool_.list()) {
    if (model.lease == nullptr) continue;
    const EngineMetrics& engine = metrics_.of_model(model.lease->name).engine;
    engine.healthy.set(model.lease->healthy() ? 1 : 0);
    engine.last_step_age.set(std::chrono::duration<double>(model.lease->since_last_step()).count());
  }
  HttpResponse response;
  response.content_type = std::string(Metrics::kContentType);
  response.body = metrics_.text();
  call.respond(std::move(response));
}

void Api::admin_models(Call& call) {
  call.respond(json_response(admin_models_json(pool_.list(), pool_.memory_bytes())));
}

void Api::load_model(Call& call) {
  if (parse_body(call)) admin_load(pool_, call.body, responder(call));
}

void Api::unload_model(Call& call) {
  if (parse_body(call)) admin_unload(pool_, call.body, responder(call));
}

void Api::openapi(Call& call) {
  std::vector<RouteInfo> infos;
  for (const Route& route : routes())
    infos.push_back(route.info);
  call.respond(json_response(openapi_document(infos, build_info().version)));
}

void Api::docs(Call& call) {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.body = std::string(docs_page());
  call.respond(std::move(response));
}

void Api::index(Call& call) {
  call.respond(json_response(json::Object{{"name", "hearth"},
                                          {"version", build_info().version},
                                          {"api", "/v1"},
                                          {"docs", "/docs"},
                                          {"openapi", "/openapi.json"}}));
}

}  // namespace hearth
