// A whole model in other number formats: as a GGUF file, or in memory for serving at once. Both
// give the same bits for the same recipe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/imatrix.h"
#include "compress/recipe.h"
#include "formats/model_file.h"

namespace hearth {

struct QuantizeProgress {
  std::size_t tensor_idx = 0;  // Of the tensor that is done.
  std::size_t num_tensors = 0;
  const PlannedTensor* tensor = nullptr;
  std::uint64_t bytes_done = 0;  // Of the source.
  std::uint64_t bytes = 0;
};

struct QuantizeOptions {
  Recipe recipe;
  bool requantize = false;
  const Imatrix* imatrix = nullptr;  // nullptr: every input counts alike.
  // Called after each tensor; an error ends the work. May be empty.
  std::function<Status(const QuantizeProgress&)> on_progress;
};

// A format that rows of a tensor could not have, the one they got instead, and how many tensors.
using Fallbacks = std::map<std::pair<DType, DType>, std::size_t>;

struct QuantizeReport {
  std::uint64_t source_bytes = 0;  // Of tensors.
  std::uint64_t target_bytes = 0;
  std::uint64_t num_parameters = 0;
  std::size_t num_without_importance = 0;  // With an imatrix: quantized tensors it does not know.
  Fallbacks fallbacks;

  double bits_per_weight() const {
    return num_parameters == 0
               ? 0.0
               : 8.0 * static_cast<double>(target_bytes) / static_cast<double>(num_parameters);
  }
};

// Writes a GGUF file with all metadata of the source; a directory's tokenizer files go along as
// metadata. Nothing has the name `path` before the file is complete. Memory: one part of a tensor.
// Errors of plan_tensors(), convert_rows() and GgufFileWriter; kDataLoss when the imatrix is of
// another model, or the source changed meanwhile.
Result<QuantizeReport> quantize_to_file(const ModelFile& source, const std::filesystem::path& path,
                                        const QuantizeOptions& options, ThreadPool& threads);

// The source with its tensors converted. What is converted lies in memory of its own, and the
// source's pages are given back one by one.
Result<ModelFile> quantize_in_memory(ModelFile source, const QuantizeOptions& options,
                                     ThreadPool& threads);

// The same by the recipe's name, with threads of its own (0: one per usable CPU).
Result<ModelFile> quantize_on_load(ModelFile source, std::string_view recipe,
                                   std::size_t num_threads);
// What its tensors will take; as they are when `recipe` is empty.
Result<std::size_t> bytes_on_load(const ModelFile& source, std::string_view recipe);

}  // namespace hearth
