// Errors as API clients see them: an HTTP status and OpenAI's error object.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "server/http_message.h"

namespace hearth {

// A value; free to copy between threads.
struct ApiError {
  int status = 400;
  std::string code;                  // "value_out_of_range", "context_length_exceeded", ...
  std::string message;               // One sentence for the client.
  std::string param;                 // The field at fault, e.g. "messages[2].role"; empty: none.
  std::optional<int> retry_after_s;  // Sent as Retry-After; unset: not worth retrying (5xx say so).
  json::Object details = {};         // Further members of the error object.
};

template <typename T>
using ApiResult = std::expected<T, ApiError>;

// A 400 that names the field.
ApiError invalid_field(std::string param, std::string code, std::string message);
// A 503 with Retry-After.
ApiError unavailable(std::string code, std::string message);
// What the engine says, in the words of the API.
ApiError to_api_error(const Status& status);

// {"error": {"message", "type", "param", "code"}}
json::Value error_body(const ApiError& error);
HttpResponse error_response(const ApiError& error);

}  // namespace hearth
