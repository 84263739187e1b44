#include "server/worker_pool.h"

#include <utility>

namespace hearth {

WorkerPool::WorkerPool(std::size_t num_threads, std::size_t max_waiting)
    : max_waiting_(max_waiting) {
  threads_.reserve(num_threads);
  for (std::size_t i = 0; i < num_threads; ++i)
    threads_.emplace_back([this] { work(); });
}

WorkerPool::~WorkerPool() {
  std::deque<Job> dropped;  // Destroyed outside the lock.
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads_)
    thread.join();
}

bool WorkerPool::try_post(std::function<void()> task, OnException on_exception) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || waiting_.size() >= max_waiting_) return false;
    waiting_.push_back({std::move(task), std::move(on_exception)});
  }
  changed_.notify_one();
  return true;
}

void WorkerPool::work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    try {
      job.task();
    } catch (const std::exception& exception) {
      job.on_exception(exception);
    }
  }
}

}  // namespace hearth
