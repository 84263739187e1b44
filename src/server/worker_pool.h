// A few threads for work that would hold up an I/O thread: parsing, templates, tokenizing.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hearth {

// First come, first served, with a bound on what may wait. Thread-safe. Tasks must not throw.
class WorkerPool {
 public:
  WorkerPool(std::size_t num_threads, std::size_t max_waiting);
  // Finishes the running tasks, drops the waiting ones and joins.
  ~WorkerPool();

  // False when the queue is full.
  [[nodiscard]] bool try_post(std::function<void()> task);

 private:
  void work();

  const std::size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hearth
