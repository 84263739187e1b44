#include "base/file.h"
#include "cli/command.h"
#include "cli/model_bench.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/terminal.h"
#include "compress/quantize_model.h"
#include "models/hf_directory.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxTokens = std::size_t{1} << 24;
constexpr std::chrono::milliseconds kPeakBudget{300};

class BenchModelCommand final : public Command {
 public:
  std::string_view name() const override { return "bench model"; }
  std::string_view summary() const override {
    return "Measure a model's raw speed beside what this machine can do";
  }

  void declare(OptionSet& options) override {
    options.add_positional(model_, {.name = "model", .help = kModelHelp});
    options.section("Cases");
    options.add(bench_.prompts,
                {.name = "prompt", .help = "Lengths of prompts to evaluate. 0: none."},
                {.min = 0, .max = kMaxTokens});
    options.add(bench_.decode_len,
                {.name = "decode", .help = "Tokens that every stream decodes. 0: no decoding."},
                {.min = 0, .max = kMaxTokens});
    options.add(
        bench_.contexts,
        {.name = "context", .help = "Tokens a single stream has behind it when it decodes."},
        {.min = 0, .max = kMaxTokens});
    options.add(bench_.batches,
                {.name = "batch",
                 .help = "Numbers of streams that decode together, at the first context. 0: none."},
                {.min = 0, .max = 4096});
    options.add(bench_.repeat,
                {.name = "repeat", .help = "Repetitions, of which the median counts."},
                {.min = 1, .max = 1000});
    options.add(bench_.max_batched_tokens,
                {.name = "max-num-batched-tokens",
                 .help = "Tokens of a prompt computed in one step, as in the server.",
                 .advanced = true},
                {.min = 1, .max = 65536});
    add_kv_cache_dtype(options, bench_.kv_cache_dtype);
    options.section("Machine");
    add_models_dir(options, models_dir_);
    add_quantize(options, quantize_);
    add_cpu_options(options, num_threads_, kernels_);
    options.section("Output");
    options.add(json_,
                {.name = "json",
                 .help = "File to write all figures to as JSON; - prints them instead of the "
                         "table.",
                 .placeholder = "FILE"});
  }

  Status check() override {
    if (!bench_cases(bench_).empty()) return {};
    return make_status(StatusCode::kInvalidArgument,
                       "--prompt and --decode are 0: there is nothing to measure");
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const ModelBenchReport report, measure());
    const std::string figures = json::dump(report_json(report), {.indent = 2}) + "\n";
    if (json_ == "-") return print(figures);
    if (!json_.empty()) HEARTH_RETURN_IF_ERROR(write_file_atomically(json_, figures));
    return print(report_text(report));
  }

 private:
  Result<ModelBenchReport> measure() const {
    HEARTH_ASSIGN_OR_RETURN(const ModelLocation location, resolve_model(model_, models_dir_));
    HEARTH_ASSIGN_OR_RETURN(ModelFile file, open_model_file(location.path));
    if (!quantize_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(file, quantize_on_load(std::move(file), quantize_, num_threads_));
    }
    HEARTH_ASSIGN_OR_RETURN(const auto device,
                            make_cpu_device({.num_threads = num_threads_, .kernels = kernels_}));
    HEARTH_ASSIGN_OR_RETURN(const auto model, Model::load(file, *device));
    const StepWorkCounter work(file, model->config(), bench_.kv_cache_dtype);
    HEARTH_ASSIGN_OR_RETURN(ModelBench bench, ModelBench::create(*model, work, bench_));
    return ModelBenchReport{.model = location.path.filename().string(),
                            .file_bytes = file.file_bytes(),
                            .num_parameters = model->num_parameters(),
                            .device = std::string(device->description()),
                            .num_threads = device->host_threads().num_threads(),
                            .kv_cache_dtype = bench_.kv_cache_dtype,
                            .peaks = measure_peaks(device->host_threads(), kPeakBudget),
                            .results = bench.run()};
  }

  std::string model_;
  std::string quantize_;
  std::filesystem::path models_dir_;
  ModelBenchOptions bench_;
  std::size_t num_threads_ = 0;
  std::string kernels_ = "auto";
  std::string json_;
};

}  // namespace

std::unique_ptr<Command> make_bench_model_command() {
  return std::make_unique<BenchModelCommand>();
}

}  // namespace hearth
