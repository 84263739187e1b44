#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/perplexity_report.h"
#include "cli/terminal.h"
#include "compress/quantize_model.h"
#include "eval/perplexity.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxChunkLen = std::size_t{1} << 20;

class PerplexityCommand final : public Command {
 public:
  std::string_view name() const override { return "perplexity"; }
  std::string_view summary() const override {
    return "Measure how well a model predicts a text, or how far it is from another model";
  }

  void declare(OptionSet& options) override {
    options.add_positional(model_, {.name = "model", .help = kModelHelp});
    options.add_positional(text_, {.name = "file", .help = "Text to predict, in UTF-8."});
    options.add(reference_,
                {.name = "reference",
                 .help = "A model with the same tokens, such as the one that was quantized: also "
                         "report the KL divergence of the model's predictions from its.",
                 .placeholder = "MODEL"});
    options.add(
        options_.chunk_len,
        {.name = "context", .help = "Tokens of a chunk; the predictions of its second half count."},
        {.min = 4, .max = kMaxChunkLen});
    options.add(options_.max_chunks,
                {.name = "chunks", .help = "Read only so many chunks. 0: the whole text."},
                {.min = 0, .max = kMaxTextBytes});
    add_quantize(options, quantize_);
    add_models_dir(options, models_dir_);
    add_kv_cache_dtype(options, options_.kv_cache_dtype);
    add_cpu_options(options, num_threads_, kernels_);
    options.add(json_, {.name = "json", .help = "Print the figures as JSON."});
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const std::string text, read_text_file(text_, kMaxTextBytes));
    if (!utf8::is_valid(
            text)) {  // The tokenizer would replace what is not, and judge another text.
      return make_status(StatusCode::kInvalidArgument, "'{}' is not UTF-8 from byte {} on", text_,
                         utf8::first_invalid(text));
    }
    HEARTH_ASSIGN_OR_RETURN(const auto device,
                            make_cpu_device({.num_threads = num_threads_, .kernels = kernels_}));
    HEARTH_ASSIGN_OR_RETURN(ModelFile file, open_model(model_, models_dir_));
    if (!quantize_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(file, quantize_on_load(std::move(file), quantize_, num_threads_));
    }
    HEARTH_ASSIGN_OR_RETURN(const auto loaded, load_text_model(std::move(file), *device));
    std::unique_ptr<TextModel> reference;
    if (!reference_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(ModelFile reference_file, open_model(reference_, models_dir_));
      HEARTH_ASSIGN_OR_RETURN(reference, load_text_model(std::move(reference_file), *device));
    }
    const Tokenizer& tokenizer = *loaded->tokenizer;
    HEARTH_ASSIGN_OR_RETURN(const auto tokens, common_tokens(*loaded, reference.get(), text));
    if (tokenizer.special().add_bos) options_.bos = tokenizer.special().bos;
    HEARTH_ASSIGN_OR_RETURN(
        const PerplexityReport report,
        measure_perplexity({*loaded->model, reference ? reference->model.get() : nullptr}, tokens,
                           options_, device->host_threads(), show_perplexity_progress));
    if (!json_) return print(report_text(report, tokens.size(), options_.chunk_len));
    const json::Value figures = report_json(report, tokens.size(), options_.chunk_len);
    return print(json::dump(figures, {.indent = 2}) + "\n");
  }

 private:
  std::string model_;
  std::string text_;
  std::string reference_;
  std::string quantize_;
  std::filesystem::path models_dir_;
  PerplexityOptions options_;
  std::size_t num_threads_ = 0;
  std::string kernels_ = "auto";
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_perplexity_command() {
  return std::make_unique<PerplexityCommand>();
}

}  // namespace hearth
