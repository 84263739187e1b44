// The API behind the HTTP layer: routes, and from a request to its answer.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "metrics/metrics.h"
#include "server/api_error.h"
#include "server/encoder_answer.h"
#include "server/encoder_format.h"
#include "server/encoder_request.h"
#include "server/generation.h"
#include "server/health_probe.h"
#include "server/host_check.h"
#include "server/http_message.h"
#include "server/model_pool.h"
#include "server/worker_pool.h"

namespace hearth {

struct ApiOptions {
  std::size_t num_workers = 2;
  std::size_t max_waiting_for_worker = 256;
  std::chrono::milliseconds sse_keep_alive{15'000};
  std::chrono::milliseconds health_probe_ttl{10'000};
  HostPolicy host;
  std::string admin_token;  // Of the /admin endpoints. Empty: nobody may use them.
};

// Thread-safe. Light routes are answered at once; bodies are parsed, rendered and tokenized by the
// workers.
class Api {
 public:
  // `models` and `metrics` outlive the object.
  Api(const ApiOptions& options, ModelPool& models, Metrics& metrics);
  // Ends the work on requests and waits for the workers; requests that still waited for one, or for
  // a model, are dropped. Closes the pool.
  ~Api();

  // From now on /readyz answers 503.
  void begin_drain() { draining_ = true; }
  // Fails all answers under way and ends the work on requests: clients get an error instead of an
  // end without one.
  void fail_answers();

  // On the exchange's executor.
  void handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange);

 private:
  struct Route;
  struct Call;
  using Handler = void (Api::*)(Call&);
  // What a handler runs with: on a worker unless it needs nothing, and with a lease of a model.
  enum class Need : std::uint8_t { kNothing, kWorker, kModel, kGenerator, kEncoder };
  static const std::vector<Route>& routes();

  void dispatch(const Route& route, Call call);
  void post_to_worker(const std::shared_ptr<Call>& call, std::function<void()> task);
  bool parse_body(Call& call);
  static std::function<void(HttpResponse)> responder(const Call& call);
  void run_with_model(const std::shared_ptr<Call>& call, const Route& route);
  static std::optional<ApiError> check_purpose(const Call& call, Need need);
  void answer_options(std::string_view path, HttpExchange& exchange) const;

  // Handlers, by route.
  void chat(Call& call);
  void completion(Call& call);
  void embeddings(Call& call);
  void embed(Call& call);
  void rerank(Call& call);
  void classify(Call& call);
  void predict(Call& call);
  void tokenize(Call& call);
  void detokenize(Call& call);
  void models(Call& call);
  void one_model(Call& call);
  void tokenizer_info(Call& call);
  void health(Call& call);
  void ready(Call& call);
  void probe(Call& call);
  void metrics_text(Call& call);
  void admin_models(Call& call);
  void load_model(Call& call);
  void unload_model(Call& call);
  void openapi(Call& call);
  void docs(Call& call);
  void index(Call& call);

  void start_generation(Call& call, GenerationJob job);
  using VectorsBody =
      std::function<std::string(const EncoderAnswerHeader& header, std::span<const float> rows)>;
  void encode_vectors(Call& call, const ApiResult<EmbeddingsRequest>& request, VectorsBody body);
  void start_encoding(Call& call, EncoderTask task);
  void reject(Call& call, const ApiError& error);

  const ApiOptions options_;
  ModelPool& pool_;
  Metrics& metrics_;
  std::atomic<bool> draining_{false};
  HealthProbes health_probes_;
  std::stop_source shutdown_;  // Ends what the workers do.
  WorkerPool workers_;         // Last: its threads use the others.
};

}  // namespace hearth
