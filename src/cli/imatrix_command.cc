#include "base/file.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/perplexity_report.h"
#include "cli/terminal.h"
#include "eval/importance.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxChunkLen = std::size_t{1} << 20;

class ImatrixCommand final : public Command {
 public:
  std::string_view name() const override { return "imatrix"; }
  std::string_view summary() const override {
    return "Measure which inputs of a model's matrices count, for hearth quantize --imatrix";
  }

  void declare(OptionSet& options) override {
    options.add_positional(model_, {.name = "model", .help = kModelHelp});
    options.add_positional(
        text_, {.name = "file", .help = "Text in UTF-8, like what the model will read."});
    options.add(output_, {.name = "output",
                          .help = "GGUF file to write, as llama.cpp's imatrix tool does.",
                          .placeholder = "FILE"});
    options.add(options_.chunk_len, {.name = "context", .help = "Tokens of a chunk."},
                {.min = 4, .max = kMaxChunkLen});
    options.add(options_.max_chunks,
                {.name = "chunks", .help = "Read only so many chunks. 0: the whole text."},
                {.min = 0, .max = kMaxTextBytes});
    add_models_dir(options, models_dir_);
    add_cpu_options(options, num_threads_, kernels_);
  }

  Status check() override {
    if (!output_.empty()) return {};
    return Status(StatusCode::kInvalidArgument, "no --output given");
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const std::string text, read_text_file(text_, kMaxTextBytes));
    if (!utf8::is_valid(text)) {
      return make_status(StatusCode::kInvalidArgument, "'{}' is not UTF-8 from byte {} on", text_,
                         utf8::first_invalid(text));
    }
    HEARTH_ASSIGN_OR_RETURN(const auto cpu,
                            make_cpu_device({.num_threads = num_threads_, .kernels = kernels_}));
    RecordingDevice device(*cpu);
    HEARTH_ASSIGN_OR_RETURN(const ModelLocation location, resolve_model(model_, models_dir_));
    HEARTH_ASSIGN_OR_RETURN(ModelFile file, open_model(model_, models_dir_));
    HEARTH_RETURN_IF_ERROR(check_output(output_, file, location, text_));
    HEARTH_ASSIGN_OR_RETURN(const auto loaded, load_text_model(std::move(file), device));
    HEARTH_ASSIGN_OR_RETURN(const auto tokens, common_tokens(*loaded, nullptr, text));
    const auto& special = loaded->tokenizer->special();
    if (special.add_bos) options_.bos = special.bos;
    HEARTH_ASSIGN_OR_RETURN(const PerplexityReport report,
                            measure_perplexity({*loaded->model, nullptr}, tokens, options_,
                                               device.host_threads(), show_perplexity_progress));
    HEARTH_RETURN_IF_ERROR(write_importance(
        device, loaded->file,
        {.dataset = text_, .num_chunks = report.num_chunks, .chunk_len = options_.chunk_len},
        output_));
    return print(
        fmt::format("wrote {}: {} matrices over {} chunks of {} tokens, perplexity {:.4f}\n",
                    single_line(output_.string()), device.sums().size(), report.num_chunks,
                    options_.chunk_len, report.perplexity.value));
  }

 private:
  std::string model_;
  std::string text_;
  std::filesystem::path output_;
  std::filesystem::path models_dir_;
  PerplexityOptions options_;
  std::size_t num_threads_ = 0;
  std::string kernels_ = "auto";
};

}  // namespace

std::unique_ptr<Command> make_imatrix_command() {
  return std::make_unique<ImatrixCommand>();
}

}  // namespace hearth
