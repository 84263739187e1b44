#include <unistd.h>

#include <cstdio>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/terminal.h"
#include "engine/served_model.h"
#include "eval/perplexity.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxChunkLen = std::size_t{1} << 20;

json::Value estimate_json(const Estimate& estimate) {
  return json::Object{{"value", estimate.value}, {"standard_error", estimate.error}};
}

json::Value report_json(const PerplexityReport& report, std::size_t num_tokens,
                        std::size_t chunk_len) {
  json::Object figures{{"tokens", std::uint64_t{num_tokens}},
                       {"chunk_tokens", std::uint64_t{chunk_len}},
                       {"chunks", std::uint64_t{report.num_chunks}},
                       {"predictions", std::uint64_t{report.num_predictions}},
                       {"perplexity", estimate_json(report.perplexity)}};
  if (report.divergence) {
    const Divergence& d = *report.divergence;
    figures.append("reference_perplexity", estimate_json(d.reference_perplexity));
    figures.append("kl_divergence", json::Object{{"mean", estimate_json(d.mean)},
                                                 {"median", d.median},
                                                 {"percentile_99", d.percentile99},
                                                 {"maximum", d.maximum}});
    figures.append("same_top_token", estimate_json(d.same_top));
  }
  return figures;
}

std::string report_text(const PerplexityReport& report, std::size_t num_tokens,
                        std::size_t chunk_len) {
  const auto estimate = [](const Estimate& e) {
    return fmt::format("{:.4f} +/- {:.4f}", e.value, e.error);
  };
  std::vector<std::vector<std::string>> rows = {{"perplexity", estimate(report.perplexity)}};
  if (report.divergence) {
    const Divergence& d = *report.divergence;
    rows.push_back({"of the reference", estimate(d.reference_perplexity)});
    rows.push_back({"KL divergence from it",
                    fmt::format("{:.6f} +/- {:.6f} nats", d.mean.value, d.mean.error)});
    rows.push_back({"  median, 99 %, largest",
                    fmt::format("{:.6f}, {:.6f}, {:.6f}", d.median, d.percentile99, d.maximum)});
    rows.push_back(
        {"same most probable token",
         fmt::format("{:.2f} % +/- {:.2f}", 100 * d.same_top.value, 100 * d.same_top.error)});
  }
  return fmt::format("{} tokens, {} chunks of {}, {} predictions\n", num_tokens, report.num_chunks,
                     chunk_len, report.num_predictions) +
         format_table(rows, {false, false});
}

void show_progress(std::size_t done, std::size_t all, double perplexity) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\rchunk {} of {}, perplexity {:.4f}{}", done, all, perplexity,
             done == all ? "\n" : "");
}

struct LoadedModel {
  ModelFile file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;  // Borrows the file.
};

// On the heap, so that what is borrowed stays where it is.
Result<std::unique_ptr<LoadedModel>> load_model(const std::string& given,
                                                const std::filesystem::path& models_dir,
                                                Device& device) {
  HEARTH_ASSIGN_OR_RETURN(ModelFile file, open_model(given, models_dir));
  auto loaded = std::make_unique<LoadedModel>(LoadedModel{std::move(file), nullptr, nullptr});
  HEARTH_ASSIGN_OR_RETURN(loaded->tokenizer, Tokenizer::load(loaded->file));
  HEARTH_ASSIGN_OR_RETURN(loaded->model, Model::load(loaded->file, device));
  HEARTH_RETURN_IF_ERROR(check_vocabulary(*loaded->tokenizer, loaded->model->config().vocab_size));
  return loaded;
}

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
    HEARTH_ASSIGN_OR_RETURN(const auto loaded, load_model(model_, models_dir_, *device));
    std::unique_ptr<LoadedModel> reference;
    if (!reference_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(reference, load_model(reference_, models_dir_, *device));
    }
    const Tokenizer& tokenizer = *loaded->tokenizer;
    const auto tokens = tokenizer.encode(text, /*add_special=*/true, SpecialText::kPlain);
    if (reference && reference->tokenizer->encode(text, true, SpecialText::kPlain) != tokens) {
      return make_status(StatusCode::kInvalidArgument,
                         "the two models split the text into different tokens: their predictions "
                         "cannot be compared");
    }
    if (tokenizer.special().add_bos) options_.bos = tokenizer.special().bos;
    HEARTH_ASSIGN_OR_RETURN(
        const PerplexityReport report,
        measure_perplexity({*loaded->model, reference ? reference->model.get() : nullptr}, tokens,
                           options_, device->host_threads(), show_progress));
    if (!json_) return print(report_text(report, tokens.size(), options_.chunk_len));
    const json::Value figures = report_json(report, tokens.size(), options_.chunk_len);
    return print(json::dump(figures, {.indent = 2}) + "\n");
  }

 private:
  std::string model_;
  std::string text_;
  std::string reference_;
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
