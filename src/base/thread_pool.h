// Fork-join on a fixed set of threads, for numeric loops that last microseconds.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace hearth {

// Owns num_threads - 1 threads; the caller of run() is the last worker. Idle workers spin for a
// bounded time, then park, so that a fork costs about a microsecond in a busy loop and nothing when
// idle. Only one thread may call run() at a time and a task must not call run() itself; tasks must
// not throw.
class ThreadPool {
 public:
  // num_threads >= 1.
  explicit ThreadPool(std::size_t num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t num_threads() const;

  // Calls task(task_idx, worker_idx) once for every task_idx in [0, num_tasks), worker_idx in
  // [0, num_threads), and returns when all are done; what tasks wrote is then visible to the
  // caller. Tasks are claimed one at a time, so a slow core does not hold the others up. Which
  // worker runs which task is not defined: results must not depend on it. Allocates nothing.
  template <typename Task>
  void run(std::size_t num_tasks, Task&& task) {
    using Plain = std::remove_reference_t<Task>;
    run_erased(
        num_tasks,
        [](void* context, std::size_t task_idx, std::size_t worker_idx) {
          (*static_cast<Plain*>(context))(task_idx, worker_idx);
        },
        const_cast<void*>(static_cast<const void*>(&task)));
  }

  // CPUs this process may use: its affinity mask and cgroup quota, at least 1.
  static std::size_t available_cpus();

 private:
  using ErasedTask = void (*)(void* context, std::size_t task_idx, std::size_t worker_idx);
  void run_erased(std::size_t num_tasks, ErasedTask task, void* context);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
