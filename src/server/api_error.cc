#include "server/api_error.h"

#include <string_view>
#include <utility>

namespace hearth {
namespace {

constexpr int kRetryAfterSeconds = 1;

std::string_view error_type(const ApiError& error) {
  if (error.status == 503) return "overloaded_error";
  if (error.status >= 500) return "server_error";
  return "invalid_request_error";
}

}  // namespace

ApiError invalid_field(std::string param, std::string code, std::string message) {
  return {.status = 400,
          .code = std::move(code),
          .message = std::move(message),
          .param = std::move(param),
          .retry_after_s = std::nullopt};
}

ApiError unavailable(std::string code, std::string message) {
  return {.status = 503,
          .code = std::move(code),
          .message = std::move(message),
          .param = "",
          .retry_after_s = kRetryAfterSeconds};
}

ApiError to_api_error(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnimplemented:
      return invalid_field("", "invalid_request", status.message());
    case StatusCode::kOutOfRange:
      return invalid_field("", "context_length_exceeded", status.message());
    case StatusCode::kResourceExhausted:
      return unavailable("overloaded", status.message());
    case StatusCode::kDataLoss:  // Of the model's files, under the engine.
      return unavailable("model_failed", status.message());
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      return unavailable("unavailable", status.message());
    case StatusCode::kNotFound:
      return {404, "not_found", status.message(), "", std::nullopt};
    case StatusCode::kOk:
    case StatusCode::kInternal:
      break;
  }
  const bool numerical = status.message().contains("numerical_error");
  return {500, numerical ? "numerical_error" : "internal_error", status.message(), "",
          std::nullopt};
}

json::Value error_body(const ApiError& error) {
  json::Value param, code;
  if (!error.param.empty()) param = error.param;
  if (!error.code.empty()) code = error.code;
  json::Object body{{"message", error.message},
                    {"type", error_type(error)},
                    {"param", std::move(param)},
                    {"code", std::move(code)}};
  for (const json::Member& detail : error.details)
    body.append(detail.key, detail.value);
  return json::Object{{"error", std::move(body)}};
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response{.status = error.status,
                        .content_type = "application/json",
                        .headers = {},
                        .body = json::dump(error_body(error))};
  if (error.retry_after_s) {
    response.headers.emplace_back("retry-after", std::to_string(*error.retry_after_s));
  } else if (error.status >= 500) {
    // The official SDKs would send the same request twice more.
    response.headers.emplace_back("x-should-retry", "false");
  }
  return response;
}

}  // namespace hearth
