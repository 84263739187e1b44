// Speed of the matrix products, beside what the machine can do: one line per format, batch size and
// shape with multiply-adds and weight bytes per second, each also as a share of the measured peak.
//
//   kernels_bench [--threads N] [--kernels NAME] [--format NAME] [--rows N]
//
// On a shared machine compare lines of one run only; every figure is the best of several
// repetitions.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/device.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr std::size_t kMeasuredBytes = 64UL << 20;

struct Settings {
  std::size_t threads = 0;
  std::string kernels = "auto";
  std::string format;        // Empty: all.
  std::size_t num_rows = 0;  // 0: all.
};

// Best time of one call, in seconds; repeats for at least `budget` seconds. One thread is timed by
// the CPU it uses, so that preemption by other processes does not count.
template <typename Call>
double best_seconds(std::size_t num_threads, Call call, double budget = 0.15) {
  const auto now = [num_threads] {
    timespec time;
    clock_gettime(num_threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  double best = 1e30;
  double total = 0;
  for (int i = 0; i < 3 || total < budget; ++i) {
    const double start = now();
    call();
    const double seconds = now() - start;
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

// One pass over as much memory as the products below read in one.
double read_bandwidth(hearth::ThreadPool& pool) {
  constexpr std::size_t kWords = kMeasuredBytes / sizeof(std::uint64_t);
  const std::vector<std::uint64_t> memory(kWords, 1);
  const std::size_t share = kWords / pool.num_threads();
  std::atomic<std::uint64_t> sink = 0;
  const double seconds = best_seconds(pool.num_threads(), [&] {
    pool.run(pool.num_threads(), [&](std::size_t task, std::size_t) {
      // Four streams of one word per cache line: the loads, not the sums, are what is measured.
      const std::uint64_t* p = memory.data() + task * share;
      const std::size_t stream = share / 4 / 8 * 8;
      std::uint64_t sums[4] = {};
      for (std::size_t i = 0; i < stream; i += 8) {
        for (std::size_t s = 0; s < 4; ++s)
          sums[s] += p[s * stream + i];
      }
      sink += sums[0] + sums[1] + sums[2] + sums[3];
    });
  });
  return static_cast<double>(kMeasuredBytes) / seconds;
}

#if defined(__x86_64__)
constexpr int kPeakRounds = 200000;

__attribute__((target("avx512f,avx512vnni"))) int spin_vnni() {
  __m512i acc[10];
  for (auto& a : acc)
    a = _mm512_setzero_si512();
  __m512i x = _mm512_set1_epi8(3);
  for (int i = 0; i < kPeakRounds; ++i) {
    for (auto& a : acc)
      a = _mm512_dpbusd_epi32(a, x, x);
    asm volatile("" : "+v"(x));
  }
  __m512i sum = acc[0];
  for (int i = 1; i < 10; ++i)
    sum = _mm512_add_epi32(sum, acc[i]);
  return _mm512_reduce_add_epi32(sum);
}

// Unsigned by signed bytes, pairs in 16 bits, widened every eighth time.
__attribute__((target("avx2"))) int spin_maddubs() {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i total = _mm256_setzero_si256();
  __m256i x[4];
  for (int j = 0; j < 4; ++j)
    x[j] = _mm256_set1_epi8(static_cast<char>(j + 1));
  for (int i = 0; i < kPeakRounds / 4; ++i) {
    __m256i sums[4];
    for (auto& s : sums)
      s = _mm256_setzero_si256();
    for (int k = 0; k < 8; ++k) {
      for (int j = 0; j < 4; ++j) {
        asm volatile("" : "+x"(x[j]));
        sums[j] = _mm256_add_epi16(sums[j], _mm256_maddubs_epi16(x[j], x[j]));
      }
    }
    for (auto& s : sums)
      total = _mm256_add_epi32(total, _mm256_madd_epi16(s, ones));
  }
  return _mm256_extract_epi32(total, 0);
}
#endif

// Multiply-adds of 8-bit integers per second, by the instructions that the kernel set uses.
std::optional<double> int8_peak(hearth::ThreadPool& pool, bool vnni) {
#if defined(__x86_64__)
  if (vnni && __builtin_cpu_supports("avx512vnni") == 0) return std::nullopt;
  if (!vnni && __builtin_cpu_supports("avx2") == 0) return std::nullopt;
  const double per_call = vnni ? kPeakRounds * 10.0 * 64 : kPeakRounds / 4 * 8.0 * 4 * 32;
  volatile int sink = 0;
  const double seconds = best_seconds(pool.num_threads(), [&] {
    pool.run(pool.num_threads(),
             [&](std::size_t, std::size_t) { sink = vnni ? spin_vnni() : spin_maddubs(); });
  });
  return per_call * static_cast<double>(pool.num_threads()) / seconds;
#else
  return std::nullopt;
#endif
}

struct Peaks {
  double bytes = 0;
  double macs = 0;  // 0: unknown.
};

struct Product {
  hearth::DType dtype;
  std::size_t out_features = 0;
  std::size_t in_features = 0;
};

// Enough copies of the matrix that one pass over them leaves the caches.
void measure(hearth::Device& device, const Product& product, const Settings& settings,
             const Peaks& peaks) {
  const std::size_t row_bytes = hearth::row_bytes(product.dtype, product.in_features);
  std::vector<std::byte> data(product.out_features * row_bytes);
  // Bytes from 32 to 62: small positive numbers in every float format, no slow subnormals.
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<std::byte>(32 + i * 37 % 31);
  }
  const hearth::TensorView tensor = {
      .name = "bench",
      .dtype = product.dtype,
      .shape = {.dims = {product.out_features, product.in_features, 1, 1}, .rank = 2},
      .data = data};
  std::vector<std::unique_ptr<hearth::WeightMatrix>> weights;
  const std::size_t num_copies = std::clamp<std::size_t>(kMeasuredBytes / data.size(), 1, 64);
  for (std::size_t i = 0; i < num_copies; ++i) {
    weights.push_back(std::move(*device.prepare_weight(tensor)));
  }
  for (std::size_t num_rows : {1U, 2U, 4U, 8U, 16U, 64U, 512U}) {
    if (settings.num_rows != 0 && settings.num_rows != num_rows) continue;
    std::vector<float> input(num_rows * product.in_features);
    for (std::size_t i = 0; i < input.size(); ++i)
      input[i] = static_cast<float>(i % 97) - 48.0f;
    std::vector<float> out(num_rows * product.out_features);
    const std::size_t used_copies =
        num_rows > 16 ? std::min<std::size_t>(2, num_copies) : num_copies;
    const double seconds = best_seconds(settings.threads, [&] {
      for (std::size_t i = 0; i < used_copies; ++i) {
        const hearth::LinearOutput output = {
            .weight = weights[i].get(),
            .out = {out.data(), num_rows, product.out_features, product.out_features}};
        device.linear({input.data(), num_rows, product.in_features, product.in_features},
                      {&output, 1});
      }
    });
    const double calls = static_cast<double>(used_copies) / seconds;
    const double bytes = static_cast<double>(data.size()) * calls;
    const double macs =
        static_cast<double>(num_rows * product.out_features * product.in_features) * calls;
    const std::string share =
        peaks.macs > 0 ? fmt::format("{:3.0f} %", macs / peaks.macs * 100) : "";
    fmt::print("{:7} {:5} x {:5} {:4} rows {:8.1f} GMAC/s {:5} {:7.1f} GB/s {:3.0f} %\n",
               hearth::dtype_info(product.dtype).name, product.in_features, product.out_features,
               num_rows, macs * 1e-9, share, bytes * 1e-9, bytes / peaks.bytes * 100);
  }
}

std::optional<Settings> parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (flag == "--threads")
      settings.threads = std::strtoull(argv[i + 1], nullptr, 10);
    else if (flag == "--kernels")
      settings.kernels = argv[i + 1];
    else if (flag == "--format")
      settings.format = argv[i + 1];
    else if (flag == "--rows")
      settings.num_rows = std::strtoull(argv[i + 1], nullptr, 10);
    else
      return std::nullopt;
  }
  if (argc % 2 == 0) return std::nullopt;
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  const auto settings = parse(argc, argv);
  if (!settings) {
    fmt::print(stderr,
               "usage: kernels_bench [--threads N] [--kernels NAME] [--format NAME] [--rows N]\n");
    return 2;
  }
  auto device = hearth::make_cpu_device({settings->threads, settings->kernels});
  if (!device) {
    fmt::print(stderr, "{}\n", device.error().message());
    return 1;
  }
  Peaks peaks;
  {
    hearth::ThreadPool pool(settings->threads != 0 ? settings->threads
                                                   : hearth::ThreadPool::available_cpus());
    peaks.bytes = read_bandwidth(pool);
    const bool vnni = (*device)->description().find("vnni") != std::string_view::npos ||
                      (*device)->description().find("avx512") != std::string_view::npos;
    peaks.macs = int8_peak(pool, vnni).value_or(0);
  }
  fmt::print("{}: reads {:.1f} GB/s, int8 peak {:.0f} GMAC/s\n", (*device)->description(),
             peaks.bytes * 1e-9, peaks.macs * 1e-9);
  for (const hearth::DTypeInfo& info : hearth::all_dtypes()) {
    if (info.dtype == hearth::DType::kI32) continue;
    if (!settings->format.empty() && settings->format != info.name) continue;
    if (576 % info.block_len == 0) measure(**device, {info.dtype, 1536, 576}, *settings, peaks);
    measure(**device, {info.dtype, 8192, 2048}, *settings, peaks);
  }
  return 0;
}
