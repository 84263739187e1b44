#include "engine/served_model.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <iterator>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/build_info.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/fingerprint.h"
#include "base/log.h"
#include "compress/quantize_model.h"
#include "engine/sampling_defaults.h"
#include "kernels/kernels.h"
#include "kernels/packed_cache.h"
#include "kernels/weight_bytes.h"
#include "models/encoder.h"
#include "models/hf_directory.h"
#include "models/model.h"
#include "models/model_config.h"
#include "tensor/dtype.h"

namespace hearth {
namespace {

constexpr std::uint64_t kMaxTemplateFileBytes = 1 << 20;

// The number format that most of the file's bytes have.
std::string_view main_dtype_of(const ModelFile& file) {
  std::map<std::string_view, std::size_t> bytes;
  for (const TensorView& tensor : file.tensors()) {
    bytes[dtype_info(tensor.dtype).name] += tensor.data.size();
  }
  std::string_view most;
  for (const auto& [name, size] : bytes) {
    if (most.empty() || size > bytes.at(most)) most = name;
  }
  return most;
}

Result<ChatTemplate> template_in(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const std::optional<std::string_view> source,
                          file.find_text("tokenizer.chat_template"));
  if (!source.has_value()) {
    return error(StatusCode::kNotFound, "the model has no chat template");
  }
  return ChatTemplate::compile(*source);
}

Result<ChatTemplate> template_of(const std::filesystem::path& path) {
  HEARTH_ASSIGN_OR_RETURN(const std::string source, read_text_file(path, kMaxTemplateFileBytes));
  return ChatTemplate::compile(source);
}

// Every id that ends an answer: those of the tokenizer, and those that the model names besides.
Result<std::vector<TokenId>> end_ids(const Tokenizer& tokenizer, const ModelFile& file,
                                     std::size_t vocab_size) {
  std::vector<TokenId> ids = tokenizer.special().end_of_generation;
  HEARTH_ASSIGN_OR_RETURN(const auto* further, file.find_integers(ModelFile::kEndOfGenerationKey));
  if (further == nullptr) return ids;
  for (const std::int64_t id : *further) {
    if (id < 0 || std::cmp_greater_equal(id, vocab_size)) {
      return error(StatusCode::kDataLoss,
                   "an answer should end at token {}, but the model's vocabulary has only {}", id,
                   vocab_size);
    }
    const auto token = static_cast<TokenId>(id);
    if (std::ranges::find(ids, token) == ids.end()) ids.push_back(token);
  }
  return ids;
}

// Said, not refused: of several models the lengths may be for another.
void warn_of_lengths(std::string_view model, std::span<const std::size_t> lengths,
                     std::string_view why) {
  if (lengths.empty()) return;
  log::warning("--matryoshka-dimensions {} does nothing for model '{}': {}",
               fmt::join(lengths, ","), model, why);
}

std::vector<std::size_t> lengths_beyond(std::span<const std::size_t> lengths, std::size_t width) {
  std::vector<std::size_t> beyond;
  std::ranges::copy_if(lengths, std::back_inserter(beyond),
                       [width](std::size_t length) { return length > width; });
  return beyond;
}

std::uint64_t digest_of(const ModelFile& file) {
  constexpr std::size_t kSampleBytes = 64;
  Fingerprint digest;
  for (const TensorView& tensor : file.tensors()) {
    digest.mix(tensor.name).mix(static_cast<std::uint64_t>(tensor.dtype)).mix(tensor.data.size());
    digest.mix(tensor.data.first(std::min(tensor.data.size(), kSampleBytes)));
  }
  return digest.value();
}

}  // namespace

// Directories have dots in their names, but no extension.
std::string default_model_name(const std::filesystem::path& path) {
  std::error_code failure;
  const bool is_directory = std::filesystem::is_directory(path, failure);
  return (is_directory ? path.filename() : path.stem()).string();
}

Status check_vocabulary(const Tokenizer& tokenizer, std::size_t vocab_size) {
  if (tokenizer.vocab_size() <= vocab_size) return {};
  return make_status(StatusCode::kDataLoss,
                     "the tokenizer has {} tokens, but the model's vocabulary only {}",
                     tokenizer.vocab_size(), vocab_size);
}

// In the order of construction: whatever borrows stands below what it borrows from.
struct ServedModel::Impl {
  std::string name;
  std::int64_t created = 0;
  std::uint64_t digest = 0;
  std::string_view main_dtype;
  Gauge info;                    // 1 as long as the model is in memory.
  MemoryMetrics memory_metrics;  // Of an encoder.
  MemoryBudget memory;
  ModelFile file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  Status chat_template_status;
  SamplingParams sampling_defaults;
  std::optional<PackedCache> packed_cache;
  EncoderPrecision precision = EncoderPrecision::kF32;
  ShorterVectors shorter;
  bool needs_f32 = false;  // The encoder was not exact enough in bf16.
  std::unique_ptr<Device> device;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<EmbeddingEngine> embedder;

  explicit Impl(ModelFile model_file) : file(std::move(model_file)) {}
  ~Impl() {
    info.set(0);
    show_memory({});
  }

  Status intact() const;

  // What an encoder takes; engines show theirs.
  void show_memory(const MemoryBudget& budget) const;

  Status load_template(const std::filesystem::path& override_path);
  Result<std::unique_ptr<Model>> load_parts(const std::filesystem::path& template_override);
  Status start_engine(std::unique_ptr<Model> model, EngineOptions options, Metrics& metrics);
  Status load_generator(const ServedModelOptions& options, Metrics& metrics);
  Status load_embedder(const ServedModelOptions& served, Metrics& metrics);
  void allow_shorter(const EncoderConfig& description, std::span<const std::size_t> lengths);
  Result<std::unique_ptr<Encoder>> load_encoder_by(const ServedModelOptions& options,
                                                   const EncoderLimits& limits);
  Result<std::unique_ptr<Encoder>> load_encoder_as_exact(const ServedModelOptions& options,
                                                         const EncoderLimits& limits);
  Status load_sampling_defaults();
  Status make_device(const ServedModelOptions& options);
};

Status ServedModel::Impl::load_template(const std::filesystem::path& override_path) {
  const bool is_override = !override_path.empty();
  Result<ChatTemplate> loaded = is_override ? template_of(override_path) : template_in(file);
  if (loaded.has_value()) {
    chat_template = *std::move(loaded);
    return {};
  }
  if (is_override) {
    return loaded.error().with_context(
        fmt::format("chat template file '{}'", override_path.string()));
  }
  chat_template_status = loaded.error();
  if (chat_template_status.code() != StatusCode::kNotFound) {
    chat_template_status =
        chat_template_status.with_context("the model's chat template cannot be used");
  }
  log::warning("{}; chat requests will be refused", chat_template_status.message());
  return {};
}

Status ServedModel::Impl::load_sampling_defaults() {
  HEARTH_ASSIGN_OR_RETURN(sampling_defaults, read_sampling_defaults(file));
  const std::string text = describe_sampling(sampling_defaults);
  if (!text.empty()) log::info("sampling defaults of the model: {}", text);
  return {};
}

void ServedModel::Impl::show_memory(const MemoryBudget& budget) const {
  memory_metrics.bytes[MemoryKind::kWeights].set(static_cast<double>(budget.weight_bytes));
  memory_metrics.bytes[MemoryKind::kActivations].set(static_cast<double>(budget.activation_bytes));
}

Status ServedModel::Impl::intact() const {
  HEARTH_RETURN_IF_ERROR(file.intact());
  return packed_cache ? packed_cache->intact() : Status();
}

Status ServedModel::Impl::make_device(const ServedModelOptions& options) {
  const std::string source = file.identity();
  // What is quantized on the way here takes longer than packing.
  if (!options.packed_weights_dir.empty() && !source.empty() && options.quantize.empty()) {
    packed_cache.emplace(PackedCacheOptions{.directory = options.packed_weights_dir,
                                            .source = fmt::format("{} {:016x}", source, digest),
                                            .min_bytes = options.min_packed_bytes});
  }
  HEARTH_ASSIGN_OR_RETURN(device,
                          make_cpu_device({.num_threads = options.num_threads,
                                           .kernels = options.kernels,
                                           .packed_cache = packed_cache ? &*packed_cache : nullptr,
                                           .float_products = precision == EncoderPrecision::kBf16
                                                                 ? FloatProducts::kBf16
                                                                 : FloatProducts::kF32}));
  return {};
}

// Weights are packed by all threads, but a large part of reading a vocabulary is one thread's work:
// they go side by side.
Result<std::unique_ptr<Model>> ServedModel::Impl::load_parts(
    const std::filesystem::path& template_override) {
  auto text = std::async(std::launch::async, [&]() -> Status {
    HEARTH_ASSIGN_OR_RETURN(tokenizer, Tokenizer::load(file));
    return load_template(template_override);
  });
  auto model = Model::load(file, *device);
  HEARTH_RETURN_IF_ERROR(text.get());
  return model;
}

Status ServedModel::Impl::start_engine(std::unique_ptr<Model> model, EngineOptions options,
                                       Metrics& metrics) {
  options.host_threads = &device->host_threads();
  options.weights_intact = [this] { return intact(); };
  HEARTH_RETURN_IF_ERROR(check_vocabulary(*tokenizer, model->config().vocab_size));
  HEARTH_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                          end_ids(*tokenizer, file, model->config().vocab_size));
  HEARTH_ASSIGN_OR_RETURN(engine,
                          Engine::start(std::move(model), ids, options, metrics.of_model(name)));
  memory = engine->memory();
  return {};
}

Status ServedModel::Impl::load_generator(const ServedModelOptions& options, Metrics& metrics) {
  warn_of_lengths(name, options.matryoshka_dimensions, "it makes no vectors");
  HEARTH_RETURN_IF_ERROR(make_device(options));
  if (options.sampling_defaults) HEARTH_RETURN_IF_ERROR(load_sampling_defaults());
  HEARTH_ASSIGN_OR_RETURN(auto model, load_parts(options.chat_template_file));
  return start_engine(std::move(model), options.engine, metrics);
}

Result<std::unique_ptr<Encoder>> ServedModel::Impl::load_encoder_by(
    const ServedModelOptions& options, const EncoderLimits& limits) {
  if (options.encoder_precision == EncoderPrecision::kAuto &&
      may_round_products(file, options.kernels)) {
    return load_encoder_as_exact(options, limits);
  }
  if (options.encoder_precision == EncoderPrecision::kBf16) {
    HEARTH_RETURN_IF_ERROR(check_bf16_applies(file));
    precision = EncoderPrecision::kBf16;
  }
  HEARTH_RETURN_IF_ERROR(make_device(options));
  return load_encoder(file, *device, limits);
}

// In bfloat16 if that hardly changes what the model makes of a few texts.
Result<std::unique_ptr<Encoder>> ServedModel::Impl::load_encoder_as_exact(
    const ServedModelOptions& options, const EncoderLimits& limits) {
  HEARTH_ASSIGN_OR_RETURN(
      const PrecisionProbe probe,
      PrecisionProbe::make(file, {.num_threads = options.num_threads, .kernels = options.kernels},
                           limits.max_batch_tokens));
  precision = EncoderPrecision::kBf16;
  HEARTH_RETURN_IF_ERROR(make_device(options));
  HEARTH_ASSIGN_OR_RETURN(auto encoder, load_encoder(file, *device, limits));
  const PrecisionGap gap = probe.compare(*encoder);
  const std::string_view verdict = gap.is_small() ? "bf16" : "f32";
  if (encoder->config().is_classifier()) {
    log::info("encoder precision {}: in bf16 outputs of {} trial texts change by {:.4f} at most",
              verdict, gap.num_texts, gap.largest_change);
  } else {
    log::info("encoder precision {}: in bf16 vectors of {} trial texts keep a cosine of {:.7f}",
              verdict, gap.num_texts, gap.least_cosine);
  }
  if (gap.is_small()) return encoder;
  needs_f32 = true;
  return error(StatusCode::kInternal, "the encoder is not exact enough in bf16");
}

void ServedModel::Impl::allow_shorter(const EncoderConfig& description,
                                      std::span<const std::size_t> lengths) {
  if (description.is_classifier()) {
    warn_of_lengths(name, lengths, "it makes no vectors");
    return;
  }
  warn_of_lengths(name, lengths_beyond(lengths, description.width),
                  fmt::format("its vectors have {} numbers", description.width));
  shorter = description.shorter;
  shorter.add(lengths, description.width);
}

Status ServedModel::Impl::load_embedder(const ServedModelOptions& served, Metrics& metrics) {
  const EngineOptions& options = served.engine;
  chat_template_status = Status(StatusCode::kNotFound, "an encoder does not chat");
  HEARTH_ASSIGN_OR_RETURN(const EncoderConfig description, read_encoder_description(file));
  const std::size_t max_len =
      options.max_model_len == 0 ? description.max_tokens : options.max_model_len;
  // A text goes through in one piece; with its special tokens it hardly has fewer than four.
  const std::size_t max_tokens = std::max(options.max_num_batched_tokens, max_len);
  const EncoderLimits limits{.max_batch_tokens = max_tokens,
                             .max_batch_sequences = std::max<std::size_t>(max_tokens / 4, 1)};
  auto text = std::async(std::launch::async, [this]() -> Status {
    HEARTH_ASSIGN_OR_RETURN(tokenizer, Tokenizer::load(file));
    return {};
  });
  auto encoder = load_encoder_by(served, limits);
  HEARTH_RETURN_IF_ERROR(text.get());
  if (!encoder) return encoder.error();
  HEARTH_RETURN_IF_ERROR(check_vocabulary(*tokenizer, description.vocab_size));
  allow_shorter(description, served.matryoshka_dimensions);
  memory.weight_bytes = (*encoder)->weight_bytes();
  memory.activation_bytes = (*encoder)->activation_bytes();
  if (options.memory_bytes > 0 && memory.total_bytes() > options.memory_bytes) {
    return make_status(StatusCode::kResourceExhausted,
                       "the encoder takes {} bytes, but it may take {} at most",
                       memory.total_bytes(), options.memory_bytes);
  }
  const ModelMetrics& model_metrics = metrics.of_model(name);
  memory_metrics = model_metrics.memory;
  show_memory(memory);
  EmbeddingEngineOptions engine_options;
  engine_options.weights_intact = [this] { return intact(); };
  engine_options.max_model_len = options.max_model_len;
  engine_options.max_queued_requests = options.max_queued_requests;
  engine_options.unhealthy_after = options.unhealthy_after;
  HEARTH_ASSIGN_OR_RETURN(
      embedder, EmbeddingEngine::start(*std::move(encoder), engine_options, model_metrics));
  return {};
}

Result<std::unique_ptr<ServedModel>> ServedModel::load(const ServedModelOptions& options,
                                                       Metrics& metrics) {
  HEARTH_ASSIGN_OR_RETURN(ModelFile file, open_model_file(options.path));
  if (!options.quantize.empty()) {
    HEARTH_ASSIGN_OR_RETURN(
        file, quantize_on_load(std::move(file), options.quantize, options.num_threads));
  }
  auto impl = std::make_unique<Impl>(std::move(file));
  impl->name = options.served_name.empty() ? default_model_name(options.path) : options.served_name;
  impl->created =
      std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall_now().time_since_epoch())
          .count();
  impl->digest = digest_of(impl->file);
  impl->main_dtype = main_dtype_of(impl->file);
  const Status loaded = is_encoder(impl->file) ? impl->load_embedder(options, metrics)
                                               : impl->load_generator(options, metrics);
  if (impl->needs_f32) {
    // Anew: binding gave back what the rounded weights were made from.
    impl.reset();
    ServedModelOptions exact = options;
    exact.encoder_precision = EncoderPrecision::kF32;
    return load(exact, metrics);
  }
  HEARTH_RETURN_IF_ERROR(loaded);
  HEARTH_RETURN_IF_ERROR(impl->intact());
  if (impl->packed_cache) impl->packed_cache->keep();

  const BuildInfo& build = build_info();
  const std::string_view kernels =
      options.kernels == "auto" ? best_kernel_set() : std::string_view(options.kernels);
  metrics.info.build.with({build.version, build.compiler, kernels}).set(1);
  impl->info =
      metrics.info.model.with({impl->name,
                               impl->embedder ? impl->embedder->config().architecture
                                              : impl->engine->model_config().architecture,
                               impl->main_dtype,
                               fmt::format("{}", impl->embedder ? impl->embedder->max_model_len()
                                                                : impl->engine->max_model_len())});
  impl->info.set(1);
  return std::unique_ptr<ServedModel>(new ServedModel(std::move(impl)));
}

Result<std::size_t> ServedModel::least_memory(const ServedModelOptions& options) {
  HEARTH_ASSIGN_OR_RETURN(const ModelFile file, open_model_file(options.path));
  std::size_t weight_bytes = packed_bytes(file.tensors());
  if (!options.quantize.empty()) {
    HEARTH_ASSIGN_OR_RETURN(weight_bytes, bytes_on_load(file, options.quantize));
  }
  if (is_encoder(file)) return weight_bytes;
  HEARTH_ASSIGN_OR_RETURN(const ModelConfig config, read_model_config(file));
  return Engine::least_memory(config, weight_bytes, options.engine);
}

ServedModel::ServedModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ServedModel::~ServedModel() = default;

std::uint64_t ServedModel::digest() const {
  return impl_->digest;
}
const std::string& ServedModel::name() const {
  return impl_->name;
}
std::int64_t ServedModel::created() const {
  return impl_->created;
}
const ModelFile& ServedModel::file() const {
  return impl_->file;
}
const Tokenizer& ServedModel::tokenizer() const {
  return *impl_->tokenizer;
}

const ChatTemplate* ServedModel::chat_template() const {
  return impl_->chat_template.has_value() ? &*impl_->chat_template : nullptr;
}

const Status& ServedModel::chat_template_status() const {
  return impl_->chat_template_status;
}

const SamplingParams& ServedModel::sampling_defaults() const {
  return impl_->sampling_defaults;
}

Status ServedModel::intact() const {
  return impl_->intact();
}

const MemoryBudget& ServedModel::memory() const {
  return impl_->memory;
}

std::string_view ServedModel::main_dtype() const {
  return impl_->main_dtype;
}

std::string_view ServedModel::device_description() const {
  return impl_->device->description();
}
const ShorterVectors& ServedModel::shorter_vectors() const {
  return impl_->shorter;
}

EncoderPrecision ServedModel::encoder_precision() const {
  return impl_->precision;
}
Engine& ServedModel::engine() const {
  HEARTH_CHECK(impl_->engine != nullptr);
  return *impl_->engine;
}
EmbeddingEngine* ServedModel::embedder() const {
  return impl_->embedder.get();
}

}  // namespace hearth
