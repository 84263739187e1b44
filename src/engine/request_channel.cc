#include "engine/request_channel.h"

#include <iterator>
#include <utility>

#include "engine/active_request.h"

namespace hearth {

bool is_terminal(const GenerationEvent& event) {
  return std::holds_alternative<RequestFinished>(event) ||
         std::holds_alternative<RequestCancelled>(event) ||
         std::holds_alternative<RequestFailed>(event);
}

void RequestChannel::deliver(std::vector<GenerationEvent>& events) {
  if (events.empty()) return;
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    was_empty = pending_.empty();
    pending_.reserve(events.capacity());  // So that a step with many events needs no more later.
    for (GenerationEvent& event : events) {
      HEARTH_CHECK(!ended_);
      ended_ = is_terminal(event);
      pending_.push_back(std::move(event));
    }
  }
  events.clear();
  if (!was_empty) return;
  arrived_.notify_all();
  if (notify_) notify_();
}

bool RequestChannel::take(std::vector<GenerationEvent>& events) {
  std::ranges::move(pending_, std::back_inserter(events));
  pending_.clear();
  return ended_;
}

bool RequestChannel::poll(std::vector<GenerationEvent>& events) {
  const std::lock_guard lock(mutex_);
  return take(events);
}

bool RequestChannel::wait(std::vector<GenerationEvent>& events) {
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return !pending_.empty() || ended_; });
  return take(events);
}

bool RequestChannel::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

CommandQueue::CommandQueue(std::size_t max_queued, const Clock& clock)
    : max_queued_(max_queued), clock_(clock), last_step_(clock.now()) {}

CommandQueue::~CommandQueue() = default;

Result<RequestId> CommandQueue::submit(std::unique_ptr<ActiveRequest> request) {
  const auto now = clock_.now();
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (draining_ || closed_) {
      return error(StatusCode::kUnavailable, "the server is shutting down");
    }
    if (num_queued_ >= max_queued_) {
      return error(StatusCode::kResourceExhausted,
                   "the queue is full: {} requests are waiting, and {} are allowed", num_queued_,
                   max_queued_);
    }
    if (num_live_ == 0) last_step_ = now;
    ++num_queued_;
    ++num_live_;
    id = next_id_++;
    request->accepted(id, now);
    pending_.push_back(SubmitCommand{std::move(request)});
  }
  arrived_.notify_one();
  return id;
}

void CommandQueue::send(Command command) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    pending_.push_back(std::move(command));
  }
  arrived_.notify_one();
}

bool CommandQueue::take(std::vector<Command>& commands, bool wait) {
  std::unique_lock lock(mutex_);
  if (wait) arrived_.wait(lock, [this] { return closed_ || !pending_.empty(); });
  std::ranges::move(pending_, std::back_inserter(commands));
  pending_.clear();
  return !closed_;
}

void CommandQueue::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void CommandQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  arrived_.notify_one();
}

void CommandQueue::leave_queue() {
  const std::lock_guard lock(mutex_);
  HEARTH_CHECK(num_queued_ > 0);
  --num_queued_;
}

void CommandQueue::end_request() {
  const std::lock_guard lock(mutex_);
  HEARTH_CHECK(num_live_ > 0);
  --num_live_;
}

bool CommandQueue::idle() const {
  const std::lock_guard lock(mutex_);
  return num_live_ == 0;
}

void CommandQueue::note_step() {
  const auto now = clock_.now();
  const std::lock_guard lock(mutex_);
  last_step_ = now;
}

CommandQueue::Progress CommandQueue::progress() const {
  const auto now = clock_.now();
  const std::lock_guard lock(mutex_);
  return {.has_work = num_live_ > 0, .since_last_step = now - last_step_};
}

}  // namespace hearth
