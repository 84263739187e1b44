// What the handlers of the API share, which stand in several files.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "server/api.h"
#include "server/api_error.h"
#include "server/http_message.h"
#include "server/model_ref.h"

namespace hearth {

// One request on its way through a handler.
struct Api::Call {
  HttpRequest request;
  std::shared_ptr<HttpExchange> exchange;
  std::string id;  // What stands for {id} in the path.
  bool on_worker = false;
  json::Value body = {};        // Of a POST, parsed.
  ModelLease model = {};        // What answers, of routes that need one.
  std::string model_name = {};  // As the request calls it.
  std::stop_source stop = {};   // Of the work on it: the client has left, or the server ends.
  std::unique_ptr<std::stop_callback<std::function<void()>>> on_shutdown = nullptr;

  // Answers from whatever thread the handler runs on.
  void respond(HttpResponse response) const {
    if (!on_worker) {
      exchange->respond(std::move(response));
      return;
    }
    exchange->post([exchange = exchange, response = std::move(response)]() mutable {
      exchange->respond(std::move(response));
    });
  }
};

// 400: this model cannot do what was asked of it, for a reason; names what it can do.
// `name` is what the request calls it.
ApiError wrong_model(const ModelRef& model, std::string_view name, std::string_view reason);

}  // namespace hearth
