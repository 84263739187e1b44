// An engine whose every event the test decides: nothing happens by itself, nothing depends on time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace hearth::test {

// One submitted request, seen from the engine's side. Thread-safe.
class FakeRequest {
 public:
  FakeRequest(GenerationRequest request, Engine::Notify notify)
      : request_(std::move(request)), notify_(std::move(notify)) {}

  const GenerationRequest& request() const { return request_; }

  void emit(GenerationEvent event) {
    bool was_empty = false;
    {
      const std::lock_guard lock(mutex_);
      was_empty = events_.empty();
      events_.push_back(std::move(event));
    }
    if (was_empty && notify_) notify_();
  }
  void prompt_done(std::uint32_t cached_tokens = 0) {
    emit(PromptDone{.cached_tokens = cached_tokens, .logprobs = {}});
  }
  void token(std::int32_t id, std::uint32_t choice = 0) {
    emit(TokenGenerated{.choice = choice, .id = id, .logprobs = std::nullopt});
  }
  void finish_choice(FinishReason reason = FinishReason::kStop, std::uint32_t choice = 0) {
    emit(ChoiceFinished{.choice = choice, .reason = reason, .stop_token = std::nullopt});
  }
  void finish() { emit(RequestFinished{}); }
  void fail(StatusCode code, std::string message) {
    emit(RequestFailed{.status = Status(code, std::move(message))});
  }

  bool take(std::vector<GenerationEvent>& events) {
    const std::lock_guard lock(mutex_);
    for (GenerationEvent& event : events_)
      events.push_back(std::move(event));
    events_.clear();
    return false;
  }
  void note_cancelled() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }
  void note_ended_choice(std::uint32_t choice) {
    const std::lock_guard lock(mutex_);
    ended_choices_.insert(choice);
    changed_.notify_all();
  }

  void wait_until_cancelled() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return cancelled_; });
  }
  void wait_until_choice_ended(std::uint32_t choice) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_choices_.contains(choice); });
  }
  bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

 private:
  const GenerationRequest request_;
  const Engine::Notify notify_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<GenerationEvent> events_;
  bool cancelled_ = false;
  std::set<std::uint32_t> ended_choices_;
};

class FakeEngine final : public Engine {
 public:
  static constexpr std::size_t kMaxQueued = 8;
  // Called within submit(), before it returns; may emit events at once.
  using Script = std::function<void(FakeRequest&)>;

  explicit FakeEngine(std::size_t max_len = 512) : max_model_len_(max_len) {
    config_.architecture = "llama";
    config_.context_len = max_len;
  }

  Result<std::shared_ptr<GenerationHandle>> submit(GenerationRequest request,
                                                   Notify notify) override {
    std::shared_ptr<FakeRequest> fake;
    Script script;
    {
      const std::lock_guard lock(mutex_);
      if (refusal_) return std::unexpected(*refusal_);
      fake = std::make_shared<FakeRequest>(std::move(request), std::move(notify));
      requests_.push_back(fake);
      script = script_;
      changed_.notify_all();
    }
    if (script) script(*fake);
    return std::make_shared<Handle>(std::move(fake));
  }

  EngineStatus status() const override {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  std::size_t max_model_len() const override { return max_model_len_; }
  std::size_t max_queued_requests() const override { return kMaxQueued; }
  const ModelConfig& model_config() const override { return config_; }
  const MemoryBudget& memory() const override { return memory_; }
  // Fails every request, as an engine does that ends with work left.
  void stop() override {
    const std::lock_guard lock(mutex_);
    for (const auto& request : requests_)
      request->fail(StatusCode::kUnavailable, "the server is shutting down");
  }
  void drain() override {}
  bool idle() const override { return true; }

  void set_script(Script script) {
    const std::lock_guard lock(mutex_);
    script_ = std::move(script);
  }
  void set_refusal(std::optional<Status> refusal) {
    const std::lock_guard lock(mutex_);
    refusal_ = std::move(refusal);
  }
  void set_status(const EngineStatus& status) {
    const std::lock_guard lock(mutex_);
    status_ = status;
  }
  // The request submitted as number `index`; waits for it.
  std::shared_ptr<FakeRequest> request(std::size_t index = 0) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return requests_.size() > index; });
    return requests_[index];
  }
  std::size_t num_requests() const {
    const std::lock_guard lock(mutex_);
    return requests_.size();
  }

 private:
  class Handle final : public GenerationHandle {
   public:
    explicit Handle(std::shared_ptr<FakeRequest> request) : request_(std::move(request)) {}
    ~Handle() override { request_->note_cancelled(); }
    bool poll(std::vector<GenerationEvent>& events) override { return request_->take(events); }
    bool wait(std::vector<GenerationEvent>& events) override { return request_->take(events); }
    void cancel() override { request_->note_cancelled(); }
    void end_choice(std::uint32_t choice) override { request_->note_ended_choice(choice); }

   private:
    std::shared_ptr<FakeRequest> request_;
  };

  const std::size_t max_model_len_;
  ModelConfig config_;
  MemoryBudget memory_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Script script_;
  std::optional<Status> refusal_;
  EngineStatus status_;
  std::vector<std::shared_ptr<FakeRequest>> requests_;
};

}  // namespace hearth::test
