// What this machine can do at most, measured: the other half of "how well do we use it?".
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"

namespace hearth {

// Multiply-adds per second of all threads, with the instructions of one kernel set.
struct ArithmeticPeaks {
  std::string_view kernels;  // Name from kernel_sets().
  double fp32 = 0;           // Fused, on float32.
  double int8 = 0;           // Bytes, summed in 32 bits.
  double int8_in_16 = 0;     // The same summed in 16 bits for short groups, then widened.
};

struct MachinePeaks {
  double read_bytes_per_s = 0;  // From memory, far beyond the caches, all threads.
  // Of every kernel set with vector instructions that this CPU supports, best first. Empty: there
  // is none, and no figure to compare with.
  std::vector<ArithmeticPeaks> arithmetic;

  // The best of any set; nullopt when there is none.
  std::optional<double> fp32() const;
  std::optional<double> int8() const;  // Whichever width it is summed in.
};

// Best of several runs of each loop on all of the pool's threads, repeated for about `budget` per
// figure; of one thread, in time of the CPU. Takes 512 MiB of memory while it runs. Not to be
// called from one of the pool's tasks.
MachinePeaks measure_peaks(ThreadPool& threads, std::chrono::milliseconds budget);

}  // namespace hearth
