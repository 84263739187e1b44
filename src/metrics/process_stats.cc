#include "metrics/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>

#include "base/file.h"

namespace hearth {

namespace {

constexpr std::uint64_t kMaxProcFileBytes = 64 * 1024;

std::string read_proc(const char* path) {
  return read_text_file(path, kMaxProcFileBytes).value_or("");
}

// Fields of /proc/self/stat after the command name, which may itself hold spaces and parentheses.
// proc(5) counts fields from 1; the first one here is field 3.
struct ProcStat {
  double num_threads = 0;
  double start_ticks = 0;
  double virtual_bytes = 0;
  double resident_pages = 0;
};

ProcStat read_proc_stat() {
  const std::string text = read_proc("/proc/self/stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  ProcStat stat;
  std::string field;
  for (int number = 3; number <= 24 && fields >> field; ++number) {
    double* target = number == 20   ? &stat.num_threads
                     : number == 22 ? &stat.start_ticks
                     : number == 23 ? &stat.virtual_bytes
                     : number == 24 ? &stat.resident_pages
                                    : nullptr;
    if (target != nullptr) std::istringstream(field) >> *target;
  }
  return stat;
}

// Seconds since 1970 at which the machine was started.
double boot_time_seconds() {
  const std::string text = read_proc("/proc/stat");
  const std::size_t at = text.find("\nbtime ");
  double seconds = 0;
  if (at != std::string::npos) std::istringstream(text.substr(at + 7)) >> seconds;
  return seconds;
}

double cpu_seconds() {
  rusage usage = {};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double num_open_files() {
  std::error_code failure;
  std::filesystem::directory_iterator entry("/proc/self/fd", failure);
  double count = 0;
  for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
    ++count;
  }
  return count > 0 ? count - 1 : 0;  // Without the directory being listed.
}

double max_open_files() {
  rlimit limit = {};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

}  // namespace

std::vector<ProcessStat> read_process_stats() {
  const ProcStat stat = read_proc_stat();
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
  constexpr auto kGauge = MetricType::kGauge;
  return {
      {"process_cpu_seconds_total", "seconds", "CPU time used, user and system.",
       MetricType::kCounter, cpu_seconds()},
      {"process_resident_memory_bytes", "bytes", "Resident memory.", kGauge,
       stat.resident_pages * page_bytes},
      {"process_virtual_memory_bytes", "bytes", "Virtual memory.", kGauge, stat.virtual_bytes},
      {"process_open_fds", "files", "Open file descriptors.", kGauge, num_open_files()},
      {"process_max_fds", "files", "Limit of open file descriptors.", kGauge, max_open_files()},
      {"process_threads", "threads", "Threads.", kGauge, stat.num_threads},
      {"process_start_time_seconds", "seconds", "Unix time at which the process started.", kGauge,
       boot_time_seconds() + stat.start_ticks / ticks_per_second},
  };
}

}  // namespace hearth
