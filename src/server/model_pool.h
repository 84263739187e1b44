// The models of one process: which there are, which are in memory, and who uses them.
//
//   ModelPool pool(options, std::move(specs));
//   pool.load("chat", [](const Status& status) { ... });     // or at the first request
//   auto lease = pool.acquire("chat", {.stop = stop, .on_lease = ...});
//   (*lease)->engine->submit(...);                            // lives as long as the lease
//
// A model is in memory at most once, however many ask for it. A lease keeps it there: a model is
// unloaded only when its last lease is gone, so an engine never ends below an answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "metrics/metrics.h"
#include "server/api_error.h"
#include "server/model_ref.h"

namespace hearth {

// A model in memory: what requests use of it, and what keeps that alive.
struct LoadedModel {
  ModelRef ref;
  std::shared_ptr<void> owner = nullptr;  // Of the parts that `ref` points to.
  std::size_t memory_bytes = 0;           // Weights, keys and values, activations.
  // An error when its files are not any more what they were: it is then unloaded, and has failed.
  // Called with the pool's lock held, so quick. Empty: never.
  std::function<Status()> intact = nullptr;
};

// A model that may be loaded. The functions are called on the pool's loader thread, one at a time.
struct ModelSpec {
  std::vector<std::string> names;  // What requests call it: at least one; the first is its own.
  std::string source;              // What the operator called it, for messages.
  // The least memory it can do with. Not set: nothing is known.
  std::function<Result<std::size_t>()> estimate = nullptr;
  // Loads it so that it takes at most `budget_bytes`. kResourceExhausted: it needs more.
  std::function<Result<LoadedModel>(std::size_t budget_bytes)> load;
};

struct ModelPoolOptions {
  std::size_t memory_bytes = SIZE_MAX;  // What all models together may take.
  bool load_on_demand = false;          // A request for a model that is not in memory loads it.
  std::size_t max_waiting = 64;         // Requests that wait for one model to be loaded.
  std::chrono::milliseconds ttl{0};     // Unloaded after so long without an answer. 0: never.
};

enum class ModelState : std::uint8_t { kUnloaded, kLoading, kLoaded, kUnloading, kFailed };
std::string_view model_state_name(ModelState state);

// One model as of now.
struct ModelStatus {
  std::vector<std::string> names;
  std::string source;
  ModelState state = ModelState::kUnloaded;
  std::string failure;                         // Why it could not be loaded, when kFailed.
  ModelLease lease;                            // Of a loaded one; does not count as an answer.
  std::size_t memory_bytes = 0;                // Of one in memory.
  std::size_t num_answers = 0;                 // Leases for answers.
  std::chrono::steady_clock::duration idle{};  // Since its last answer, when loaded without any.
};

// Thread-safe. Two threads of its own: one loads models, one after the other (a load uses every
// core anyway); the other one ends them. Callbacks come on these threads or within the call that
// took them, without a lock held; they must return at once.
class ModelPool {
 public:
  using OnLease = std::function<void(ApiResult<ModelLease>)>;
  using OnDone = std::function<void(const Status&)>;

  // Names must be distinct. `metrics` and `clock` outlive the pool.
  ModelPool(const ModelPoolOptions& options, std::vector<ModelSpec> specs, Metrics& metrics,
            const Clock& clock = system_clock());
  // Stops all engines and waits for their leases; whoever holds one elsewhere must be gone.
  ~ModelPool();
  ModelPool(const ModelPool&) = delete;
  ModelPool& operator=(const ModelPool&) = delete;

  struct Waiting {
    std::stop_token stop = {};  // The client has left.
    OnLease on_lease;           // Called when acquire() returned nothing.
  };
  // A lease for an answer, or why there is none; nullopt when the model is being loaded for it:
  // then on_lease is called, unless close() comes first. An empty name means the only model.
  std::optional<ApiResult<ModelLease>> acquire(std::string_view name, Waiting waiting);

  // What all models together may take.
  std::size_t memory_bytes() const;

  // The models in the order of their specs.
  std::vector<ModelStatus> list() const;
  // The one called `name`, if there is one.
  std::optional<ModelStatus> find(std::string_view name) const;

  // Loads a model, also one whose last load failed, and evicts idle ones for it if it must. ok at
  // once when it is loaded. kNotFound: no such model; kResourceExhausted: no memory.
  void load(std::string_view name, OnDone on_done);
  // No new answers from now on; those under way are failed after `patience`. ok when it is out of
  // memory. kNotFound: no such model; kUnavailable: it is being loaded.
  void unload(std::string_view name, std::chrono::milliseconds patience, OnDone on_done);

  // Fails all answers under way and all waiting requests, and refuses new ones.
  void stop_answers();
  // Drops what waits; when this returns no callback runs or will.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// 404, with what there is. The same for every name there is not.
ApiError no_such_model(const std::vector<ModelStatus>& models);

}  // namespace hearth
