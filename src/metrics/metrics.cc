#include "metrics/metrics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <prometheus/client_metric.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>
#include <type_traits>
#include <utility>

#include "metrics/process_stats.h"

namespace hearth {

void Counter::increment(double amount) const {
  if (series_ != nullptr) series_->Increment(amount);
}

double Counter::value() const {
  return series_ == nullptr ? 0.0 : series_->Value();
}

void Gauge::set(double value) const {
  if (series_ != nullptr) series_->Set(value);
}

void Gauge::add(double amount) const {
  if (series_ != nullptr) series_->Increment(amount);
}

double Gauge::value() const {
  return series_ == nullptr ? 0.0 : series_->Value();
}

void Histogram::observe(double value) const {
  if (series_ != nullptr) series_->Observe(value);
}

std::size_t Histogram::count() const {
  return series_ == nullptr ? 0 : series_->Collect().histogram.sample_count;
}

double Histogram::sum() const {
  return series_ == nullptr ? 0.0 : series_->Collect().histogram.sample_sum;
}

namespace {

using Buckets = std::vector<double>;

constexpr const char* kModelLabel = "model";

// The upper bounds known from other servers' dashboards, refined where they are too coarse for
// small models on a fast machine.
Buckets first_token_buckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,    5,     7.5,  10,   20,   40,   80,   160, 640,  2560};
}

Buckets token_latency_buckets() {
  return {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
          0.3,   0.4,    0.5,   0.75,   1,    2.5,   5,     7.5,  10,    20,  40,   80};
}

Buckets request_time_buckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1,   1.5,  2,   2.5,
          5,     10,     15,    20,   30,    40,   50,  60,  120, 240, 480, 960, 1920, 7680};
}

Buckets one_two_five_buckets(double last) {
  Buckets buckets;
  for (double decade = 1; decade <= last; decade *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (decade * factor <= last) buckets.push_back(decade * factor);
    }
  }
  return buckets;
}

Buckets power_of_two_buckets(double last) {
  Buckets buckets;
  for (double bound = 1; bound <= last; bound *= 2)
    buckets.push_back(bound);
  return buckets;
}

std::string_view type_name(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "unknown";
}

}  // namespace

// One family of series with labels given at run time.
template <typename Handle>
struct Family<Handle>::Impl {
  using Series = std::conditional_t<
      std::is_same_v<Handle, Counter>, prometheus::Counter,
      std::conditional_t<std::is_same_v<Handle, Gauge>, prometheus::Gauge, prometheus::Histogram>>;

  prometheus::Family<Series>* family = nullptr;
  std::vector<std::string> labels;
  Buckets buckets;
  prometheus::Labels common;
};

template <typename Handle>
Handle Family<Handle>::with(std::initializer_list<std::string_view> label_values) const {
  if (impl_ == nullptr || label_values.size() != impl_->labels.size()) return Handle();
  prometheus::Labels labels = impl_->common;
  auto name = impl_->labels.begin();
  for (const std::string_view value : label_values)
    labels.emplace(*name++, value);
  if constexpr (std::is_same_v<Handle, Histogram>) {
    return Handle(impl_->family->Add(labels, impl_->buckets));
  } else {
    return Handle(impl_->family->Add(labels));
  }
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

struct Metrics::Impl {
  prometheus::Registry registry;
  std::vector<MetricInfo> declarations;
  // What the members of type Family point to.
  std::vector<std::shared_ptr<const void>> families;

  std::mutex mutex;
  std::map<std::string, ModelMetrics, std::less<>> models;
};

// Turns one declaration into a registered family, its series and a row for the documentation. The
// declarations of a model's metrics are read once for their rows, and again for each model's
// series.
class MetricsBuilder {
 public:
  enum class Mode { kRowsAndSeries, kRows, kSeries };

  struct Spec {
    std::string_view name;
    std::string_view unit;
    std::string_view help;
  };

  explicit MetricsBuilder(Metrics& metrics, Mode mode = Mode::kRowsAndSeries,
                          prometheus::Labels common = {})
      : impl_(*metrics.impl_), mode_(mode), common_(std::move(common)) {}

  template <typename Handle>
  void add(Handle& out, const Spec& spec, const Buckets& buckets = {}) {
    record(spec, type_of<Handle>(), {}, buckets);
    if (mode_ != Mode::kRows) out = series(family<Handle>(spec), common_, buckets);
  }

  // `values` are the label's values in the order of the enumerators.
  template <typename Handle, typename Enum, std::size_t N>
  void add(PerLabel<Handle, Enum>& out, const Spec& spec, const std::string& label,
           const std::string_view (&values)[N]) {
    static_assert(N == static_cast<std::size_t>(Enum::kCount));
    record(spec, type_of<Handle>(), {label}, {});
    if (mode_ == Mode::kRows) return;
    auto& registered = family<Handle>(spec);
    for (std::size_t i = 0; i < N; ++i) {
      prometheus::Labels labels = common_;
      labels.emplace(label, values[i]);
      out.series_[i] = series(registered, labels, {});
    }
  }

  template <typename Handle>
  void add(Family<Handle>& out, const Spec& spec, const std::vector<std::string>& labels,
           const Buckets& buckets = {}) {
    record(spec, type_of<Handle>(), labels, buckets);
    if (mode_ == Mode::kRows) return;
    using FamilyImpl = typename Family<Handle>::Impl;
    const auto created = std::make_shared<const FamilyImpl>(FamilyImpl{
        .family = &family<Handle>(spec), .labels = labels, .buckets = buckets, .common = common_});
    out.impl_ = created.get();
    impl_.families.push_back(created);
  }

 private:
  template <typename Handle>
  static constexpr MetricType type_of() {
    if constexpr (std::is_same_v<Handle, Counter>) return MetricType::kCounter;
    if constexpr (std::is_same_v<Handle, Gauge>) return MetricType::kGauge;
    return MetricType::kHistogram;
  }

  void record(const Spec& spec, MetricType type, std::vector<std::string> labels,
              const Buckets& buckets) {
    if (mode_ == Mode::kSeries) return;
    if (mode_ == Mode::kRows) labels.insert(labels.begin(), kModelLabel);
    impl_.declarations.push_back({.name = std::string(spec.name),
                                  .type = type,
                                  .unit = std::string(spec.unit),
                                  .help = std::string(spec.help),
                                  .labels = std::move(labels),
                                  .buckets = buckets});
  }

  template <typename Handle>
  auto& family(const Spec& spec) {
    using Series = typename Family<Handle>::Impl::Series;
    return prometheus::detail::Builder<Series>()
        .Name(std::string(spec.name))
        .Help(std::string(spec.help))
        .Register(impl_.registry);
  }

  template <typename Series>
  static auto series(prometheus::Family<Series>& registered, const prometheus::Labels& labels,
                     [[maybe_unused]] const Buckets& buckets) {
    if constexpr (std::is_same_v<Series, prometheus::Histogram>) {
      return Histogram(registered.Add(labels, buckets));
    } else if constexpr (std::is_same_v<Series, prometheus::Gauge>) {
      return Gauge(registered.Add(labels));
    } else {
      return Counter(registered.Add(labels));
    }
  }

  Metrics::Impl& impl_;
  const Mode mode_;
  const prometheus::Labels common_;
};

namespace {

void declare(MetricsBuilder& builder, HttpMetrics& http) {
  builder.add(http.requests,
              {"hearth_http_requests_total", "requests",
               "HTTP requests answered, by route pattern, method and status code."},
              {"handler", "method", "status"});
  builder.add(http.request_duration,
              {"hearth_http_request_duration_seconds", "seconds",
               "Time from the first byte of an HTTP request to the last byte of its answer."},
              {"handler", "method"}, request_time_buckets());
  builder.add(http.requests_in_flight, {"hearth_http_requests_in_flight", "requests",
                                        "HTTP requests being answered now, streams included."});
  builder.add(http.client_disconnects,
              {"hearth_http_client_disconnects_total", "requests",
               "Requests whose client went away before its answer was complete."});
}

// One family: with the label `model` where the model is known, without it where it is not.
void declare_rejections(MetricsBuilder& builder, PerLabel<Counter, RejectionReason>& rejected) {
  builder.add(rejected,
              {"hearth_admission_rejections_total", "requests",
               "Requests refused before any work was done for them, by reason; without a model "
               "where none was found for them."},
              "reason", {"queue_full", "too_long", "invalid", "unavailable"});
}

void declare(MetricsBuilder& builder, RequestMetrics& request) {
  builder.add(request.finished,
              {"hearth_requests_finished_total", "choices",
               "Choices that ended, by the reason reported to the client."},
              "finished_reason", {"stop", "length", "cancelled", "error"});
  declare_rejections(builder, request.rejected);
  builder.add(request.time_to_first_token,
              {"hearth_time_to_first_token_seconds", "seconds",
               "Time from the arrival of a request, tokenizing included, to its first token."},
              first_token_buckets());
  builder.add(request.inter_token_latency,
              {"hearth_inter_token_latency_seconds", "seconds",
               "Time between two consecutive tokens of one choice."},
              token_latency_buckets());
  builder.add(request.e2e_latency,
              {"hearth_e2e_request_latency_seconds", "seconds",
               "Time from the arrival of a request to the end of its last choice."},
              request_time_buckets());
  builder.add(request.queue_time,
              {"hearth_request_queue_time_seconds", "seconds",
               "Time a request waited in the queue before it was first scheduled."},
              request_time_buckets());
  builder.add(request.prefill_time,
              {"hearth_request_prefill_time_seconds", "seconds",
               "Time from the first scheduling of a request to its first token."},
              request_time_buckets());
  builder.add(request.decode_time,
              {"hearth_request_decode_time_seconds", "seconds",
               "Time from the first to the last token of a request."},
              request_time_buckets());
  builder.add(request.prompt_tokens,
              {"hearth_request_prompt_tokens", "tokens", "Prompt length of a request."},
              one_two_five_buckets(200'000));
  builder.add(request.generation_tokens,
              {"hearth_request_generation_tokens", "tokens", "Number of tokens of a choice."},
              one_two_five_buckets(200'000));
}

void declare(MetricsBuilder& builder, TokenMetrics& tokens) {
  builder.add(tokens.prompt,
              {"hearth_prompt_tokens_total", "tokens",
               "Prompt tokens of admitted requests, those found in the prefix cache included."});
  builder.add(tokens.prompt_cached,
              {"hearth_prompt_tokens_cached_total", "tokens",
               "Prompt tokens that were not computed because the prefix cache had them."});
  builder.add(tokens.generation, {"hearth_generation_tokens_total", "tokens", "Tokens generated."});
  builder.add(tokens.prefix_cache_queries, {"hearth_prefix_cache_queries_total", "tokens",
                                            "Tokens the prefix cache was asked for."});
  builder.add(tokens.prefix_cache_hits,
              {"hearth_prefix_cache_hits_total", "tokens", "Tokens found in the prefix cache."});
}

void declare(MetricsBuilder& builder, EngineMetrics& engine) {
  builder.add(engine.requests_running, {"hearth_num_requests_running", "requests",
                                        "Requests that take part in the engine's steps now."});
  builder.add(engine.requests_waiting,
              {"hearth_num_requests_waiting", "requests", "Requests waiting to be scheduled."});
  builder.add(engine.step_tokens,
              {"hearth_step_tokens", "tokens", "Tokens computed in one engine step."},
              power_of_two_buckets(16'384));
  builder.add(engine.step_sequences,
              {"hearth_step_sequences", "sequences", "Sequences that shared one engine step."},
              power_of_two_buckets(1'024));
  builder.add(engine.step_duration,
              {"hearth_step_duration_seconds", "seconds", "Duration of one engine step."},
              token_latency_buckets());
  builder.add(engine.preemptions,
              {"hearth_preemptions_total", "requests",
               "Running requests put back into the queue because the KV memory was used up."});
  builder.add(engine.draft_tokens,
              {"hearth_spec_decode_draft_tokens_total", "tokens",
               "Tokens that were guessed and computed ahead (speculative decoding)."});
  builder.add(engine.accepted_draft_tokens,
              {"hearth_spec_decode_accepted_tokens_total", "tokens",
               "Guessed tokens that turned out right and saved a step."});
  builder.add(engine.numerical_errors,
              {"hearth_numerical_errors_total", "requests",
               "Requests ended with an error because the model's output was not a number."});
  builder.add(engine.healthy, {"hearth_engine_healthy", "",
                               "1 while the engine makes progress or is idle, else 0."});
  builder.add(engine.last_step_age, {"hearth_engine_last_step_age_seconds", "seconds",
                                     "Time since the engine's last step."});
}

void declare(MetricsBuilder& builder, EmbeddingMetrics& embedding) {
  builder.add(embedding.finished,
              {"hearth_embedding_requests_total", "requests",
               "Requests to encoders (vectors, rerank scores, labels) that ended, by outcome."},
              "outcome", {"done", "cancelled", "error"});
  builder.add(embedding.requests_waiting,
              {"hearth_embedding_requests_waiting", "requests",
               "Requests to encoders of which nothing was computed yet."});
  builder.add(embedding.texts, {"hearth_embedding_texts_total", "texts",
                                "Texts, or pairs of texts, that encoders read."});
  builder.add(embedding.tokens, {"hearth_embedding_tokens_total", "tokens",
                                 "Tokens that encoders read, special tokens included."});
  builder.add(embedding.batch_texts,
              {"hearth_embedding_batch_texts", "texts", "Texts that an encoder read together."},
              power_of_two_buckets(1'024));
  builder.add(embedding.batch_tokens,
              {"hearth_embedding_batch_tokens", "tokens", "Tokens that an encoder read together."},
              power_of_two_buckets(16'384));
  builder.add(embedding.batch_duration,
              {"hearth_embedding_batch_duration_seconds", "seconds",
               "Time an encoder took to read a batch."},
              token_latency_buckets());
  builder.add(embedding.queue_time,
              {"hearth_embedding_queue_time_seconds", "seconds",
               "Time a request to an encoder waited before its first text was read."},
              request_time_buckets());
  builder.add(embedding.request_duration,
              {"hearth_embedding_request_duration_seconds", "seconds",
               "Time from the arrival of a request to an encoder to its last result."},
              request_time_buckets());
}

void declare(MetricsBuilder& builder, MemoryMetrics& memory) {
  builder.add(memory.bytes,
              {"hearth_memory_bytes", "bytes", "Memory set aside at start, by purpose."}, "kind",
              {"weights", "kv_cache", "activations"});
  builder.add(
      memory.kv_blocks,
      {"hearth_kv_blocks", "blocks",
       "KV cache blocks by state; cached blocks hold reusable prefixes and count as free room."},
      "state", {"in_use", "cached", "free"});
  builder.add(
      memory.kv_cache_info,
      {"hearth_kv_cache_info", "", "Constant 1; the label tells how keys and values are stored."},
      {"dtype"});
  builder.add(memory.kv_cache_usage, {"hearth_kv_cache_usage_ratio", "ratio",
                                      "KV cache blocks in use divided by all blocks, 0 to 1."});
}

void declare(MetricsBuilder& builder, PoolMetrics& pool) {
  builder.add(pool.memory_budget, {"hearth_models_memory_budget_bytes", "bytes",
                                   "Memory that all models together may take."});
  builder.add(pool.memory_used,
              {"hearth_model_memory_bytes", "bytes",
               "Memory a model takes now: weights, keys and values, activations."},
              {kModelLabel});
  builder.add(pool.loaded,
              {"hearth_model_loaded", "", "1 while a model is in memory and answers, else 0."},
              {kModelLabel});
  builder.add(pool.loads,
              {"hearth_model_loads_total", "loads",
               "Attempts to load a model, by outcome: loaded, no_memory or failed."},
              {std::string(kModelLabel), "outcome"});
  builder.add(pool.unloads,
              {"hearth_model_unloads_total", "unloads",
               "Models taken out of memory, by reason: requested, unused, evicted or file_lost."},
              {std::string(kModelLabel), "reason"});
  builder.add(pool.load_duration,
              {"hearth_model_load_duration_seconds", "seconds",
               "Time to load a model, waiting for room included."},
              {kModelLabel}, request_time_buckets());
}

void declare(MetricsBuilder& builder, InfoMetrics& info) {
  builder.add(info.build, {"hearth_build_info", "", "Constant 1; the labels tell what is running."},
              {"version", "compiler", "kernels"});
  builder.add(info.model, {"hearth_model_info", "", "Constant 1; the labels tell what is served."},
              {"model", "architecture", "quantization", "max_model_len"});
}

void declare(MetricsBuilder& builder, ModelMetrics& model) {
  declare(builder, model.request);
  declare(builder, model.tokens);
  declare(builder, model.engine);
  declare(builder, model.embedding);
  declare(builder, model.memory);
}

}  // namespace

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  MetricsBuilder builder(*this);
  declare(builder, http);
  MetricsBuilder model_rows(*this, MetricsBuilder::Mode::kRows);
  ModelMetrics none;
  declare(model_rows, none);
  MetricsBuilder series(*this, MetricsBuilder::Mode::kSeries);
  declare_rejections(series, pool.rejected);
  declare(builder, pool);
  declare(builder, info);
}

const ModelMetrics& Metrics::of_model(std::string_view name) {
  const std::lock_guard lock(impl_->mutex);
  if (const auto found = impl_->models.find(name); found != impl_->models.end()) {
    return found->second;
  }
  MetricsBuilder builder(*this, MetricsBuilder::Mode::kSeries, {{kModelLabel, std::string(name)}});
  ModelMetrics& model = impl_->models[std::string(name)];
  declare(builder, model);
  return model;
}

Metrics::~Metrics() = default;

const std::vector<MetricInfo>& Metrics::declarations() const {
  return impl_->declarations;
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  for (const ProcessStat& stat : read_process_stats()) {
    prometheus::ClientMetric sample;
    sample.gauge.value = stat.value;
    sample.counter.value = stat.value;
    const auto type = stat.type == MetricType::kCounter ? prometheus::MetricType::Counter
                                                        : prometheus::MetricType::Gauge;
    families.push_back({std::string(stat.name), std::string(stat.help), type, {sample}});
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

std::string metrics_markdown() {
  std::string out =
      "# Metrics\n\n"
      "Generated from `src/metrics/metrics.cc`; do not edit. `GET /metrics` answers in the "
      "Prometheus\n"
      "text format, version 0.0.4. Intervals come from a monotonic clock.\n\n"
      "| name | type | unit | labels | meaning |\n"
      "| --- | --- | --- | --- | --- |\n";
  const Metrics metrics;
  for (const MetricInfo& info : metrics.declarations()) {
    fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} | {} | {} |\n", info.name,
                   type_name(info.type), info.unit, fmt::join(info.labels, ", "), info.help);
  }
  for (const ProcessStat& stat : read_process_stats()) {
    fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} |  | {} |\n", stat.name,
                   type_name(stat.type), stat.unit, stat.help);
  }
  out += "\n## Histogram buckets\n\n| name | upper bounds |\n| --- | --- |\n";
  for (const MetricInfo& info : metrics.declarations()) {
    if (info.buckets.empty()) continue;
    fmt::format_to(std::back_inserter(out), "| `{}` | {} |\n", info.name,
                   fmt::join(info.buckets, ", "));
  }
  return out;
}

}  // namespace hearth
