#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/file.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/perplexity_report.h"
#include "cli/terminal.h"
#include "compress/quantize_model.h"
#include "eval/calibration_text.h"
#include "formats/gguf_file_writer.h"
#include "hub/add_file.h"
#include "hub/selection.h"
#include "models/hf_directory.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;
// Of the comparison: short, so that models of any context fit and the default text has several.
constexpr std::size_t kChunkLen = 256;
constexpr std::size_t kMaxChunks = 16;

// How the origin of what this command put into the registry begins: only that is replaced.
constexpr std::string_view kMadeHere = "quantized from ";

// One line that is written over on a terminal; else a line per tensor.
class TensorLines {
 public:
  explicit TensorLines(Interrupt& interrupt) : interrupt_(interrupt) {}
  ~TensorLines() {
    if (is_terminal_) fmt::print(stderr, "\r\x1b[K");
  }
  TensorLines(const TensorLines&) = delete;
  TensorLines& operator=(const TensorLines&) = delete;

  Status show(const QuantizeProgress& progress) {
    const TensorView& source = *progress.tensor->source;
    const double share = progress.bytes == 0 ? 1.0
                                             : static_cast<double>(progress.bytes_done) /
                                                   static_cast<double>(progress.bytes);
    const std::string from(dtype_info(source.dtype).name);
    const std::string formats =
        source.dtype == progress.tensor->dtype
            ? from
            : fmt::format("{} -> {}", from, dtype_info(progress.tensor->dtype).name);
    fmt::print(stderr, "{}{:3.0f} %  {} of {}  {}  {}  {}{}", is_terminal_ ? "\r\x1b[K" : "",
               100.0 * share, progress.tensor_idx + 1, progress.num_tensors,
               single_line(source.name), source.shape.to_string(), formats,
               is_terminal_ ? "" : "\n");
    if (!interrupt_.take()) return {};
    return Status(StatusCode::kCancelled, "interrupted; nothing was written");
  }

 private:
  Interrupt& interrupt_;
  const bool is_terminal_ = isatty(STDERR_FILENO) == 1;
};

class QuantizeCommand final : public Command {
 public:
  std::string_view name() const override { return "quantize"; }
  std::string_view summary() const override {
    return "Make a model smaller by storing its weights in fewer bits";
  }

  void declare(OptionSet& options) override {
    options.add_positional(source_, {.name = "source", .help = kModelHelp});
    options.add(to_, {.name = "to",
                      .help = fmt::format("Format of the weights: {}. The _m formats are mixtures "
                                          "that keep delicate tensors finer.",
                                          fmt::join(recipe_names(), ", ")),
                      .placeholder = "FORMAT"});
    options.add(output_, {.name = "output",
                          .help = "GGUF file to write. Empty: into the registry, as NAME:FORMAT.",
                          .placeholder = "FILE"});
    options.add(imatrix_,
                {.name = "imatrix",
                 .help = "Importance matrix of llama.cpp's imatrix tool (GGUF or .dat): errors "
                         "count by how much each input of a matrix is used.",
                 .placeholder = "FILE"});
    options.add(quantize_.requantize,
                {.name = "requantize",
                 .help = "Accept a source that is quantized already, although the result is worse "
                         "than one made from the original."});
    options.add(eval_, {.name = "eval",
                        .help = "Afterwards compare the result's predictions with the source's on "
                                "a text: their KL divergence."});
    options.add(calibration_, {.name = "calibration",
                               .help = "Text in UTF-8 to compare on. Empty: a short one of ours.",
                               .placeholder = "FILE"});
    add_models_dir(options, models_dir_);
    add_cpu_options(options, num_threads_, kernels_);
    options.add(json_, {.name = "json", .help = "Print the figures as JSON."});
  }

  Status check() override {
    if (to_.empty()) {
      return make_status(StatusCode::kInvalidArgument, "no format given; set --to to one of {}",
                         fmt::join(recipe_names(), ", "));
    }
    HEARTH_ASSIGN_OR_RETURN(quantize_.recipe, find_recipe(to_));
    if (!eval_ && !calibration_.empty()) {
      return Status(StatusCode::kInvalidArgument, "--calibration has no use with --no-eval");
    }
    return {};
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const std::string text, read_calibration());
    HEARTH_ASSIGN_OR_RETURN(const ModelLocation location, resolve_model(source_, models_dir_));
    HEARTH_ASSIGN_OR_RETURN(ModelFile source, open_model(source_, models_dir_));
    if (!output_.empty()) HEARTH_RETURN_IF_ERROR(check_output(output_, source, location, imatrix_));
    std::optional<Imatrix> imatrix;
    if (!imatrix_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(imatrix, Imatrix::open(imatrix_));
      quantize_.imatrix = &*imatrix;
    }
    HEARTH_ASSIGN_OR_RETURN(const auto device,
                            make_cpu_device({.num_threads = num_threads_, .kernels = kernels_}));
    HEARTH_ASSIGN_OR_RETURN(const Written written,
                            output_.empty()
                                ? write_to_registry(source, location, device->host_threads())
                                : write_file(source, output_, device->host_threads()));
    if (!eval_) return report(written, nullptr, {});
    const auto compared = compare(std::move(source), written.path, text, *device);
    // The file is there and complete: only its quality is not known.
    if (!compared.has_value()) return report(written, nullptr, compared.error().message());
    return report(written, &*compared, {});
  }

 private:
  struct Written {
    std::filesystem::path path;
    std::string shown;  // What the result is called.
    QuantizeReport figures;
  };

  Result<std::string> read_calibration() const {
    if (calibration_.empty() || !eval_) return std::string(calibration_text());
    HEARTH_ASSIGN_OR_RETURN(std::string text, read_text_file(calibration_, kMaxTextBytes));
    if (utf8::is_valid(text)) return text;
    return error(StatusCode::kInvalidArgument, "'{}' is not UTF-8 from byte {} on",
                 calibration_.string(), utf8::first_invalid(text));
  }

  Result<Written> write_file(const ModelFile& source, const std::filesystem::path& path,
                             ThreadPool& threads) {
    HEARTH_ASSIGN_OR_RETURN(const auto interrupt, Interrupt::install());
    TensorLines lines(*interrupt);
    quantize_.on_progress = [&](const QuantizeProgress& progress) { return lines.show(progress); };
    HEARTH_ASSIGN_OR_RETURN(QuantizeReport figures,
                            quantize_to_file(source, path, quantize_, threads));
    return Written{.path = path, .shown = path.string(), .figures = std::move(figures)};
  }

  // The name without a tag of a registered model, else that of the file or directory.
  Result<hub::ModelName> registry_name(const ModelLocation& location) const {
    const std::string given =
        location.name.empty()
            ? hub::suggested_part(hub::model_label_of(location.path.filename().string()))
            : location.name;
    auto name = hub::ModelName::parse(given);
    if (!name.has_value()) {
      return error(StatusCode::kInvalidArgument,
                   "'{}' makes no name of a model in the registry; give a file by --output", given);
    }
    name->tag = quantize_.recipe.label;
    name->revision.clear();
    return name;
  }

  // What has the name of the result may only go if it can be made again.
  static Status check_replaced(const hub::ModelStore& registry, const hub::ModelName& name,
                               const ModelLocation& location) {
    const auto there = registry.find(name);
    if (!there.has_value()) return {};
    const auto path = registry.resolve(*there);
    if (path.has_value() && *path == location.path) {
      return make_status(StatusCode::kInvalidArgument,
                         "'{}' is the source itself; give another file by --output", name.text());
    }
    const std::string& origin = there->manifest.source.origin;
    if (origin.starts_with(kMadeHere)) return {};
    return make_status(
        StatusCode::kInvalidArgument,
        "'{}' is in the registry already, from '{}'; remove it first (hearth rm), or "
        "give a file by --output",
        name.text(), origin);
  }

  Result<Written> write_to_registry(const ModelFile& source, const ModelLocation& location,
                                    ThreadPool& threads) {
    HEARTH_ASSIGN_OR_RETURN(const hub::ModelName name, registry_name(location));
    HEARTH_ASSIGN_OR_RETURN(const hub::ModelStore registry, model_registry(models_dir_));
    HEARTH_RETURN_IF_ERROR(check_replaced(registry, name, location));
    hub::Failpoints none;
    HEARTH_ASSIGN_OR_RETURN(auto writer, hub::StoreWriter::open(registry, none));
    const std::string_view prefix = "quantize-";
    const auto path = writer.partial_path(fmt::format("{}{}", prefix, unique_name()));
    GgufFileWriter::remove_left_overs(path.parent_path(), prefix);
    HEARTH_ASSIGN_OR_RETURN(Written written, write_file(source, path, threads));
    hub::NewModel model = {
        .name = name, .file_name = fmt::format("{}-{}.gguf", name.model, name.tag), .source = {}};
    model.source.origin = fmt::format(
        "{}{}", kMadeHere, location.name.empty() ? location.path.string() : location.name);
    // Somebody may have brought a model of that name meanwhile.
    const Status allowed = check_replaced(registry, name, location);
    const auto added = allowed.ok() ? hub::add_file(writer, path, model) : std::unexpected(allowed);
    if (!added.has_value()) {
      ::unlink(path.c_str());
      return std::unexpected(added.error());
    }
    HEARTH_ASSIGN_OR_RETURN(written.path, registry.resolve(*added));
    written.shown = name.text();
    return written;
  }

  Result<PerplexityReport> compare(ModelFile source, const std::filesystem::path& path,
                                   const std::string& text, Device& device) const {
    HEARTH_ASSIGN_OR_RETURN(const auto reference, load_text_model(std::move(source), device));
    HEARTH_ASSIGN_OR_RETURN(ModelFile file, ModelFile::open(path));
    HEARTH_ASSIGN_OR_RETURN(const auto model, load_text_model(std::move(file), device));
    HEARTH_ASSIGN_OR_RETURN(const auto tokens, common_tokens(*model, reference.get(), text));
    PerplexityOptions options = {.max_chunks = kMaxChunks};
    options.chunk_len =
        std::min({kChunkLen, model->model->config().context_len, tokens.size() / 2});
    const auto& special = model->tokenizer->special();
    if (special.add_bos) options.bos = special.bos;
    return measure_perplexity({*model->model, reference->model.get()}, tokens, options,
                              device.host_threads(), show_perplexity_progress);
  }

  // `problem`: why there is no comparison although one was wanted.
  Status report(const Written& written, const PerplexityReport* compared,
                const std::string& problem) const {
    return print(json_ ? json::dump(json_of(written, compared, problem), {.indent = 2}) + "\n"
                       : text_of(written, compared, problem));
  }

  static std::string fallback_text(const std::pair<DType, DType>& formats, std::size_t count) {
    const DTypeInfo& wanted = dtype_info(formats.first);
    return fmt::format("{} {} in {} instead of {}, whose blocks of {} their rows do not fill",
                       count, count == 1 ? "tensor" : "tensors", dtype_info(formats.second).name,
                       wanted.name, wanted.block_len);
  }

  std::string text_of(const Written& written, const PerplexityReport* compared,
                      const std::string& problem) const {
    const QuantizeReport& figures = written.figures;
    std::vector<std::vector<std::string>> rows = {
        {"weights",
         fmt::format("{} -> {}, {:.2f} bits per weight", human_bytes(figures.source_bytes),
                     human_bytes(figures.target_bytes), figures.bits_per_weight())}};
    for (const auto& [formats, count] : figures.fallbacks)
      rows.push_back({"fallback", fallback_text(formats, count)});
    if (quantize_.imatrix != nullptr && figures.num_without_importance > 0) {
      rows.push_back({"imatrix", fmt::format("knows nothing of {} of the quantized tensors",
                                             figures.num_without_importance)});
    }
    if (compared != nullptr) {
      rows.push_back({"compared on", fmt::format("{} predictions of {}", compared->num_predictions,
                                                 calibration_.empty() ? "the built-in text"
                                                                      : calibration_.string())});
      rows.push_back(
          {"perplexity", fmt::format("{:.4f}, of the source {:.4f}", compared->perplexity.value,
                                     compared->divergence->reference_perplexity.value)});
      for (auto& row : divergence_rows(*compared->divergence))
        rows.push_back(std::move(row));
    } else if (!problem.empty()) {
      rows.push_back({"not compared", single_line(problem)});
    }
    return fmt::format("wrote {}\n", single_line(written.shown)) +
           format_table(rows, {false, false});
  }

  json::Value json_of(const Written& written, const PerplexityReport* compared,
                      const std::string& problem) const {
    const QuantizeReport& figures = written.figures;
    json::Array fallbacks;
    for (const auto& [formats, count] : figures.fallbacks) {
      fallbacks.emplace_back(json::Object{{"wanted", std::string(dtype_info(formats.first).name)},
                                          {"used", std::string(dtype_info(formats.second).name)},
                                          {"tensors", std::uint64_t{count}}});
    }
    json::Object object{{"model", written.shown},
                        {"path", written.path.string()},
                        {"format", std::string(quantize_.recipe.name)},
                        {"source_weight_bytes", figures.source_bytes},
                        {"weight_bytes", figures.target_bytes},
                        {"bits_per_weight", figures.bits_per_weight()},
                        {"fallbacks", std::move(fallbacks)}};
    if (compared != nullptr) {
      object.append("predictions", std::uint64_t{compared->num_predictions});
      object.append("perplexity", compared->perplexity.value);
      object.append("source_perplexity", compared->divergence->reference_perplexity.value);
      object.append("kl_divergence", divergence_json(*compared->divergence));
      object.append("same_top_token", compared->divergence->same_top.value);
    } else if (!problem.empty()) {
      object.append("not_compared", problem);
    }
    return object;
  }

  std::string source_;
  std::string to_;
  std::filesystem::path output_;
  std::filesystem::path imatrix_;
  std::filesystem::path calibration_;
  std::filesystem::path models_dir_;
  QuantizeOptions quantize_;
  bool eval_ = true;
  std::size_t num_threads_ = 0;
  std::string kernels_ = "auto";
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_quantize_command() {
  return std::make_unique<QuantizeCommand>();
}

}  // namespace hearth
