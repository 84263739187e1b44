// One request to an encoder while it is being answered.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/embedding_engine.h"
#include "server/http_message.h"
#include "server/model_ref.h"
#include "server/worker_pool.h"

namespace hearth {

struct EncoderTask {
  ModelLease model;
  EmbeddingRequest request;
  WorkerPool* workers = nullptr;  // Outlives the answer.
  // Makes the answer of the rows [inputs, width]; may use the model. Of many rows a worker does it.
  std::function<HttpResponse(std::vector<float> rows)> format;
};

// Lives on the exchange's executor, kept alive by the exchange until that ends. When the client
// goes the engine's work is cancelled, and with the end of the answer ends the lease of the model.
class EncoderAnswer : public std::enable_shared_from_this<EncoderAnswer> {
 public:
  // On the exchange's executor.
  static void start(EncoderTask task, const std::shared_ptr<HttpExchange>& exchange);

 private:
  EncoderAnswer(EncoderTask task, std::shared_ptr<HttpExchange> exchange)
      : task_(std::move(task)), exchange_(std::move(exchange)) {}

  void submit();
  void finish();
  // False when no worker can take it.
  bool format_by_worker(std::vector<float>& rows);
  void let_go();

  EncoderTask task_;
  std::shared_ptr<HttpExchange> exchange_;
  std::shared_ptr<EmbeddingHandle> handle_;
};

}  // namespace hearth
