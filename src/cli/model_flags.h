// The options of every command that runs a model.
#pragma once

#include <cstddef>
#include <string>

#include "base/options.h"
#include "base/status.h"
#include "engine/served_model.h"

namespace hearth {

// Declares --kv-cache-dtype.
void add_kv_cache_dtype(OptionSet& options, DType& target);

// Declares --threads and --kernels, which make_cpu_device() takes.
void add_cpu_options(OptionSet& options, std::size_t& num_threads, std::string& kernels);

// Declares --encoder-precision.
void add_encoder_precision(OptionSet& options, EncoderPrecision& target);

// Declares --quantize, a recipe's name or empty, which quantize_on_load() takes.
void add_quantize(OptionSet& options, std::string& target);

class ModelFlags {
 public:
  // Threads, kernels, context and KV memory.
  void declare(OptionSet& options);
  // What runs at the same time and what waits: for servers.
  void declare_concurrency(OptionSet& options);

  // `model` is a file, a directory with one model, or a name in the registry, under which it is
  // then served.
  Result<ServedModelOptions> resolve(const std::string& model) const;
  // Before any thread starts: what the flags ask of the whole process.
  Status set_up_process() const;

 private:
  void choose_packed_weights_dir(ServedModelOptions& options) const;

  std::filesystem::path models_dir_;
  ServedModelOptions options_;
  ByteSize kv_cache_bytes_;
  bool keep_packed_weights_ = true;
  bool interleave_memory_ = false;
};

}  // namespace hearth
