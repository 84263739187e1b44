// A few threads for work that would hold up an I/O thread: parsing, templates, tokenizing.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hearth {

// First come, first served, with a bound on what may wait. Thread-safe.
class WorkerPool {
 public:
  // Told what a task threw (out of memory, say), on the worker's thread.
  using OnException = std::function<void(const std::exception&)>;

  WorkerPool(std::size_t num_threads, std::size_t max_waiting);
  // Finishes the running tasks, drops the waiting ones and joins.
  ~WorkerPool();

  // False when the queue is full.
  [[nodiscard]] bool try_post(std::function<void()> task, OnException on_exception);

 private:
  struct Job {
    std::function<void()> task;
    OnException on_exception;
  };

  void work();

  const std::size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hearth
