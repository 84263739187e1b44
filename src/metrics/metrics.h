// Every metric of the process: name, type, help text, unit, buckets and labels are declared once,
// in metrics.cc; the exposition, the documentation page and the members below all come from there.
//
// Members are handles to series resolved at construction: updating one is a lock-free add
// (counters, gauges) or a short uncontended lock (histograms), without a look-up. All handles are
// cheap to copy, may be used from any thread, and must not outlive the Metrics object they came
// from. A default-constructed handle ignores updates. Updates never fail.
//
//   const ModelMetrics& model = metrics.of_model("chat");
//   model.request.time_to_first_token.observe(seconds);
//   model.request.finished[FinishedReason::kStop].increment();
//   metrics.http.requests.with({"/v1/completions", "POST", "200"}).increment();
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace hearth {

// Only goes up.
class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter& series) : series_(&series) {}
  void increment(double amount = 1.0) const;  // amount >= 0
  double value() const;

 private:
  prometheus::Counter* series_ = nullptr;
};

// Goes up and down.
class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge& series) : series_(&series) {}
  void set(double value) const;
  void add(double amount) const;
  double value() const;

 private:
  prometheus::Gauge* series_ = nullptr;
};

// A distribution over fixed buckets.
class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram& series) : series_(&series) {}
  void observe(double value) const;
  std::size_t count() const;
  double sum() const;

 private:
  prometheus::Histogram* series_ = nullptr;
};

// Series told apart by one label whose values are the enumerators of `Enum` (which ends in kCount).
template <typename Handle, typename Enum>
class PerLabel {
 public:
  const Handle& operator[](Enum value) const { return series_[static_cast<std::size_t>(value)]; }

 private:
  std::array<Handle, static_cast<std::size_t>(Enum::kCount)> series_;
  friend class MetricsBuilder;
};

// Series told apart by label values known only at run time. with() takes a lock and a look-up, so
// it stays off the engine thread. Values come from small closed sets (route patterns, not paths):
// every new combination lives until the process ends.
template <typename Handle>
class Family {
 public:
  // One value per label, in the order of the declaration; a wrong number yields an idle handle.
  Handle with(std::initializer_list<std::string_view> label_values) const;

  struct Impl;

 private:
  const Impl* impl_ = nullptr;
  friend class MetricsBuilder;
};

enum class FinishedReason { kStop, kLength, kCancelled, kError, kCount };
enum class RejectionReason { kQueueFull, kTooLong, kInvalid, kUnavailable, kCount };
enum class EmbeddingOutcome { kDone, kCancelled, kError, kCount };
enum class MemoryKind { kWeights, kKvCache, kActivations, kCount };
enum class KvBlockState { kInUse, kCached, kFree, kCount };

struct HttpMetrics {
  Family<Counter> requests;            // {handler, method, status}
  Family<Histogram> request_duration;  // {handler, method}, seconds until the last byte.
  Gauge requests_in_flight;
  Counter client_disconnects;  // The client left before its answer was complete.
};

// Life of a generation request. All intervals are of a monotonic clock, in seconds.
struct RequestMetrics {
  PerLabel<Counter, FinishedReason>
      finished;  // Once per choice, or once per cancelled/failed request.
  PerLabel<Counter, RejectionReason> rejected;  // Refused at the door.
  Histogram time_to_first_token;  // From arrival at the front end, tokenizing included.
  Histogram inter_token_latency;  // Between two tokens of one choice.
  Histogram e2e_latency;          // From arrival to the terminal event.
  Histogram queue_time;           // From queued to first scheduled.
  Histogram prefill_time;         // From first scheduled to first token.
  Histogram decode_time;          // From first to last token.
  Histogram prompt_tokens;        // Per request.
  Histogram generation_tokens;    // Per choice.
};

struct TokenMetrics {
  Counter prompt;         // Prompt tokens of admitted requests, cached ones included.
  Counter prompt_cached;  // Of those, taken from the prefix cache.
  Counter generation;
  Counter prefix_cache_queries;  // Tokens looked up.
  Counter prefix_cache_hits;     // Tokens found.
};

struct EngineMetrics {
  Gauge requests_running;
  Gauge requests_waiting;
  Histogram step_tokens;     // Tokens computed in one step.
  Histogram step_sequences;  // Sequences in one step.
  Histogram step_duration;   // Seconds.
  Counter preemptions;
  Counter draft_tokens;           // Guessed and computed.
  Counter accepted_draft_tokens;  // Of those, right.
  Counter numerical_errors;       // Requests failed because a logit was not a number.
  // Set by whoever serves the exposition, from the engine's status, just before text().
  Gauge healthy;        // 1 or 0.
  Gauge last_step_age;  // Seconds.
};

// Requests to encoders: vectors, rerank scores, labels.
struct EmbeddingMetrics {
  PerLabel<Counter, EmbeddingOutcome> finished;  // Requests.
  Gauge requests_waiting;                        // With nothing computed yet.
  Counter texts;
  Counter tokens;
  Histogram batch_texts;       // Per batch.
  Histogram batch_tokens;      // Per batch.
  Histogram batch_duration;    // Seconds.
  Histogram queue_time;        // From queued to the first batch, seconds.
  Histogram request_duration;  // From arrival to the last result, seconds.
};

struct MemoryMetrics {
  PerLabel<Gauge, MemoryKind> bytes;
  PerLabel<Gauge, KvBlockState> kv_blocks;
  Family<Gauge> kv_cache_info;  // {dtype}, constant 1.
  Gauge kv_cache_usage;         // Blocks in use / all blocks, 0 to 1.
};

// Of one model; every series has the label `model`.
struct ModelMetrics {
  RequestMetrics request;
  TokenMetrics tokens;
  EngineMetrics engine;
  EmbeddingMetrics embedding;
  MemoryMetrics memory;
};

// Which models are in memory. The label `model` comes first.
struct PoolMetrics {
  Gauge memory_budget;              // Bytes that all models together may take.
  Family<Gauge> memory_used;        // {model}: bytes it takes of those.
  Family<Gauge> loaded;             // {model}: 1 while requests can be answered, else 0.
  Family<Counter> loads;            // {model, outcome}
  Family<Counter> unloads;          // {model, reason}
  Family<Histogram> load_duration;  // {model}, seconds.
  PerLabel<Counter, RejectionReason> rejected;  // Refused before a model was known.
};

struct InfoMetrics {    // Constant 1; the facts are in the labels.
  Family<Gauge> build;  // {version, compiler, kernels}
  Family<Gauge> model;  // {model, architecture, quantization, max_model_len}
};

enum class MetricType { kCounter, kGauge, kHistogram };

// One row of the declaration, for documentation and tests.
struct MetricInfo {
  std::string name;
  MetricType type = MetricType::kCounter;
  std::string unit;  // "tokens", "seconds", "bytes", "ratio", ... or empty.
  std::string help;
  std::vector<std::string> labels;
  std::vector<double> buckets;  // Upper bounds without +Inf; only for histograms.
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  HttpMetrics http;
  PoolMetrics pool;
  InfoMetrics info;

  // The series of one model, which exist from the first call on; lives as long as this object.
  // Names come from whoever operates the server, never from requests. Thread-safe, with a lock.
  const ModelMetrics& of_model(std::string_view name);

  // The state of all series in the Prometheus text format, with the process's own CPU time, memory,
  // threads and open files.
  std::string text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

  const std::vector<MetricInfo>& declarations() const;

 private:
  friend class MetricsBuilder;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// docs/metrics.md.
std::string metrics_markdown();

}  // namespace hearth
