#include "server/health_probe.h"

#include <limits>
#include <utility>
#include <variant>

#include "base/json.h"
#include "server/api_error.h"
#include "server/random_id.h"

namespace hearth {
namespace {

constexpr std::chrono::seconds kPatience{10};
constexpr std::size_t kMaxWaiting = 64;  // For the outcome of one probe.

GenerationRequest one_token(const ModelRef& model) {
  GenerationRequest request;
  request.id = "healthz-" + random_hex(8);
  request.prompt = {model.tokenizer->special().bos.value_or(0)};
  request.sampling.temperature = 0.0f;
  request.max_tokens = 1;
  request.ignore_eos = true;
  request.priority = std::numeric_limits<std::int32_t>::min();
  request.arrival = std::chrono::steady_clock::now();
  return request;
}

}  // namespace

HttpResponse HealthProbe::response(const Result& result) {
  if (!result.healthy) return error_response(unavailable("unhealthy", result.reason));
  HttpResponse out;
  out.body = json::dump(json::Object{{"status", "ok"}});
  return out;
}

// A probe that waits behind answers that go on is load, not sickness.
HttpResponse HealthProbe::response_while_waiting(const ModelRef& model) {
  if (!model.healthy()) {
    return error_response(unavailable("unhealthy", "The model takes too long."));
  }
  HttpResponse out;
  out.body = json::dump(json::Object{{"status", "ok"}, {"detail", "busy: the probe is waiting"}});
  return out;
}

void HealthProbe::answer(const ModelLease& model, const std::shared_ptr<HttpExchange>& exchange) {
  bool must_start = false;
  bool is_full = false;
  std::optional<Result> known;
  {
    const std::lock_guard lock(mutex_);
    if (last_ && std::chrono::steady_clock::now() - last_->time < time_to_live_) {
      known = last_;
    } else if (waiting_.size() >= kMaxWaiting) {
      is_full = true;
    } else {
      waiting_.push_back(exchange);
      must_start = !std::exchange(running_, true);
    }
  }
  if (known) {
    exchange->respond(response(*known));
    return;
  }
  if (is_full) {
    exchange->respond(error_response(unavailable("overloaded", "Too many probes are waiting.")));
    return;
  }
  exchange->after(kPatience, [exchange = std::weak_ptr(exchange), model] {
    if (const auto alive = exchange.lock()) alive->respond(response_while_waiting(*model));
  });
  if (must_start) start(model);
}

void HealthProbe::start(const ModelLease& model) {
  if (model->embedder != nullptr) return start_encoder(model);
  auto handle = model->engine->submit(one_token(*model), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_events();
  });
  if (!handle) return refused(model, handle.error());
  {
    const std::lock_guard lock(mutex_);
    handle_ = *std::move(handle);
    model_ = model;
  }
  on_events();
}

void HealthProbe::start_encoder(const ModelLease& model) {
  EmbeddingRequest request;
  request.inputs.push_back(
      {.tokens = {model->tokenizer->special().bos.value_or(0)}, .token_types = {}});
  request.arrival = std::chrono::steady_clock::now();
  auto handle = model->embedder->submit(std::move(request), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_encoded();
  });
  if (!handle) return refused(model, handle.error());
  {
    const std::lock_guard lock(mutex_);
    encoder_handle_ = *std::move(handle);
    model_ = model;
  }
  on_encoded();
}

// A full queue is load, not sickness: restarting would make it worse.
void HealthProbe::refused(const ModelLease& model, const Status& status) {
  const bool is_busy = status.code() == StatusCode::kResourceExhausted;
  conclude(is_busy && model->healthy(), status.message());
}

void HealthProbe::on_encoded() {
  std::optional<EmbeddingResult> result;
  {
    const std::lock_guard lock(mutex_);
    if (!encoder_handle_) return;  // start_encoder() looks again once it has the handle.
    result = encoder_handle_->poll();
  }
  if (result) conclude(result->status.ok(), result->status.message());
}

void HealthProbe::on_events() {
  std::vector<GenerationEvent> events;
  {
    const std::lock_guard lock(mutex_);
    if (!handle_) return;  // start() looks again once it has the handle.
    handle_->poll(events);
  }
  for (const GenerationEvent& event : events) {
    if (std::holds_alternative<RequestFinished>(event)) conclude(true, "");
    if (std::holds_alternative<RequestCancelled>(event)) conclude(false, "The engine is stopping.");
    if (const auto* failed = std::get_if<RequestFailed>(&event)) {
      conclude(false, failed->status.message());
    }
  }
}

void HealthProbe::conclude(bool healthy, std::string reason) {
  std::vector<std::shared_ptr<HttpExchange>> waiting;
  std::shared_ptr<GenerationHandle> handle;  // Let go of outside the lock, as the next.
  std::shared_ptr<EmbeddingHandle> encoder_handle;
  ModelLease model;
  HttpResponse answer;
  {
    const std::lock_guard lock(mutex_);
    last_ = Result{healthy, std::move(reason), std::chrono::steady_clock::now()};
    running_ = false;
    waiting.swap(waiting_);
    handle.swap(handle_);
    encoder_handle.swap(encoder_handle_);
    model.swap(model_);
    answer = response(*last_);
  }
  for (const auto& exchange : waiting)
    exchange->post([exchange, answer] { exchange->respond(answer); });
}

}  // namespace hearth
