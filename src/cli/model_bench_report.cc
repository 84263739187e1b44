// Text and JSON of a model's measured speed.
#include <fmt/format.h>

#include "cli/model_bench.h"
#include "cli/terminal.h"

namespace hearth {
namespace {

constexpr double kGiga = 1e9;

std::string percent(std::optional<double> value) {
  return value.has_value() ? fmt::format("{:.0f} %", *value) : "-";
}

std::string_view kind_name(BenchKind kind) {
  return kind == BenchKind::kPrefill ? "prefill" : "decode";
}

json::Value optional_number(std::optional<double> value) {
  return value.has_value() ? json::Value(*value) : json::Value(nullptr);
}

std::string peaks_text(const MachinePeaks& peaks) {
  std::vector<std::vector<std::string>> rows = {
      {"memory, reading", fmt::format("{:.1f} GB/s", peaks.read_bytes_per_s / kGiga)}};
  for (const ArithmeticPeaks& set : peaks.arithmetic) {
    const auto row = [&](std::string_view what, double macs) {
      rows.push_back(
          {fmt::format("{}, {}", set.kernels, what), fmt::format("{:.0f} GMAC/s", macs / kGiga)});
    };
    row("fp32", set.fp32);
    row("int8", set.int8);
    row("int8 in 16 bits", set.int8_in_16);
  }
  return format_table(rows, {false, true});
}

json::Value peaks_json(const MachinePeaks& peaks) {
  json::Array sets;
  for (const ArithmeticPeaks& set : peaks.arithmetic) {
    sets.emplace_back(json::Object{{"kernels", set.kernels},
                                   {"fp32_macs_per_s", set.fp32},
                                   {"int8_macs_per_s", set.int8},
                                   {"int8_in_16_macs_per_s", set.int8_in_16}});
  }
  return json::Object{{"read_bytes_per_s", peaks.read_bytes_per_s},
                      {"fp32_macs_per_s", optional_number(peaks.fp32())},
                      {"int8_macs_per_s", optional_number(peaks.int8())},
                      {"sets", std::move(sets)}};
}

json::Value result_json(const BenchResult& result, const MachinePeaks& peaks) {
  json::Array seconds;
  for (const double value : result.seconds)
    seconds.emplace_back(value);
  return json::Object{{"test", kind_name(result.test.kind)},
                      {"sequences", std::uint64_t{result.test.num_sequences}},
                      {"context", std::uint64_t{result.test.context}},
                      {"tokens", std::uint64_t{result.test.len}},
                      {"seconds", std::move(seconds)},
                      {"tokens_per_s", result.tokens_per_s()},
                      {"weight_bytes", result.work.weight_bytes},
                      {"kv_bytes", result.work.kv_bytes},
                      {"quantized_macs", result.work.quantized_macs},
                      {"float_macs", result.work.float_macs},
                      {"bytes_per_s", result.bytes_per_s()},
                      {"bandwidth_percent", result.bandwidth_percent(peaks)},
                      {"macs_per_s", result.macs_per_s()},
                      {"compute_percent", optional_number(result.compute_percent(peaks))}};
}

}  // namespace

std::string report_text(const ModelBenchReport& report) {
  std::string text = fmt::format(
      "{}, {} parameters, {}, keys and values in {}\n\nat most, measured just now\n{}\n",
      report.model, human_count(report.num_parameters), report.device,
      kv_cache_dtype_name(report.kv_cache_dtype), peaks_text(report.peaks));
  std::vector<std::vector<std::string>> rows = {{"test", "sequences", "context", "tokens",
                                                 "tokens/s", "GB/s", "of peak", "GMAC/s",
                                                 "of peak"}};
  for (const BenchResult& result : report.results) {
    const BenchCase& test = result.test;
    rows.push_back({std::string(kind_name(test.kind)), fmt::format("{}", test.num_sequences),
                    fmt::format("{}", test.context), fmt::format("{}", test.len),
                    fmt::format("{:.1f}", result.tokens_per_s()),
                    fmt::format("{:.1f}", result.bytes_per_s() / kGiga),
                    percent(result.bandwidth_percent(report.peaks)),
                    fmt::format("{:.1f}", result.macs_per_s() / kGiga),
                    percent(result.compute_percent(report.peaks))});
  }
  return text + format_table(rows, {false, true, true, true, true, true, true, true, true});
}

json::Value report_json(const ModelBenchReport& report) {
  json::Array results;
  for (const BenchResult& result : report.results)
    results.push_back(result_json(result, report.peaks));
  return json::Object{{"model", report.model},
                      {"file_bytes", report.file_bytes},
                      {"parameters", std::uint64_t{report.num_parameters}},
                      {"device", report.device},
                      {"threads", std::uint64_t{report.num_threads}},
                      {"peaks", peaks_json(report.peaks)},
                      {"kv_cache_dtype", kv_cache_dtype_name(report.kv_cache_dtype)},
                      {"results", std::move(results)}};
}

}  // namespace hearth
