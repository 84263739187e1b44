#include "server/health_probe.h"

#include <fmt/format.h>

#include <limits>
#include <string_view>
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

HttpResponse ok_response(std::string_view detail) {
  json::Object body{{"status", "ok"}};
  if (!detail.empty()) body.append("detail", detail);
  HttpResponse out;
  out.body = json::dump(std::move(body));
  return out;
}

// A probe that waits behind answers that go on is load, not sickness.
HttpResponse response_while_waiting(const std::vector<ModelLease>& models) {
  for (const ModelLease& model : models) {
    if (model->healthy()) continue;
    return error_response(
        unavailable("unhealthy", fmt::format("The model '{}' takes too long.", model->name)));
  }
  return ok_response("busy: the probe is waiting");
}

// What the probes of several models say together. Thread-safe.
struct Outcome {
  std::mutex mutex;
  std::size_t num_left = 0;
  std::optional<ApiError> first_problem;

  // The answer, with the last of them.
  std::optional<HttpResponse> add(const std::optional<ApiError>& problem) {
    const std::lock_guard lock(mutex);
    if (!first_problem) first_problem = problem;
    if (--num_left > 0) return std::nullopt;
    return first_problem ? error_response(*first_problem) : ok_response("");
  }
};

}  // namespace

void HealthProbe::ask(const ModelLease& model, const OnResult& on_result) {
  bool must_start = false;
  std::optional<Result> known;
  {
    const std::lock_guard lock(mutex_);
    if (last_ && std::chrono::steady_clock::now() - last_->time < time_to_live_) {
      known = last_;
    } else if (waiting_.size() >= kMaxWaiting) {
      known = Result{.problem = unavailable("overloaded", "Too many probes are waiting.")};
    } else {
      waiting_.push_back(on_result);
      must_start = !std::exchange(running_, true);
    }
  }
  if (known) {
    on_result(known->problem);
  } else if (must_start) {
    start(model);
  }
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
  std::vector<OnResult> waiting;
  std::shared_ptr<GenerationHandle> handle;  // Let go of outside the lock, as the next.
  std::shared_ptr<EmbeddingHandle> encoder_handle;
  ModelLease model;
  std::optional<ApiError> problem;
  if (!healthy) problem = unavailable("unhealthy", std::move(reason));
  {
    const std::lock_guard lock(mutex_);
    last_ = Result{problem, std::chrono::steady_clock::now()};
    running_ = false;
    waiting.swap(waiting_);
    handle.swap(handle_);
    encoder_handle.swap(encoder_handle_);
    model.swap(model_);
  }
  for (const OnResult& on_result : waiting)
    on_result(problem);
}

std::shared_ptr<HealthProbe> HealthProbes::probe_of(const ModelRef& model) {
  const std::lock_guard lock(mutex_);
  Probed& probed = probes_[model.name];
  if (!probed.probe || probed.created != model.created) {
    probed = {model.created, std::make_shared<HealthProbe>(time_to_live_)};
  }
  return probed.probe;
}

void HealthProbes::answer(const std::vector<ModelLease>& models,
                          const std::shared_ptr<HttpExchange>& exchange) {
  if (models.empty()) return exchange->respond(ok_response("no model is loaded"));
  exchange->after(kPatience, [exchange = std::weak_ptr(exchange), models] {
    if (const auto alive = exchange.lock()) alive->respond(response_while_waiting(models));
  });
  const auto outcome = std::make_shared<Outcome>();
  outcome->num_left = models.size();
  for (const ModelLease& model : models) {
    probe_of(*model)->ask(model, [outcome, exchange](const std::optional<ApiError>& problem) {
      const auto answer = outcome->add(problem);
      if (answer) exchange->post([exchange, answer = *answer] { exchange->respond(answer); });
    });
  }
}

}  // namespace hearth
