// The two hand-offs between the engine thread and the rest of the process: commands in, events out.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "engine/scheduler.h"

namespace hearth {

class ActiveRequest;

bool is_terminal(const GenerationEvent& event);

// The events of one request on their way to its consumer. Thread-safe. The number of events is
// bounded by the request itself: one PromptDone, tokens and an end per choice, one terminal.
class RequestChannel {
 public:
  explicit RequestChannel(Engine::Notify notify) : notify_(std::move(notify)) {}

  // Engine side. Hands over and clears `events`; calls the notifier when none were pending. Nothing
  // may follow a terminal event.
  void deliver(std::vector<GenerationEvent>& events);

  // Consumer side; see GenerationHandle.
  bool poll(std::vector<GenerationEvent>& events);
  bool wait(std::vector<GenerationEvent>& events);
  // The terminal event has been delivered, though perhaps not yet handed out.
  bool ended() const;

 private:
  bool take(std::vector<GenerationEvent>& events);

  const Engine::Notify notify_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<GenerationEvent> pending_;
  bool ended_ = false;
};

struct SubmitCommand {
  std::unique_ptr<ActiveRequest> request;
};
struct CancelCommand {
  RequestId id = 0;
};
struct EndChoiceCommand {
  SequenceId id;
};
using Command = std::variant<SubmitCommand, CancelCommand, EndChoiceCommand>;

// What the process asks of the engine thread. Thread-safe; take() is the engine thread's. Bounded:
// a request is there once, and each of its handles cancels it, or ends a choice, at most once.
class CommandQueue {
 public:
  // At most max_queued requests wait between submit() and leave_queue().
  CommandQueue(std::size_t max_queued, const Clock& clock);
  ~CommandQueue();

  // Numbers the request and queues it; kResourceExhausted or kUnavailable as Engine::submit().
  Result<RequestId> submit(std::unique_ptr<ActiveRequest> request);
  void send(Command command);

  // Moves everything queued into `commands`; with `wait`, not before something is there or the
  // queue was closed. False once it was closed.
  bool take(std::vector<Command>& commands, bool wait);

  void drain();
  void close();

  // Life of a request after submit(): it runs (or ended) first, and ends last.
  void leave_queue();
  void end_request();
  bool idle() const;

  // The engine made progress now.
  void note_step();
  struct Progress {
    bool has_work = false;
    std::chrono::steady_clock::duration
        since_last_step{};  // Or since work arrived at an idle engine.
  };
  Progress progress() const;

 private:
  const std::size_t max_queued_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Command> pending_;
  bool draining_ = false;
  bool closed_ = false;
  std::size_t num_queued_ = 0;
  std::size_t num_live_ = 0;
  RequestId next_id_ = 1;
  std::chrono::steady_clock::time_point last_step_;
};

}  // namespace hearth
