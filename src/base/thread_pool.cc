#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu_limit.h"
#include "base/status.h"

namespace hearth {
namespace {

// Long enough to bridge the gaps between the forks of one decode step, short enough that an idle
// server costs nothing and a hogged core is given back soon.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr std::size_t kCacheLine = 64;

void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// True as soon as `done()` holds; false when it still does not after kSpinTime.
template <typename Done>
bool spin_until(Done done) {
  constexpr int kChecksPerClockRead = 16;
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kChecksPerClockRead; ++i) {
      if (done()) return true;
      cpu_relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

}  // namespace

// One job at a time. `claim` holds the job's number in its upper half and how many of its tasks are
// unclaimed in its lower half; a worker takes a task by decrementing it, which fails when the job
// is over. A successful claim keeps the job (and so its description) alive, because run() waits
// until `unfinished` is zero; a late worker therefore never touches a later job's description by
// mistake.
//
// Parking follows one rule on both sides: announce the sleep, then look again; change the state,
// then look for sleepers. Both pairs are sequentially consistent, so one side always sees the
// other.
struct ThreadPool::Impl {
  explicit Impl(std::size_t count) : num_threads(count) {
    threads.reserve(count - 1);
    for (std::size_t idx = 0; idx + 1 < count; ++idx) {
      threads.emplace_back([this, idx] { work(idx); });
    }
  }

  ~Impl() {
    stopping.store(true);
    {
      const std::lock_guard lock(mutex);
      wake_workers.notify_all();
    }
    for (std::thread& thread : threads)
      thread.join();
  }

  static std::uint32_t job_of(std::uint64_t claim) {
    return static_cast<std::uint32_t>(claim >> 32);
  }
  static std::uint32_t unclaimed_of(std::uint64_t claim) {
    return static_cast<std::uint32_t>(claim);
  }

  void run(std::size_t tasks, ErasedTask task, void* context) {
    num_tasks = static_cast<std::uint32_t>(tasks);
    job_task = task;
    job_context = context;
    unfinished.store(num_tasks, std::memory_order_relaxed);
    const std::uint32_t job = job_of(claim.load(std::memory_order_relaxed)) + 1;
    claim.store((std::uint64_t{job} << 32) | num_tasks);
    if (sleeping_workers.load() > 0) {
      const std::lock_guard lock(mutex);
      wake_workers.notify_all();
    }
    run_tasks(job, num_threads - 1);
    wait_until_finished();
  }

  // Claims and runs tasks of `job` until none is left.
  void run_tasks(std::uint32_t job, std::size_t worker_idx) {
    std::uint32_t finished = 0;
    std::uint64_t current = claim.load(std::memory_order_acquire);
    while (job_of(current) == job && unclaimed_of(current) > 0) {
      if (!claim.compare_exchange_weak(current, current - 1, std::memory_order_acq_rel)) continue;
      job_task(job_context, num_tasks - unclaimed_of(current), worker_idx);
      ++finished;
      current = claim.load(std::memory_order_acquire);
    }
    if (finished > 0 && unfinished.fetch_sub(finished) == finished && caller_sleeping.load()) {
      const std::lock_guard lock(mutex);
      wake_caller.notify_one();
    }
  }

  void wait_until_finished() {
    const auto finished = [this] { return unfinished.load() == 0; };
    if (spin_until(finished)) return;
    std::unique_lock lock(mutex);
    caller_sleeping.store(true);
    wake_caller.wait(lock, finished);
    caller_sleeping.store(false);
  }

  void work(std::size_t worker_idx) {
    std::uint32_t last_job = 0;
    const auto has_news = [this, &last_job] {
      return job_of(claim.load()) != last_job || stopping.load();
    };
    for (;;) {
      if (!spin_until(has_news)) {
        std::unique_lock lock(mutex);
        sleeping_workers.fetch_add(1);
        wake_workers.wait(lock, has_news);
        sleeping_workers.fetch_sub(1);
      }
      if (stopping.load()) return;
      last_job = job_of(claim.load());
      run_tasks(last_job, worker_idx);
    }
  }

  const std::size_t num_threads;
  // The job's description: written while no task of any job is claimable, read after a claim.
  std::uint32_t num_tasks = 0;
  ErasedTask job_task = nullptr;
  void* job_context = nullptr;

  alignas(kCacheLine) std::atomic<std::uint64_t> claim{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> unfinished{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> sleeping_workers{0};
  std::atomic<bool> caller_sleeping{false};
  std::atomic<bool> stopping{false};
  std::mutex mutex;  // Guards nothing but the two waits.
  std::condition_variable wake_workers;
  std::condition_variable wake_caller;
  std::vector<std::thread> threads;
};

ThreadPool::ThreadPool(std::size_t num_threads) {
  HEARTH_CHECK(num_threads >= 1);
  impl_ = std::make_unique<Impl>(num_threads);
}

ThreadPool::~ThreadPool() = default;

std::size_t ThreadPool::num_threads() const {
  return impl_->num_threads;
}

void ThreadPool::run_erased(std::size_t num_tasks, ErasedTask task, void* context) {
  HEARTH_CHECK(num_tasks <= UINT32_MAX);
  if (num_tasks == 0) return;
  if (num_tasks == 1 || impl_->num_threads == 1) {
    for (std::size_t idx = 0; idx < num_tasks; ++idx)
      task(context, idx, impl_->num_threads - 1);
    return;
  }
  impl_->run(num_tasks, task, context);
}

std::size_t ThreadPool::available_cpus() {
  std::size_t cpus = std::max<std::size_t>(1, std::thread::hardware_concurrency());
  // The mask is as large as the kernel's, which may know more CPUs than a fixed cpu_set_t holds.
  for (std::size_t capacity = 1024; capacity <= (1U << 20); capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(capacity);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(capacity);
    const bool fits = sched_getaffinity(0, bytes, set) == 0;
    if (fits) cpus = static_cast<std::size_t>(std::max(1, CPU_COUNT_S(bytes, set)));
    CPU_FREE(set);
    if (fits) break;
  }
  std::ifstream file("/proc/self/cgroup");
  const std::string self_cgroup{std::istreambuf_iterator<char>(file), {}};
  if (const auto quota = cgroup_cpu_quota("/sys/fs/cgroup", self_cgroup)) {
    const double whole = std::ceil(*quota - 1e-6);
    if (whole < static_cast<double>(cpus)) {
      cpus = std::max<std::size_t>(1, static_cast<std::size_t>(std::max(1.0, whole)));
    }
  }
  return cpus;
}

}  // namespace hearth
