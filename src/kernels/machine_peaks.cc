#include "kernels/machine_peaks.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>

#include "kernels/dispatch.h"
#include "kernels/kernels.h"
#include "kernels/peak_loops.h"

namespace hearth {
namespace {

constexpr std::size_t kReadBytes = std::size_t{512} << 20;
constexpr std::size_t kReadTaskBytes = std::size_t{4} << 20;
constexpr std::size_t kWordsPerLine = 64 / sizeof(std::uint64_t);
constexpr std::size_t kStreams = 4;

constexpr std::size_t kPeakRounds = 20'000;  // Some 0.1 ms.
constexpr std::size_t kTasksPerThread = 16;  // Small tasks: a disturbed thread does fewer.

constexpr int kMinRepeats = 3;

// One thread is timed by the CPU it uses, so that preemption by other programs does not count.
double now_seconds(const ThreadPool& threads) {
  timespec time{};
  clock_gettime(threads.num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Shortest time of one call, in seconds.
template <typename Call>
double best_seconds(const ThreadPool& threads, std::chrono::milliseconds budget, Call call) {
  const double limit = std::chrono::duration<double>(budget).count();
  double best = std::numeric_limits<double>::infinity();
  double total = 0;
  for (int i = 0; i < kMinRepeats || total < limit; ++i) {
    const double start = now_seconds(threads);
    call();
    const double seconds = now_seconds(threads) - start;
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

// One word per cache line from four places at once: the loads, not the sums, are what takes time.
std::uint64_t read_lines(const std::uint64_t* words, std::size_t num_words) {
  const std::size_t stream_words = num_words / kStreams;
  std::uint64_t sums[kStreams] = {};
  for (std::size_t i = 0; i < stream_words; i += kWordsPerLine) {
    for (std::size_t s = 0; s < kStreams; ++s)
      sums[s] += words[s * stream_words + i];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

double measure_read(ThreadPool& threads, std::chrono::milliseconds budget) {
  constexpr std::size_t kTaskWords = kReadTaskBytes / sizeof(std::uint64_t);
  constexpr std::size_t kNumTasks = kReadBytes / kReadTaskBytes;
  const std::vector<std::uint64_t> memory(kNumTasks * kTaskWords, 1);
  std::atomic<std::uint64_t> sink = 0;
  const double seconds = best_seconds(threads, budget, [&] {
    threads.run(kNumTasks, [&](std::size_t task, std::size_t /*worker*/) {
      sink.fetch_add(read_lines(memory.data() + task * kTaskWords, kTaskWords),
                     std::memory_order_relaxed);
    });
  });
  return static_cast<double>(kReadBytes) / seconds;
}

double measure_loop(ThreadPool& threads, std::chrono::milliseconds budget, PeakLoops::Loop loop) {
  if (loop == nullptr) return 0;
  const std::size_t num_tasks = threads.num_threads() * kTasksPerThread;
  std::atomic<double> macs_per_task = 0;
  const double seconds = best_seconds(threads, budget, [&] {
    threads.run(num_tasks, [&](std::size_t /*task*/, std::size_t /*worker*/) {
      macs_per_task.store(loop(kPeakRounds), std::memory_order_relaxed);
    });
  });
  return macs_per_task * static_cast<double>(num_tasks) / seconds;
}

// None for a set that has the units of another, or half their width, nor for plain loops.
const PeakLoops* loops_of(std::string_view kernels) {
  if (kernels == "avx512") return avx512_peak_loops();
  if (kernels == "avx2-vnni") return avx2_vnni_peak_loops();
  if (kernels == "avx2") return avx2_peak_loops();
  if (kernels == "neon-i8mm") return neon_i8mm_peak_loops();
  if (kernels == "neon-dotprod") return neon_dotprod_peak_loops();
  if (kernels == "neon") return neon_peak_loops();
  return nullptr;
}

template <typename Value>
std::optional<double> best_of(const std::vector<ArithmeticPeaks>& sets, Value value) {
  double best = 0;
  for (const ArithmeticPeaks& set : sets)
    best = std::max(best, value(set));
  return best > 0 ? std::optional(best) : std::nullopt;
}

}  // namespace

std::optional<double> MachinePeaks::fp32() const {
  return best_of(arithmetic, [](const ArithmeticPeaks& set) { return set.fp32; });
}

std::optional<double> MachinePeaks::int8() const {
  return best_of(arithmetic,
                 [](const ArithmeticPeaks& set) { return std::max(set.int8, set.int8_in_16); });
}

MachinePeaks measure_peaks(ThreadPool& threads, std::chrono::milliseconds budget) {
  MachinePeaks peaks;
  peaks.read_bytes_per_s = measure_read(threads, budget);
  for (const KernelSetInfo& set : kernel_sets()) {
    const PeakLoops* loops = set.supported ? loops_of(set.name) : nullptr;
    if (loops == nullptr) continue;
    peaks.arithmetic.push_back({.kernels = set.name,
                                .fp32 = measure_loop(threads, budget, loops->fp32),
                                .int8 = measure_loop(threads, budget, loops->int8),
                                .int8_in_16 = measure_loop(threads, budget, loops->int8_in_16)});
  }
  return peaks;
}

}  // namespace hearth
