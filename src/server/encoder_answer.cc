#include "server/encoder_answer.h"

#include <exception>
#include <memory>
#include <utility>

#include "server/api_error.h"

namespace hearth {
namespace {

// An I/O thread writes so many in about a millisecond; other connections wait for longer ones.
constexpr std::size_t kMostNumbersAtOnce = 16 * 1024;

}  // namespace

void EncoderAnswer::start(EncoderTask task, const std::shared_ptr<HttpExchange>& exchange) {
  const std::shared_ptr<EncoderAnswer> answer(new EncoderAnswer(std::move(task), exchange));
  exchange->on_disconnect([answer] { answer->let_go(); });
  if (answer->task_.model) answer->submit();
}

void EncoderAnswer::submit() {
  // The result comes on the engine thread. The weak reference keeps the engine from owning its
  // consumer, which owns the engine's handle.
  auto notify = [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self) self->exchange_->post([self] { self->finish(); });
  };
  auto handle = task_.model->embedder->submit(std::move(task_.request), std::move(notify));
  if (!handle) {
    exchange_->respond(error_response(to_api_error(handle.error())));
    let_go();
    return;
  }
  handle_ = *std::move(handle);
}

void EncoderAnswer::finish() {
  if (!handle_) return;  // The client has left.
  auto result = handle_->poll();
  if (!result) return;
  if (result->status.ok() && result->rows.size() > kMostNumbersAtOnce &&
      format_by_worker(result->rows)) {
    return;
  }
  exchange_->respond(result->status.ok() ? task_.format(std::move(result->rows))
                                         : error_response(to_api_error(result->status)));
  let_go();
}

bool EncoderAnswer::format_by_worker(std::vector<float>& rows) {
  const auto shared = std::make_shared<std::vector<float>>(std::move(rows));
  const auto answer = [self = shared_from_this()](HttpResponse response) {
    self->exchange_->post([self, response = std::move(response)]() mutable {
      if (!self->handle_) return;  // The client has left.
      self->exchange_->respond(std::move(response));
      self->let_go();
    });
  };
  const bool taken = task_.workers->try_post(
      // The task's copy holds the model, whatever becomes of the client.
      [shared, answer, task = task_] { answer(task.format(std::move(*shared))); },
      [answer](const std::exception&) {
        answer(error_response(
            unavailable("overloaded", "The server has not enough memory for this request now.")));
      });
  if (!taken) rows = std::move(*shared);
  return taken;
}

void EncoderAnswer::let_go() {
  handle_.reset();
  task_ = {};
}

}  // namespace hearth
