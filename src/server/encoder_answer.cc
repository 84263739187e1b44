#include "server/encoder_answer.h"

#include <utility>

#include "server/api_error.h"

namespace hearth {

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
  exchange_->respond(result->status.ok() ? task_.format(std::move(result->rows))
                                         : error_response(to_api_error(result->status)));
  let_go();
}

void EncoderAnswer::let_go() {
  handle_.reset();
  task_ = {};
}

}  // namespace hearth
