// Speed of the matrix products, beside what the machine can do: one line per format, batch size and
// shape with multiply-adds and weight bytes per second, each also as a share of the measured peak.
//
//   kernels_bench [--threads N] [--kernels NAME] [--format NAME] [--rows N]
//
// On a shared machine compare lines of one run only; every figure is the best of several
// repetitions.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device.h"
#include "kernels/machine_peaks.h"

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

struct Product {
  hearth::DType dtype;
  std::size_t out_features = 0;
  std::size_t in_features = 0;
};

// Enough copies of the matrix that one pass over them leaves the caches.
void measure(hearth::Device& device, const Product& product, const Settings& settings,
             const hearth::MachinePeaks& peaks) {
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
    const bool quantized = hearth::dtype_info(product.dtype).block_len > 1;
    const std::optional<double> peak = quantized ? peaks.int8() : peaks.fp32();
    const std::string share = peak ? fmt::format("{:3.0f} %", macs / *peak * 100) : "";
    fmt::print("{:7} {:5} x {:5} {:4} rows {:8.1f} GMAC/s {:5} {:7.1f} GB/s {:3.0f} %\n",
               hearth::dtype_info(product.dtype).name, product.in_features, product.out_features,
               num_rows, macs * 1e-9, share, bytes * 1e-9, bytes / peaks.read_bytes_per_s * 100);
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
  const hearth::MachinePeaks peaks =
      hearth::measure_peaks((*device)->host_threads(), std::chrono::milliseconds(300));
  fmt::print("{}: reads {:.1f} GB/s, int8 peak {:.0f} GMAC/s, fp32 peak {:.0f} GMAC/s\n",
             (*device)->description(), peaks.read_bytes_per_s * 1e-9,
             peaks.int8().value_or(0) * 1e-9, peaks.fp32().value_or(0) * 1e-9);
  for (const hearth::DTypeInfo& info : hearth::all_dtypes()) {
    if (info.dtype == hearth::DType::kI32) continue;
    if (!settings->format.empty() && settings->format != info.name) continue;
    if (576 % info.block_len == 0) measure(**device, {info.dtype, 1536, 576}, *settings, peaks);
    measure(**device, {info.dtype, 8192, 2048}, *settings, peaks);
  }
  return 0;
}
