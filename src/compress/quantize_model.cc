#include "compress/quantize_model.h"

#include <algorithm>
#include <array>

#include "base/anonymous_mapping.h"
#include "compress/tensor_quantizer.h"
#include "formats/gguf_file_writer.h"

namespace hearth {
namespace {

// Bytes of a tensor that are converted before they are written.
constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
// Where a tensor may begin in memory: what loads whole cache lines profits.
constexpr std::size_t kTensorAlignment = 64;

constexpr std::string_view kFileTypeKey = "general.file_type";

struct SideFile {
  std::string_view name;
  std::string_view key;
};
constexpr std::array kSideFiles = {
    SideFile{"tokenizer.json", ModelFile::kTokenizerJsonKey},
    SideFile{"tokenizer_config.json", ModelFile::kTokenizerConfigKey},
};

// A plan and everything that is counted while it is carried out.
class Work {
 public:
  Work(const QuantizeOptions& options, std::vector<PlannedTensor> plan)
      : options_(options), plan_(std::move(plan)) {
    for (const PlannedTensor& planned : plan_) {
      const Shape& shape = planned.source->shape;
      report_.source_bytes += planned.source->data.size();
      report_.target_bytes += target_bytes(planned);
      report_.num_parameters += shape.num_elements();
      if (planned.dtype != planned.wanted) ++report_.fallbacks[{planned.wanted, planned.dtype}];
    }
  }

  static Result<Work> create(const ModelFile& source, const QuantizeOptions& options) {
    HEARTH_ASSIGN_OR_RETURN(auto plan, plan_tensors(source, options.recipe, options.requantize));
    return Work(options, std::move(plan));
  }

  static std::uint64_t target_bytes(const PlannedTensor& planned) {
    const Shape& shape = planned.source->shape;
    return shape.num_rows() * row_bytes(planned.dtype, shape.row_len());
  }

  std::span<const PlannedTensor> plan() const { return plan_; }
  const QuantizeReport& report() const { return report_; }

  Result<Conversion> conversion(const PlannedTensor& planned) {
    Conversion conversion = {.dtype = planned.dtype};
    const bool searched =
        dtype_info(planned.dtype).block_len > 1 && planned.dtype != planned.source->dtype;
    if (options_.imatrix == nullptr || !searched) return conversion;
    HEARTH_ASSIGN_OR_RETURN(conversion.importance, options_.imatrix->find(*planned.source));
    if (conversion.importance.empty()) ++report_.num_without_importance;
    return conversion;
  }

  Status done(std::size_t idx) {
    bytes_done_ += plan_[idx].source->data.size();
    if (!options_.on_progress) return {};
    return options_.on_progress({.tensor_idx = idx,
                                 .num_tensors = plan_.size(),
                                 .tensor = &plan_[idx],
                                 .bytes_done = bytes_done_,
                                 .bytes = report_.source_bytes});
  }

 private:
  const QuantizeOptions& options_;
  std::vector<PlannedTensor> plan_;
  QuantizeReport report_;
  std::uint64_t bytes_done_ = 0;
};

// Keys that speak of the source's files and not of the model.
bool is_of_files(std::string_view key) {
  return key == "general.alignment" || key == kFileTypeKey || key.starts_with("split.");
}

GgufMetadata metadata_for(const ModelFile& source, const QuantizeOptions& options) {
  constexpr std::int64_t kQuantizationVersion = 2;  // Of the block layouts.
  GgufMetadata metadata;
  for (const MetadataEntry& entry : source.metadata()) {
    if (!is_of_files(entry.key)) metadata.set(entry);
  }
  for (const SideFile& file : kSideFiles) {
    if (const auto text = source.side_file(file.name)) metadata.set(file.key, *text);
  }
  metadata.set("general.quantization_version", kQuantizationVersion);
  if (options.recipe.file_type) metadata.set(kFileTypeKey, std::int64_t{*options.recipe.file_type});
  if (options.imatrix != nullptr) {
    metadata.set("quantize.imatrix.file", std::string_view(options.imatrix->name()));
    metadata.set("quantize.imatrix.entries_count",
                 static_cast<std::int64_t>(options.imatrix->size()));
  }
  return metadata;
}

Status write_tensor(const PlannedTensor& planned, const Conversion& conversion, ThreadPool& threads,
                    GgufFileWriter& writer) {
  const Shape& shape = planned.source->shape;
  const std::size_t stride = row_bytes(planned.dtype, shape.row_len());
  const std::size_t num_rows = shape.num_rows();
  const std::size_t piece_rows = std::clamp<std::size_t>(kPieceBytes / stride, 1, num_rows);
  std::vector<std::byte> piece(piece_rows * stride);
  for (std::size_t first = 0; first < num_rows; first += piece_rows) {
    const RowRange rows = {first, std::min(piece_rows, num_rows - first)};
    const auto out = std::span(piece).first(rows.count * stride);
    HEARTH_RETURN_IF_ERROR(convert_rows(*planned.source, rows, conversion, threads, out));
    HEARTH_RETURN_IF_ERROR(writer.write(out));
  }
  return {};
}

// Before a tensor is read: whether it is still what was stored.
Status check_source(const ModelFile& source, const TensorView& tensor, ThreadPool& threads) {
  return source.check(tensor.data, &threads).with_context(fmt::format("tensor '{}'", tensor.name));
}

// Hands out the pieces of one mapping.
class Arena {
 public:
  static Result<Arena> create(std::span<const PlannedTensor> plan) {
    std::size_t size = 0;
    for (const PlannedTensor& planned : plan)
      if (is_made(planned)) size += rounded(Work::target_bytes(planned));
    Arena arena;
    if (size > 0) {
      HEARTH_ASSIGN_OR_RETURN(arena.mapping_, AnonymousMapping::create(size));
    }
    return arena;
  }

  static bool is_made(const PlannedTensor& planned) {
    return planned.dtype != planned.source->dtype;
  }

  std::span<std::byte> take(std::uint64_t size) {
    const std::span<std::byte> piece(mapping_.data() + used_, static_cast<std::size_t>(size));
    used_ += rounded(size);
    return piece;
  }
  AnonymousMapping mapping() && { return std::move(mapping_); }

 private:
  static std::size_t rounded(std::uint64_t size) {
    return (static_cast<std::size_t>(size) + kTensorAlignment - 1) / kTensorAlignment *
           kTensorAlignment;
  }
  AnonymousMapping mapping_;
  std::size_t used_ = 0;
};

}  // namespace

Result<QuantizeReport> quantize_to_file(const ModelFile& source, const std::filesystem::path& path,
                                        const QuantizeOptions& options, ThreadPool& threads) {
  HEARTH_ASSIGN_OR_RETURN(Work work, Work::create(source, options));
  std::vector<GgufTensorInfo> tensors;
  for (const PlannedTensor& planned : work.plan())
    tensors.push_back({planned.source->name, planned.dtype, planned.source->shape});
  HEARTH_ASSIGN_OR_RETURN(auto writer,
                          GgufFileWriter::create(path, metadata_for(source, options), tensors));
  for (std::size_t i = 0; i < work.plan().size(); ++i) {
    const PlannedTensor& planned = work.plan()[i];
    HEARTH_ASSIGN_OR_RETURN(const Conversion conversion, work.conversion(planned));
    HEARTH_RETURN_IF_ERROR(check_source(source, *planned.source, threads));
    HEARTH_RETURN_IF_ERROR(write_tensor(planned, conversion, threads, writer));
    source.release(*planned.source);
    HEARTH_RETURN_IF_ERROR(work.done(i));
  }
  HEARTH_RETURN_IF_ERROR(source.intact());
  HEARTH_RETURN_IF_ERROR(writer.finish());
  return work.report();
}

Result<ModelFile> quantize_in_memory(ModelFile source, const QuantizeOptions& options,
                                     ThreadPool& threads) {
  HEARTH_ASSIGN_OR_RETURN(Work work, Work::create(source, options));
  HEARTH_ASSIGN_OR_RETURN(Arena arena, Arena::create(work.plan()));
  std::vector<TensorView> tensors;
  for (std::size_t i = 0; i < work.plan().size(); ++i) {
    const PlannedTensor& planned = work.plan()[i];
    TensorView tensor = *planned.source;
    if (Arena::is_made(planned)) {
      HEARTH_ASSIGN_OR_RETURN(const Conversion conversion, work.conversion(planned));
      HEARTH_RETURN_IF_ERROR(check_source(source, tensor, threads));
      const auto target = arena.take(Work::target_bytes(planned));
      HEARTH_RETURN_IF_ERROR(convert_rows(tensor,
                                          {0, static_cast<std::size_t>(tensor.shape.num_rows())},
                                          conversion, threads, target));
      source.discard(tensor);
      tensor.dtype = planned.dtype;
      tensor.data = target;
    }
    tensors.push_back(std::move(tensor));
    HEARTH_RETURN_IF_ERROR(work.done(i));
  }
  HEARTH_RETURN_IF_ERROR(source.intact());
  ModelFileContent content = std::move(source).take();
  content.tensors = std::move(tensors);
  AnonymousMapping mapping = std::move(arena).mapping();
  if (mapping.size() > 0) content.made.push_back(std::move(mapping));
  return ModelFile::assemble(std::move(content));
}

Result<ModelFile> quantize_on_load(ModelFile source, std::string_view recipe,
                                   std::size_t num_threads) {
  HEARTH_ASSIGN_OR_RETURN(const Recipe found, find_recipe(recipe));
  ThreadPool threads(num_threads != 0 ? num_threads : ThreadPool::available_cpus());
  return quantize_in_memory(std::move(source),
                            {.recipe = found, .imatrix = nullptr, .on_progress = {}}, threads);
}

Result<std::size_t> bytes_on_load(const ModelFile& source, std::string_view recipe) {
  std::size_t bytes = 0;
  if (recipe.empty()) {
    for (const TensorView& tensor : source.tensors())
      bytes += tensor.data.size();
    return bytes;
  }
  HEARTH_ASSIGN_OR_RETURN(const Recipe found, find_recipe(recipe));
  HEARTH_ASSIGN_OR_RETURN(const auto plan, plan_tensors(source, found, /*requantize=*/false));
  for (const PlannedTensor& planned : plan)
    bytes += Work::target_bytes(planned);
  return bytes;
}

}  // namespace hearth
