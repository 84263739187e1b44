// Raw speed of one model on this machine: prompt evaluation and single-stream decoding, without
// sampling, scheduling or HTTP. Prints one JSON line per repetition.
//
//   model_bench MODEL.gguf [--threads N] [--prompt N] [--decode N] [--repeat N] [--kernels NAME]

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "formats/model_file.h"
#include "kernels/device.h"
#include "kv/kv_storage.h"
#include "models/model.h"

namespace {

using hearth::Result;

struct Settings {
  std::string model;
  std::size_t threads = 0;
  std::size_t prompt_len = 512;
  std::size_t decode_len = 128;
  std::size_t repeat = 3;
  std::string kernels = "auto";
};

Result<Settings> parse_arguments(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (!flag.starts_with("--")) {
      settings.model = flag;
      continue;
    }
    if (i + 1 == argc) {
      return hearth::error(hearth::StatusCode::kInvalidArgument, "{} needs a value", flag);
    }
    const char* value = argv[++i];
    const std::size_t number = std::strtoull(value, nullptr, 10);
    if (flag == "--threads")
      settings.threads = number;
    else if (flag == "--prompt")
      settings.prompt_len = number;
    else if (flag == "--decode")
      settings.decode_len = number;
    else if (flag == "--repeat")
      settings.repeat = number;
    else if (flag == "--kernels")
      settings.kernels = value;
    else
      return hearth::error(hearth::StatusCode::kInvalidArgument, "unknown flag {}", flag);
  }
  if (settings.model.empty()) {
    return hearth::error(hearth::StatusCode::kInvalidArgument, "no model file given");
  }
  return settings;
}

class Bench {
 public:
  Bench(const Settings& settings, hearth::Model& model, hearth::KvStorage kv)
      : settings_(settings), model_(model), kv_(std::move(kv)), table_(kv_.shape().num_blocks) {
    std::iota(table_.begin(), table_.end(), 0);
  }

  // Tokens per second of one evaluation of a prompt.
  double prefill() {
    std::vector<std::int32_t> tokens(settings_.prompt_len);
    const auto vocab_size = static_cast<std::int32_t>(model_.config().vocab_size);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<std::int32_t>(i * 7919 + 13) % vocab_size;
    }
    const auto start = std::chrono::steady_clock::now();
    step(tokens, 0);
    return static_cast<double>(tokens.size()) / seconds_since(start);
  }

  // Tokens per second of decoding one token at a time after that prompt.
  double decode() {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < settings_.decode_len; ++i) {
      const std::int32_t token[] = {static_cast<std::int32_t>(i % 1000)};
      step(token, settings_.prompt_len + i);
    }
    return static_cast<double>(settings_.decode_len) / seconds_since(start);
  }

 private:
  static double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void step(std::span<const std::int32_t> tokens, std::size_t first_position) {
    std::vector<std::int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(first_position));
    const hearth::SequenceRows rows[] = {{0, tokens.size(), first_position, table_.data()}};
    const std::int32_t last_row[] = {static_cast<std::int32_t>(tokens.size()) - 1};
    model_.forward({tokens, positions, rows, last_row}, kv_);
  }

  const Settings& settings_;
  hearth::Model& model_;
  hearth::KvStorage kv_;
  std::vector<std::int32_t> table_;
};

hearth::Status run(int argc, char** argv) {
  HEARTH_ASSIGN_OR_RETURN(const Settings settings, parse_arguments(argc, argv));
  HEARTH_ASSIGN_OR_RETURN(const auto file, hearth::ModelFile::open(settings.model));
  HEARTH_ASSIGN_OR_RETURN(auto device,
                          hearth::make_cpu_device({settings.threads, settings.kernels}));
  HEARTH_ASSIGN_OR_RETURN(auto model, hearth::Model::load(file, *device));
  const std::size_t max_positions = settings.prompt_len + settings.decode_len;
  HEARTH_RETURN_IF_ERROR(model->reserve(settings.prompt_len, 1, max_positions));
  const hearth::ModelConfig& config = model->config();
  hearth::KvShape shape = {config.num_layers, config.heads.num_kv_heads, config.heads.head_dim};
  shape.num_blocks = (max_positions + shape.block_size - 1) / shape.block_size;
  HEARTH_ASSIGN_OR_RETURN(auto kv, hearth::KvStorage::create(shape));

  Bench bench(settings, *model, std::move(kv));
  bench.prefill();  // Warm-up: page cache, worker threads.
  for (std::size_t i = 0; i < settings.repeat; ++i) {
    const double prefill = bench.prefill();
    const double decode = bench.decode();
    fmt::print(
        "{{\"device\":\"{}\",\"prefill_tokens_per_s\":{:.1f},\"decode_tokens_per_s\":{:.1f}}}\n",
        device->description(), prefill, decode);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const hearth::Status status = run(argc, argv);
  if (status.ok()) return 0;
  fmt::print(stderr, "model_bench: {}\n", status.message());
  return 1;
}
