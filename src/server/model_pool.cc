#include "server/model_pool.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"

namespace hearth {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;
using OnLease = ModelPool::OnLease;
using OnDone = ModelPool::OnDone;

// A model whose load failed is not tried again for each request: reading a broken file costs.
constexpr std::chrono::seconds kRetryFailedAfter{30};

constexpr std::string_view kFileLost = "file_lost";

std::string mebibytes(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

Status no_such_name(std::string_view name) {
  return make_status(StatusCode::kNotFound, "there is no model '{}' here", name);
}

struct Waiter {
  std::stop_token stop;
  OnLease on_lease;
};

// One model. Everything is guarded by the pool's mutex; `model` is set and cleared with the mutex
// held and stays in place as long as there are leases.
struct Entry {
  ModelSpec spec;
  ModelState state = ModelState::kUnloaded;
  Status failure;
  TimePoint failed_at{};
  std::optional<LoadedModel> model;
  std::size_t num_leases = 0;
  std::size_t num_answers = 0;  // Of those, for answers.
  TimePoint last_used{};
  bool queued = false;  // To be loaded.
  std::vector<Waiter> waiting;
  std::vector<OnDone> on_loaded;
  std::vector<OnDone> on_unloaded;
  // While unloading.
  std::optional<TimePoint> cut_at;      // When answers under way are failed.
  std::string_view unload_reason = {};  // For the metrics.

  const std::string& name() const { return spec.names.front(); }
  bool is_called(std::string_view name) const {
    return std::ranges::find(spec.names, name) != spec.names.end();
  }
  bool is_idle() const { return state == ModelState::kLoaded && num_answers == 0; }
};

bool lacks_memory(const Status& status) {
  return status.code() == StatusCode::kResourceExhausted;
}

ApiError load_failure(const Entry& entry) {
  return unavailable(
      lacks_memory(entry.failure) ? "overloaded" : "model_failed",
      fmt::format("The model '{}' is out of service: {}.", entry.name(), entry.failure.message()));
}

// What is left to call once the mutex is free.
using Calls = std::vector<std::function<void()>>;

void append_calls(Calls& calls, std::vector<OnDone>& callbacks, const Status& status) {
  for (OnDone& callback : callbacks) {
    if (callback) calls.emplace_back([call = std::move(callback), status] { call(status); });
  }
  callbacks.clear();
}

}  // namespace

std::string_view model_state_name(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kLoaded:
      return "loaded";
    case ModelState::kUnloading:
      return "unloading";
    case ModelState::kFailed:
      return "failed";
  }
  return "unknown";
}

ApiError no_such_model(const std::vector<ModelStatus>& models) {
  std::vector<std::string> names;
  for (const ModelStatus& model : models)
    names.insert(names.end(), model.names.begin(), model.names.end());
  return {404, "model_not_found",
          fmt::format("This model is not served here; there are: {}.", fmt::join(names, ", ")),
          "model", std::nullopt};
}

struct ModelPool::Impl {
  Impl(const ModelPoolOptions& pool_options, std::vector<ModelSpec> specs, Metrics& pool_metrics,
       const Clock& pool_clock);
  ~Impl();

  // A lease's end of the pool.
  struct Token {
    Impl& pool;
    Entry& entry;
    bool is_answer;
    Token(Impl& owner, Entry& used, bool answer) : pool(owner), entry(used), is_answer(answer) {}
    ~Token() { pool.release(*this); }
    Token(const Token&) = delete;
    Token& operator=(const Token&) = delete;
  };

  // All below but release(): with `mutex` held. Those that take the lock let go of it in between.
  Entry* find(std::string_view name);
  ModelLease lease(Entry& entry, bool is_answer);
  void release(const Token& token);
  std::optional<ApiResult<ModelLease>> acquire(Entry& entry, Waiting& waiting);
  std::optional<ApiResult<ModelLease>> wait_for_load(Entry& entry, Waiting& waiting);
  ModelStatus status_of(Entry& entry);
  void queue_load(Entry& entry);
  void begin_unload(Entry& entry, std::string_view reason, std::optional<TimePoint> cut_at);
  void show(const Entry& entry) const;
  Entry* least_recently_used();
  std::size_t used_bytes() const;
  std::size_t free_bytes() const;
  Status does_not_fit(const Entry& entry, std::size_t needed) const;

  // Loader thread.
  using Lock = std::unique_lock<std::mutex>;
  void run_loader();
  Entry* next_to_load();
  Result<LoadedModel> load_with_room(Lock& lock, Entry& entry);
  bool make_room(Lock& lock, std::size_t needed);
  std::size_t budget_for(const Entry& entry, std::size_t needed) const;
  void finish_load(Lock& lock, Entry& entry, Result<LoadedModel> loaded);

  // Keeper thread.
  void run_keeper();
  Entry* next_to_end(TimePoint now);
  void cut(Lock& lock, Entry& entry);
  void destroy(Lock& lock, Entry& entry);
  void expire(TimePoint now);
  void check_files(TimePoint now);
  std::optional<TimePoint> next_deadline() const;

  void call_out(Lock& lock, Calls calls);

  const ModelPoolOptions options;
  Metrics& metrics;
  const Clock& clock;

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::unique_ptr<Entry>> entries;
  std::deque<Entry*> load_queue;
  bool refusing = false;  // stop_answers() was called.
  bool closed = false;
  bool stopping = false;
  std::mutex calling;  // Held while callbacks run on the pool's threads.

  std::thread loader;
  std::thread keeper;
};

ModelPool::Impl::Impl(const ModelPoolOptions& pool_options, std::vector<ModelSpec> specs,
                      Metrics& pool_metrics, const Clock& pool_clock)
    : options(pool_options), metrics(pool_metrics), clock(pool_clock) {
  metrics.pool.memory_budget.set(static_cast<double>(options.memory_bytes));
  for (ModelSpec& spec : specs) {
    HEARTH_CHECK(!spec.names.empty() && spec.load);
    for (const std::string& name : spec.names)
      HEARTH_CHECK(find(name) == nullptr);
    entries.push_back(std::make_unique<Entry>());
    entries.back()->spec = std::move(spec);
    show(*entries.back());
  }
  loader = std::thread([this] { run_loader(); });
  keeper = std::thread([this] { run_keeper(); });
}

ModelPool::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    changed.notify_all();
  }
  loader.join();
  keeper.join();
  for (const auto& entry : entries) {
    if (entry->model) entry->model->ref.stop();
  }
  Lock lock(mutex);
  changed.wait(lock, [this] {
    return std::ranges::all_of(entries, [](const auto& entry) { return entry->num_leases == 0; });
  });
}

Entry* ModelPool::Impl::find(std::string_view name) {
  if (name.empty()) return entries.size() == 1 ? entries.front().get() : nullptr;
  const auto found =
      std::ranges::find_if(entries, [name](const auto& entry) { return entry->is_called(name); });
  return found == entries.end() ? nullptr : found->get();
}

ModelLease ModelPool::Impl::lease(Entry& entry, bool is_answer) {
  const auto token = std::make_shared<Token>(*this, entry, is_answer);
  ++entry.num_leases;
  if (is_answer) ++entry.num_answers;
  return {token, &entry.model->ref};
}

void ModelPool::Impl::release(const Token& token) {
  const std::lock_guard lock(mutex);
  Entry& entry = token.entry;
  --entry.num_leases;
  if (token.is_answer) {
    --entry.num_answers;
    entry.last_used = clock.now();
  }
  changed.notify_all();
}

std::optional<ApiResult<ModelLease>> ModelPool::Impl::acquire(Entry& entry, Waiting& waiting) {
  if (refusing) {
    return std::unexpected(unavailable("unavailable", "The server is shutting down."));
  }
  const std::string& name = entry.name();
  switch (entry.state) {
    case ModelState::kLoaded:
      return lease(entry, /*is_answer=*/true);
    case ModelState::kFailed:
      if (options.load_on_demand && clock.now() - entry.failed_at >= kRetryFailedAfter) break;
      return std::unexpected(load_failure(entry));
    case ModelState::kLoading:
      if (options.load_on_demand) break;
      return std::unexpected(unavailable("loading", "The model is still loading."));
    case ModelState::kUnloaded:
      if (options.load_on_demand) break;
      if (entry.queued)
        return std::unexpected(unavailable("loading", "The model is still loading."));
      [[fallthrough]];
    case ModelState::kUnloading:
      if (options.load_on_demand) break;
      return std::unexpected(
          unavailable("model_not_loaded", fmt::format("The model '{}' is not loaded now.", name)));
  }
  return wait_for_load(entry, waiting);
}

std::optional<ApiResult<ModelLease>> ModelPool::Impl::wait_for_load(Entry& entry,
                                                                    Waiting& waiting) {
  std::erase_if(entry.waiting, [](const Waiter& waiter) { return waiter.stop.stop_requested(); });
  if (entry.waiting.size() >= options.max_waiting) {
    return std::unexpected(unavailable(
        "overloaded",
        fmt::format("{} requests wait for the model '{}' to be loaded, the most allowed.",
                    options.max_waiting, entry.name())));
  }
  entry.waiting.push_back({std::move(waiting.stop), std::move(waiting.on_lease)});
  queue_load(entry);
  return std::nullopt;
}

ModelStatus ModelPool::Impl::status_of(Entry& entry) {
  ModelStatus status;
  status.names = entry.spec.names;
  status.source = entry.spec.source;
  status.state =
      entry.queued && entry.state != ModelState::kUnloading ? ModelState::kLoading : entry.state;
  status.failure = entry.failure.message();
  status.num_answers = entry.num_answers;
  if (entry.model) status.memory_bytes = entry.model->memory_bytes;
  if (entry.state == ModelState::kLoaded) status.lease = lease(entry, /*is_answer=*/false);
  if (entry.is_idle()) status.idle = clock.now() - entry.last_used;
  return status;
}

void ModelPool::Impl::queue_load(Entry& entry) {
  if (entry.queued || entry.state == ModelState::kLoading) return;
  entry.queued = true;
  load_queue.push_back(&entry);
  changed.notify_all();
}

void ModelPool::Impl::begin_unload(Entry& entry, std::string_view reason,
                                   std::optional<TimePoint> cut_at) {
  entry.state = ModelState::kUnloading;
  entry.unload_reason = reason;
  entry.cut_at = cut_at;
  show(entry);
  changed.notify_all();
}

void ModelPool::Impl::show(const Entry& entry) const {
  const bool answers = entry.state == ModelState::kLoaded;
  const std::size_t bytes = entry.model ? entry.model->memory_bytes : 0;
  metrics.pool.loaded.with({entry.name()}).set(answers ? 1 : 0);
  metrics.pool.memory_used.with({entry.name()}).set(static_cast<double>(bytes));
}

Entry* ModelPool::Impl::least_recently_used() {
  Entry* oldest = nullptr;
  for (const auto& entry : entries) {
    if (!entry->is_idle()) continue;
    if (oldest == nullptr || entry->last_used < oldest->last_used) oldest = entry.get();
  }
  return oldest;
}

std::size_t ModelPool::Impl::used_bytes() const {
  std::size_t sum = 0;
  for (const auto& entry : entries) {
    if (entry->model) sum += entry->model->memory_bytes;
  }
  return sum;
}

std::size_t ModelPool::Impl::free_bytes() const {
  return options.memory_bytes - std::min(options.memory_bytes, used_bytes());
}

Status ModelPool::Impl::does_not_fit(const Entry& entry, std::size_t needed) const {
  std::vector<std::string> holders;
  for (const auto& other : entries) {
    if (!other->model) continue;
    holders.push_back(fmt::format("'{}' {} for {} answers", other->name(),
                                  mebibytes(other->model->memory_bytes), other->num_answers));
  }
  return make_status(StatusCode::kResourceExhausted,
                     "the model '{}' needs at least {}, but of {} for all models {} are free; "
                     "held: {}",
                     entry.name(), mebibytes(needed), mebibytes(options.memory_bytes),
                     mebibytes(free_bytes()),
                     holders.empty() ? "none" : fmt::format("{}", fmt::join(holders, ", ")));
}

void ModelPool::Impl::run_loader() {
  ::pthread_setname_np(::pthread_self(), "hearth-loader");
  Lock lock(mutex);
  for (;;) {
    Entry* entry = nullptr;
    changed.wait(lock, [&] { return stopping || (entry = next_to_load()) != nullptr; });
    if (stopping) return;
    std::erase(load_queue, entry);
    entry->queued = false;
    entry->state = ModelState::kLoading;
    const TimePoint start = clock.now();
    Result<LoadedModel> loaded = load_with_room(lock, *entry);
    metrics.pool.load_duration.with({entry->name()})
        .observe(std::chrono::duration<double>(clock.now() - start).count());
    finish_load(lock, *entry, std::move(loaded));
  }
}

// A model that is on its way out is loaded again once it is gone.
Entry* ModelPool::Impl::next_to_load() {
  const auto ready = std::ranges::find_if(
      load_queue, [](const Entry* entry) { return entry->state != ModelState::kUnloading; });
  return ready == load_queue.end() ? nullptr : *ready;
}

Result<LoadedModel> ModelPool::Impl::load_with_room(Lock& lock, Entry& entry) {
  std::size_t needed = 0;
  if (entry.spec.estimate) {
    lock.unlock();
    const Result<std::size_t> estimate = entry.spec.estimate();
    lock.lock();
    if (!estimate.has_value()) return std::unexpected(estimate.error());
    needed = *estimate;
  }
  // With nothing to evict the load itself says best what would do.
  if (!make_room(lock, needed) && used_bytes() > 0) {
    return std::unexpected(does_not_fit(entry, needed));
  }
  for (;;) {
    const std::size_t free = free_bytes();
    const std::size_t budget = budget_for(entry, needed);
    lock.unlock();
    Result<LoadedModel> loaded = entry.spec.load(budget);
    lock.lock();
    const bool is_full = !loaded.has_value() && lacks_memory(loaded.error());
    // The estimate was too low, or its share was: with more room it may do.
    if (!is_full || stopping) return loaded;
    if (budget < free) {
      needed = free;
    } else if (!make_room(lock, free + 1)) {
      return loaded;
    } else {
      needed = free_bytes();
    }
  }
}

// Evicts idle models, the longest unused first, until so much is free. False when it cannot be.
bool ModelPool::Impl::make_room(Lock& lock, std::size_t needed) {
  while (free_bytes() < needed) {
    Entry* victim = least_recently_used();
    if (victim == nullptr || stopping) return false;
    log::info("model '{}' is evicted: {} are needed, {} free", victim->name(), mebibytes(needed),
              mebibytes(free_bytes()));
    begin_unload(*victim, "evicted", std::nullopt);
    changed.wait(lock, [&] { return stopping || victim->state != ModelState::kUnloading; });
  }
  return true;
}

// Models not loaded yet share what is free evenly, so that the first one does not take it all for
// its cache; a model that needs more than its share gets what it needs.
std::size_t ModelPool::Impl::budget_for(const Entry& entry, std::size_t needed) const {
  std::size_t num_sharing = 1;
  for (const auto& other : entries) {
    if (other.get() != &entry && !other->model) ++num_sharing;
  }
  const std::size_t free = free_bytes();
  return std::min(free, std::max(needed, free / num_sharing));
}

void ModelPool::Impl::finish_load(Lock& lock, Entry& entry, Result<LoadedModel> loaded) {
  Status status;
  if (loaded.has_value()) {
    entry.model = *std::move(loaded);
    entry.state = ModelState::kLoaded;
    entry.last_used = clock.now();
  } else {
    status = loaded.error();
    // Without room now is not broken: the next request tries again.
    entry.state = lacks_memory(status) ? ModelState::kUnloaded : ModelState::kFailed;
    entry.failed_at = clock.now();
    if (entry.on_loaded.empty()) {  // Else the operator who asked is told.
      log::warning("model '{}' cannot be loaded: {}", entry.name(), status.message());
    }
  }
  entry.failure = status;
  const std::string_view failure = lacks_memory(status) ? "no_memory" : "failed";
  metrics.pool.loads.with({entry.name(), status.ok() ? "loaded" : failure}).increment();
  show(entry);
  Calls calls;
  append_calls(calls, entry.on_loaded, status);
  for (Waiter& waiter : entry.waiting) {
    ApiResult<ModelLease> result = std::unexpected(load_failure(entry));
    if (status.ok()) result = lease(entry, /*is_answer=*/true);
    calls.emplace_back(
        [call = std::move(waiter.on_lease), result = std::move(result)] { call(result); });
  }
  entry.waiting.clear();
  changed.notify_all();
  call_out(lock, std::move(calls));
}

void ModelPool::Impl::run_keeper() {
  ::pthread_setname_np(::pthread_self(), "hearth-keeper");
  Lock lock(mutex);
  while (!stopping) {
    const TimePoint now = clock.now();
    expire(now);
    check_files(now);
    if (Entry* entry = next_to_end(now); entry != nullptr) {
      if (entry->num_leases == 0) {
        destroy(lock, *entry);
      } else {
        cut(lock, *entry);
      }
      continue;
    }
    if (const auto deadline = next_deadline()) {
      changed.wait_for(lock, *deadline - now);
    } else {
      changed.wait(lock);
    }
  }
}

Entry* ModelPool::Impl::next_to_end(TimePoint now) {
  for (const auto& entry : entries) {
    if (entry->state != ModelState::kUnloading) continue;
    if (entry->num_leases == 0 || (entry->cut_at && *entry->cut_at <= now)) return entry.get();
  }
  return nullptr;
}

// The engine stays in place: only this thread ends models.
void ModelPool::Impl::cut(Lock& lock, Entry& entry) {
  log::warning("model '{}' is unloaded: failing {} answers under way", entry.name(),
               entry.num_answers);
  entry.cut_at.reset();
  lock.unlock();
  entry.model->ref.stop();
  lock.lock();
}

void ModelPool::Impl::destroy(Lock& lock, Entry& entry) {
  std::optional<LoadedModel> model = std::exchange(entry.model, std::nullopt);
  lock.unlock();
  const std::size_t bytes = model->memory_bytes;
  model.reset();
  ::malloc_trim(0);  // The allocator keeps freed memory otherwise.
  log::info("model '{}' is unloaded, {} are free again", entry.name(), mebibytes(bytes));
  lock.lock();
  const bool has_failed = !entry.failure.ok();
  entry.state = has_failed ? ModelState::kFailed : ModelState::kUnloaded;
  if (has_failed) entry.failed_at = clock.now();
  entry.cut_at.reset();
  metrics.pool.unloads.with({entry.name(), entry.unload_reason}).increment();
  show(entry);
  Calls calls;
  append_calls(calls, entry.on_unloaded, {});
  changed.notify_all();
  call_out(lock, std::move(calls));
}

void ModelPool::Impl::expire(TimePoint now) {
  if (options.ttl.count() == 0) return;
  for (const auto& entry : entries) {
    if (!entry->is_idle() || now - entry->last_used < options.ttl) continue;
    log::info("model '{}' was not used for {} ms", entry->name(), options.ttl.count());
    begin_unload(*entry, "unused", std::nullopt);
  }
}

// Each end of a lease leads here, so that a model whose answers failed goes at once.
void ModelPool::Impl::check_files(TimePoint now) {
  for (const auto& entry : entries) {
    if (entry->state != ModelState::kLoaded || !entry->model->intact) continue;
    entry->failure = entry->model->intact();
    if (entry->failure.ok()) continue;
    log::error("model '{}' is given up: {}", entry->name(), entry->failure.message());
    begin_unload(*entry, kFileLost, now);
  }
}

std::optional<TimePoint> ModelPool::Impl::next_deadline() const {
  std::optional<TimePoint> first;
  const auto consider = [&first](TimePoint time) { first = std::min(first.value_or(time), time); };
  for (const auto& entry : entries) {
    if (options.ttl.count() > 0 && entry->is_idle()) consider(entry->last_used + options.ttl);
    if (entry->state == ModelState::kUnloading && entry->cut_at) consider(*entry->cut_at);
  }
  return first;
}

void ModelPool::Impl::call_out(Lock& lock, Calls calls) {
  lock.unlock();
  {
    const std::lock_guard call_lock(calling);
    for (const auto& call : calls)
      call();
    calls.clear();  // With the leases they hold.
  }
  lock.lock();
}

ModelPool::ModelPool(const ModelPoolOptions& options, std::vector<ModelSpec> specs,
                     Metrics& metrics, const Clock& clock)
    : impl_(std::make_unique<Impl>(options, std::move(specs), metrics, clock)) {}
ModelPool::~ModelPool() = default;

std::optional<ApiResult<ModelLease>> ModelPool::acquire(std::string_view name, Waiting waiting) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (Entry* entry = impl_->find(name); entry != nullptr) return impl_->acquire(*entry, waiting);
  }
  if (name.empty()) {
    return std::unexpected(
        invalid_field("model", "missing_field",
                      "'model' is required: this server has several; see GET /v1/models."));
  }
  return std::unexpected(no_such_model(list()));
}

std::size_t ModelPool::memory_bytes() const {
  return impl_->options.memory_bytes;
}

std::vector<ModelStatus> ModelPool::list() const {
  std::vector<ModelStatus> out;
  const std::lock_guard lock(impl_->mutex);
  for (const auto& entry : impl_->entries)
    out.push_back(impl_->status_of(*entry));
  return out;
}

std::optional<ModelStatus> ModelPool::find(std::string_view name) const {
  const std::lock_guard lock(impl_->mutex);
  Entry* entry = impl_->find(name);
  if (entry == nullptr) return std::nullopt;
  return impl_->status_of(*entry);
}

void ModelPool::load(std::string_view name, OnDone on_done) {
  Status status;
  {
    const std::lock_guard lock(impl_->mutex);
    Entry* entry = impl_->find(name);
    if (entry == nullptr) {
      status = no_such_name(name);
    } else if (impl_->closed) {
      status = Status(StatusCode::kUnavailable, "the server is shutting down");
    } else if (entry->state != ModelState::kLoaded) {
      entry->on_loaded.push_back(std::move(on_done));
      impl_->queue_load(*entry);
      return;
    }
  }
  if (on_done) on_done(status);
}

void ModelPool::unload(std::string_view name, std::chrono::milliseconds patience, OnDone on_done) {
  Status status;
  {
    const std::lock_guard lock(impl_->mutex);
    Entry* entry = impl_->find(name);
    if (entry == nullptr) {
      status = no_such_name(name);
    } else if (entry->queued || entry->state == ModelState::kLoading) {
      status = make_status(StatusCode::kUnavailable, "the model '{}' is being loaded", name);
    } else if (entry->state == ModelState::kLoaded || entry->state == ModelState::kUnloading) {
      const TimePoint cut_at = impl_->clock.now() + patience;
      const bool was_unloading = entry->state == ModelState::kUnloading;
      const TimePoint earliest =
          was_unloading ? std::min(cut_at, entry->cut_at.value_or(cut_at)) : cut_at;
      entry->on_unloaded.push_back(std::move(on_done));
      impl_->begin_unload(*entry, "requested", earliest);
      return;
    } else {
      entry->state = ModelState::kUnloaded;  // A failure is forgotten.
      entry->failure = {};
    }
  }
  if (on_done) on_done(status);
}

void ModelPool::stop_answers() {
  std::vector<ModelLease> loaded;
  std::vector<Waiter> waiting;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->refusing = true;
    for (const auto& entry : impl_->entries) {
      std::ranges::move(entry->waiting, std::back_inserter(waiting));
      entry->waiting.clear();
      if (entry->model) loaded.push_back(impl_->lease(*entry, /*is_answer=*/false));
    }
  }
  for (const Waiter& waiter : waiting)
    waiter.on_lease(std::unexpected(unavailable("unavailable", "The server is shutting down.")));
  for (const ModelLease& model : loaded)
    model->stop();
}

void ModelPool::close() {
  std::vector<Waiter> waiting;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->refusing = true;
    impl_->closed = true;
    for (const auto& entry : impl_->entries) {
      std::ranges::move(entry->waiting, std::back_inserter(waiting));
      entry->waiting.clear();
      entry->on_loaded.clear();
      entry->on_unloaded.clear();
    }
  }
  const std::lock_guard wait_for_calls(impl_->calling);
}

}  // namespace hearth
