#include "server/admin.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/request_schemas.h"
#include "server/schema.h"

namespace hearth {
namespace {

// Compares all of it whatever differs, and the lengths besides.
bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const unsigned char expected = static_cast<unsigned char>(secret[i % secret.size()]);
    difference |= static_cast<unsigned char>(given[i]) ^ expected;
  }
  return difference == 0;
}

json::Value number(std::size_t value) {
  return static_cast<std::int64_t>(value);
}

json::Value status_json(const ModelStatus& model) {
  json::Array names;
  for (const std::string& name : model.names)
    names.emplace_back(name);
  json::Object out{{"model", model.names.front()},
                   {"names", std::move(names)},
                   {"source", model.source},
                   {"status", model_state_name(model.state)},
                   {"answers", number(model.num_answers)},
                   {"memory_bytes", number(model.memory_bytes)}};
  if (!model.failure.empty()) out.append("failure", model.failure);
  if (model.lease != nullptr) {
    out.append("idle_seconds", std::chrono::duration<double>(model.idle).count());
  }
  return out;
}

HttpResponse json_answer(int status, const json::Value& body) {
  HttpResponse response;
  response.status = status;
  response.body = json::dump(body);
  return response;
}

ApiError admin_error(const Status& status) {
  switch (status.code()) {
    case StatusCode::kNotFound:
      return {404, "model_not_found", status.message(), "model", std::nullopt};
    case StatusCode::kUnavailable:
      return {409, "model_busy", status.message(), "model", std::nullopt};
    case StatusCode::kResourceExhausted:
      return unavailable("no_memory", status.message());
    default:
      return {422, "model_invalid", status.message(), "model", std::nullopt};
  }
}

HttpResponse status_answer(int status, const ModelPool& models, const std::string& name) {
  const auto model = models.find(name);
  return model ? json_answer(status, status_json(*model))
               : error_response(no_such_model(models.list()));
}

struct AdminRequest {
  std::string model;
  bool wait = true;
  std::chrono::milliseconds patience{};
};

ApiResult<AdminRequest> parse_admin_request(const Schema& schema, const json::Value& body) {
  const auto fields = Fields::check(schema, *body.as_object());
  if (!fields) return std::unexpected(fields.error());
  AdminRequest request;
  request.model = fields->text("model");
  if (request.model.empty()) {
    return std::unexpected(invalid_field("model", "value_out_of_range", "'model' is empty."));
  }
  request.wait = fields->boolean("wait");
  if (schema.find("patience_seconds") != nullptr) {
    request.patience = std::chrono::milliseconds(
        static_cast<std::int64_t>(fields->number("patience_seconds") * 1000));
  }
  return request;
}

// Answers with what became of the model; nothing when nobody waits for that.
ModelPool::OnDone answer_when_done(ModelPool& models, const AdminRequest& request,
                                   const Respond& respond) {
  if (!request.wait) return nullptr;
  return [&models, name = request.model, respond](const Status& status) {
    respond(status.ok() ? status_answer(200, models, name) : error_response(admin_error(status)));
  };
}

}  // namespace

std::optional<ApiError> check_admin(const HttpRequest& request, std::string_view token) {
  if (token.empty()) {
    return ApiError{403, "admin_disabled",
                    "This server has no admin endpoints: it was started without an admin token.",
                    "", std::nullopt};
  }
  constexpr std::string_view kScheme = "Bearer ";
  const std::string* header = request.header("authorization");
  const bool is_bearer = header != nullptr && header->starts_with(kScheme);
  if (is_bearer && equal_in_constant_time(std::string_view(*header).substr(kScheme.size()), token))
    return std::nullopt;
  return ApiError{401, "invalid_admin_token",
                  "The admin endpoints need the admin token: 'Authorization: Bearer TOKEN'.", "",
                  std::nullopt};
}

json::Value admin_models_json(const std::vector<ModelStatus>& models, std::size_t budget_bytes) {
  std::size_t used_bytes = 0;
  json::Array list;
  for (const ModelStatus& model : models) {
    used_bytes += model.memory_bytes;
    list.push_back(status_json(model));
  }
  return json::Object{{"memory", json::Object{{"budget_bytes", number(budget_bytes)},
                                              {"used_bytes", number(used_bytes)}}},
                      {"models", std::move(list)}};
}

void admin_load(ModelPool& models, const json::Value& body, const Respond& respond) {
  const auto request = parse_admin_request(admin_load_schema(), body);
  if (!request) return respond(error_response(request.error()));
  models.load(request->model, answer_when_done(models, *request, respond));
  if (!request->wait) respond(status_answer(202, models, request->model));
}

void admin_unload(ModelPool& models, const json::Value& body, const Respond& respond) {
  const auto request = parse_admin_request(admin_unload_schema(), body);
  if (!request) return respond(error_response(request.error()));
  models.unload(request->model, request->patience, answer_when_done(models, *request, respond));
  if (!request->wait) respond(status_answer(202, models, request->model));
}

}  // namespace hearth
