// Everything one model needs to answer: its file, tokenizer, chat template, device and engine (one
// that generates, or one of embeddings), loaded in one call and torn down in the right order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/status.h"
#include "engine/embedding_engine.h"
#include "engine/encoder_precision.h"
#include "engine/engine.h"
#include "formats/model_file.h"
#include "kernels/device.h"
#include "metrics/metrics.h"
#include "sampling/sampler.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// kDataLoss when the tokenizer has tokens that the model, with `vocab_size` rows, has none for.
Status check_vocabulary(const Tokenizer& tokenizer, std::size_t vocab_size);

// What a model is called when nobody says otherwise: the file's name without its extension, or the
// directory's.
std::string default_model_name(const std::filesystem::path& path);

struct ServedModelOptions {
  std::filesystem::path path;
  std::string served_name;                   // Empty: see default_model_name().
  std::filesystem::path chat_template_file;  // Empty: the template inside the model file.
  // Convert the weights on loading, as hearth quantize would ("q8_0"); empty: as they are.
  std::string quantize;
  std::size_t num_threads = 0;
  std::string kernels = "auto";
  // Where the weights' packed form is kept for the next start (kernels/packed_cache.h), if it has
  // so many bytes. Empty: nowhere.
  std::filesystem::path packed_weights_dir;
  std::size_t min_packed_bytes = 0;
  EncoderPrecision encoder_precision = EncoderPrecision::kAuto;
  // Lengths that an encoder's vectors may be cut to, besides those that its files name. What this
  // model cannot have is said in the log.
  std::vector<std::size_t> matryoshka_dimensions;
  bool sampling_defaults = true;  // Take those that the model's files recommend.
  // An encoder takes max_model_len, max_num_batched_tokens and max_queued_requests from here.
  EngineOptions engine;
};

// Immutable after loading; the parts it hands out live as long as it does and carry their own
// thread rules (Tokenizer, ChatTemplate and Engine may be used from any thread).
class ServedModel {
 public:
  // `metrics` must outlive the model. Besides the parts' own errors: kDataLoss when tokenizer and
  // model contradict each other; those of chat_template_file when it cannot be read or compiled. A
  // template inside the model file that does not compile is no obstacle (see below).
  static Result<std::unique_ptr<ServedModel>> load(const ServedModelOptions& options,
                                                   Metrics& metrics);
  ~ServedModel();

  // About the least memory it would take, from the file's directory of tensors alone. Fails like
  // load() when the file cannot be read.
  static Result<std::size_t> least_memory(const ServedModelOptions& options);

  const std::string& name() const;
  std::int64_t created() const;  // Unix time of loading, seconds.
  const ModelFile& file() const;
  const Tokenizer& tokenizer() const;
  // nullptr when there is none to use: the file carries none, or one that does not compile. Such a
  // model still answers everything but chats.
  const ChatTemplate* chat_template() const;
  // Of the tensors' names, shapes and a sample of their bytes.
  std::uint64_t digest() const;
  // Why chat_template() is nullptr, for the client (kNotFound: there is none); ok when it is not.
  const Status& chat_template_status() const;
  // What a request gets that sets nothing else.
  const SamplingParams& sampling_defaults() const;
  const MemoryBudget& memory() const;
  // kDataLoss, with the file's name, when the model's files are not what they were when it was
  // loaded (see MappedFile::intact); its engine then fails every request. From any thread.
  Status intact() const;
  std::string_view main_dtype() const;  // The number format of most weights, by bytes.
  std::string_view device_description() const;
  // What vectors may be cut to, by the model's files and the options.
  const ShorterVectors& shorter_vectors() const;
  // In which an encoder multiplies its float weights: never kAuto.
  EncoderPrecision encoder_precision() const;
  // Of a model that generates text; there is one unless there is an embedder.
  Engine& engine() const;
  // Of an encoder; else nullptr.
  EmbeddingEngine* embedder() const;

 private:
  struct Impl;
  explicit ServedModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
