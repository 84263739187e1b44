#include "loadgen/load_generator.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <utility>

#include "loadgen/answer_reader.h"
#include "loadgen/event_stream.h"
#include "loadgen/http_client.h"

namespace hearth::loadgen {
namespace {

namespace asio = boost::asio;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kMaxErrorBody = std::size_t{64} << 10;
constexpr std::size_t kMaxModelsBody = std::size_t{4} << 20;
constexpr std::chrono::seconds kIdentifyTimeout{30};

double seconds(SteadyClock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// CPU time of this process, user and system.
double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto to_seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
}

std::string timeout_text(std::chrono::milliseconds timeout) {
  return fmt::format("no complete answer within {} s", static_cast<double>(timeout.count()) / 1e3);
}

// The lists that GET /v1/models answers with, as OpenAI, vLLM and llama.cpp write them.
ServerIdentity read_models(json::Value answer) {
  ServerIdentity identity;
  const json::Object* object = answer.as_object();
  const json::Value* data = object == nullptr ? nullptr : object->find("data");
  if (data != nullptr && data->as_array() != nullptr) {
    for (const json::Value& entry : *data->as_array()) {
      const json::Object* model = entry.as_object();
      const json::Value* id = model == nullptr ? nullptr : model->find("id");
      if (id == nullptr || id->as_string() == nullptr) continue;
      identity.models.push_back(*id->as_string());
      const json::Value* meta = model->find("meta");
      const json::Value* size = meta == nullptr || meta->as_object() == nullptr
                                    ? nullptr
                                    : meta->as_object()->find("n_vocab");
      if (size != nullptr && !size->to_int64(identity.vocab_size)) identity.vocab_size = 0;
    }
  }
  identity.models_answer = std::move(answer);
  return identity;
}

}  // namespace

struct LoadGenerator::Impl {
  explicit Impl(const ConnectOptions& given)
      : options(given), client(loop, given.target, given.api_key), signals(loop) {}

  void catch_signals() {
    boost::system::error_code ec_ignored;
    signals.add(SIGINT, ec_ignored);
    signals.add(SIGTERM, ec_ignored);
    signals.async_wait([this](boost::system::error_code ec, int) {
      if (!ec) interrupted = true;
      // A second signal ends the process.
      boost::system::error_code ignored;
      signals.clear(ignored);
    });
  }

  // One phase of requests. Lives until all of its coroutines have ended or the loop is gone.
  struct Phase {
    Endpoint endpoint;
    std::span<const PlannedRequest> requests;
    std::span<const double> arrivals_s = {};
    const Progress& progress;
    SteadyClock::time_point begin = {};
    std::size_t next = 0;
    std::vector<RequestRecord> records = {};
  };

  asio::awaitable<RequestRecord> request(Endpoint endpoint, const PlannedRequest& planned);
  asio::awaitable<void> timed_request(Phase& in, std::size_t idx);
  asio::awaitable<void> closed_worker(Phase& in);
  asio::awaitable<void> open_dispatcher(Phase& in);
  void spawn(asio::awaitable<void> task);
  void run_tasks();
  LevelResult finish(Phase& ended, double cpu_before) const;

  ConnectOptions options;
  std::unique_ptr<Phase> phase;  // Outlives the loop, whose coroutines refer to it.
  asio::io_context loop{1};
  HttpClient client;
  asio::signal_set signals;
  std::size_t active_tasks = 0;
  bool interrupted = false;
};

asio::awaitable<RequestRecord> LoadGenerator::Impl::request(Endpoint endpoint,
                                                            const PlannedRequest& planned) {
  const auto start = SteadyClock::now();
  EventStream events;
  AnswerReader answer;
  std::string error_body;
  bool too_long = false;
  const HttpClient::Sink sink = [&](int status, std::string_view bytes) {
    if (status != 200) {
      error_body.append(
          bytes.substr(0, kMaxErrorBody - std::min(kMaxErrorBody, error_body.size())));
      return true;
    }
    const auto now = SteadyClock::now();
    too_long = !events.push(bytes);
    while (auto data = events.next())
      answer.add(*data, now);
    return !too_long && !answer.failed();
  };
  const HttpCall call{.method = "POST",
                      .path = options.target.path + std::string(endpoint_path(endpoint)),
                      .body = planned.body,
                      .deadline = start + options.request_timeout};
  const HttpOutcome outcome = co_await client.call(call, sink);
  RequestRecord record;
  answer.finish(start, SteadyClock::now(), planned.expected_tokens, record);
  if (outcome.timed_out || outcome.status != 200 || too_long) record.outcome = Outcome::kErrored;
  if (outcome.timed_out) {
    record.error = timeout_text(options.request_timeout);
  } else if (outcome.status == 0) {
    record.error = outcome.failure;
  } else if (outcome.status != 200) {
    record.error = fmt::format("status {}: {}", outcome.status, error_text(error_body));
  } else if (too_long) {
    record.error = fmt::format("an event is longer than {} bytes", EventStream::max_event_bytes);
  } else if (!outcome.failure.empty() && record.outcome == Outcome::kIncomplete) {
    record.error = fmt::format("{}: {}", record.error, outcome.failure);
  } else if (!outcome.content_type.starts_with("text/event-stream") &&
             record.outcome == Outcome::kIncomplete) {
    record.error = fmt::format("answered with content type '{}' instead of a stream of events",
                               outcome.content_type);
  }
  co_return record;
}

asio::awaitable<void> LoadGenerator::Impl::timed_request(Phase& in, std::size_t idx) {
  const double start_s = seconds(SteadyClock::now() - in.begin);
  RequestRecord record = co_await request(in.endpoint, in.requests[idx]);
  record.start_s = start_s;
  in.records.push_back(std::move(record));
  if (in.progress) in.progress(in.records.size());
}

asio::awaitable<void> LoadGenerator::Impl::closed_worker(Phase& in) {
  while (in.next < in.requests.size())
    co_await timed_request(in, in.next++);
}

asio::awaitable<void> LoadGenerator::Impl::open_dispatcher(Phase& in) {
  asio::steady_timer timer(loop);
  while (in.next < in.arrivals_s.size()) {
    timer.expires_at(in.begin + std::chrono::duration_cast<SteadyClock::duration>(
                                    std::chrono::duration<double>(in.arrivals_s[in.next])));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    spawn(timed_request(in, in.next++));
  }
}

void LoadGenerator::Impl::spawn(asio::awaitable<void> task) {
  ++active_tasks;
  asio::co_spawn(loop, std::move(task), [this](const std::exception_ptr& failure) {
    HEARTH_CHECK(failure == nullptr);
    --active_tasks;
  });
}

void LoadGenerator::Impl::run_tasks() {
  while (active_tasks > 0 && !interrupted)
    loop.run_one();
}

LevelResult LoadGenerator::Impl::finish(Phase& ended, double cpu_before) const {
  LevelResult level;
  level.records = std::move(ended.records);
  level.client_cpu_s = cpu_seconds() - cpu_before;
  level.interrupted = interrupted;
  std::ranges::sort(level.records, {}, &RequestRecord::start_s);
  if (level.records.empty()) return level;
  double end_s = 0.0;
  for (const RequestRecord& record : level.records)
    end_s = std::max(end_s, record.start_s + record.e2e_ms / 1e3);
  level.duration_s = end_s - level.records.front().start_s;
  return level;
}

LoadGenerator::LoadGenerator() = default;
LoadGenerator::~LoadGenerator() = default;

Result<std::unique_ptr<LoadGenerator>> LoadGenerator::create(const ConnectOptions& options) {
  std::unique_ptr<LoadGenerator> generator(new LoadGenerator());
  generator->impl_ = std::make_unique<Impl>(options);
  HEARTH_RETURN_IF_ERROR(generator->impl_->client.resolve());
  generator->impl_->catch_signals();  // Not before: the lookup would not end for them.
  return generator;
}

bool LoadGenerator::interrupted() const {
  return impl_->interrupted;
}

Result<ServerIdentity> LoadGenerator::identify() {
  const std::string url = impl_->options.target.url("/models");
  std::string body;
  HttpOutcome outcome;
  const HttpClient::Sink sink = [&](int, std::string_view bytes) {
    body.append(bytes);
    return body.size() <= kMaxModelsBody;
  };
  const auto task = [&]() -> asio::awaitable<void> {
    const HttpCall call{.method = "GET",
                        .path = impl_->options.target.path + "/models",
                        .body = {},
                        .deadline = SteadyClock::now() + kIdentifyTimeout};
    outcome = co_await impl_->client.call(call, sink);
  };
  impl_->spawn(task());
  impl_->run_tasks();
  if (impl_->interrupted) return error(StatusCode::kCancelled, "interrupted");
  if (outcome.status == 0) {
    return error(StatusCode::kUnavailable, "cannot reach {}: {}", url, outcome.failure);
  }
  if (!outcome.ok()) {
    constexpr std::string_view kKeyHint = "; see --api-key";
    constexpr std::string_view kUrlHint = "; is this the URL of an OpenAI-compatible server?";
    const bool is_key = outcome.status == 401 || outcome.status == 403;
    return error(StatusCode::kUnavailable, "{} answered with status {}: {}{}", url, outcome.status,
                 outcome.status == 200 ? outcome.failure : error_text(body),
                 is_key                  ? kKeyHint
                 : outcome.status == 404 ? kUrlHint
                                         : std::string_view());
  }
  auto answer = json::parse(body);
  if (!answer.has_value()) {
    return error(StatusCode::kUnavailable,
                 "{} answered with something that is not JSON; is this the URL of an "
                 "OpenAI-compatible server?",
                 url);
  }
  ServerIdentity identity = read_models(*std::move(answer));
  identity.server_header = outcome.server;
  if (identity.models.empty()) {
    return error(StatusCode::kUnavailable, "{} lists no models", url);
  }
  return identity;
}

RequestRecord LoadGenerator::try_request(Endpoint endpoint, const PlannedRequest& request) {
  LevelResult level = run_closed(endpoint, {&request, 1}, 1);
  return level.records.empty() ? RequestRecord{.error = "interrupted"}
                               : std::move(level.records.front());
}

LevelResult LoadGenerator::run_closed(Endpoint endpoint, std::span<const PlannedRequest> requests,
                                      std::size_t concurrency, const Progress& progress) {
  if (impl_->interrupted) return {.interrupted = true};
  impl_->phase = std::make_unique<Impl::Phase>(
      Impl::Phase{.endpoint = endpoint, .requests = requests, .progress = progress});
  Impl::Phase& phase = *impl_->phase;
  const double cpu_before = cpu_seconds();
  phase.begin = SteadyClock::now();
  for (std::size_t i = 0; i < std::min(concurrency, requests.size()); ++i)
    impl_->spawn(impl_->closed_worker(phase));
  impl_->run_tasks();
  LevelResult level = impl_->finish(phase, cpu_before);
  level.kind = LoadKind::kConcurrency;
  level.load = static_cast<double>(concurrency);
  return level;
}

LevelResult LoadGenerator::run_open(Endpoint endpoint, std::span<const PlannedRequest> requests,
                                    std::span<const double> arrivals_s, const Progress& progress) {
  if (impl_->interrupted) return {.interrupted = true};
  impl_->phase = std::make_unique<Impl::Phase>(Impl::Phase{
      .endpoint = endpoint, .requests = requests, .arrivals_s = arrivals_s, .progress = progress});
  Impl::Phase& phase = *impl_->phase;
  HEARTH_CHECK(requests.size() >= arrivals_s.size());
  const double cpu_before = cpu_seconds();
  phase.begin = SteadyClock::now();
  impl_->spawn(impl_->open_dispatcher(phase));
  impl_->run_tasks();
  LevelResult level = impl_->finish(phase, cpu_before);
  level.kind = LoadKind::kRate;
  return level;
}

}  // namespace hearth::loadgen
