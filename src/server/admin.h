// The endpoints of whoever operates the server: which models are in memory, and loading and
// unloading them. What they do, apart from HTTP's routes.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "server/api_error.h"
#include "server/http_message.h"
#include "server/model_pool.h"

namespace hearth {

// Why a request may not use them: 403 when `token` is empty (nobody may), 401 when its bearer token
// is another one. How long the comparison takes tells nothing about the token.
std::optional<ApiError> check_admin(const HttpRequest& request, std::string_view token);

// All models and the memory they share.
json::Value admin_models_json(const std::vector<ModelStatus>& models, std::size_t budget_bytes);

using Respond = std::function<void(HttpResponse)>;

// `body` is an object. `respond` is called once, from any thread: when the work is done, or at once
// with 202 when the request does not want to wait for it.
void admin_load(ModelPool& models, const json::Value& body, const Respond& respond);
void admin_unload(ModelPool& models, const json::Value& body, const Respond& respond);

}  // namespace hearth
