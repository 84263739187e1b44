// What a model file holds and what serving it would take, for `hearth inspect`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "formats/model_file.h"
#include "models/encoder.h"
#include "models/model_config.h"

namespace hearth {

// All tensors of one number format.
struct TypeUsage {
  std::string_view name;
  std::size_t num_tensors = 0;
  std::uint64_t num_parameters = 0;
  std::uint64_t bytes = 0;
};

struct MemoryNeed {
  std::size_t context_len = 0;  // Tokens per sequence.
  std::size_t num_sequences = 0;
  std::uint64_t weight_bytes = 0;
  DType kv_cache_dtype = DType::kF16;
  std::uint64_t kv_bytes = 0;
  std::uint64_t activation_bytes = 0;
  std::uint64_t available_bytes = 0;  // To this process, by machine and container.

  std::uint64_t total_bytes() const { return weight_bytes + kv_bytes + activation_bytes; }
};

struct ModelReport {
  std::string name;
  std::string format;
  std::uint64_t file_bytes = 0;
  std::string architecture;
  std::vector<TypeUsage> types;  // Most bytes first.
  std::uint64_t num_parameters = 0;
  std::uint64_t tensor_bytes = 0;
  std::optional<ModelConfig> config;     // Empty when this build cannot run the model.
  std::optional<EncoderConfig> encoder;  // In place of config, of an encoder.
  std::optional<MemoryNeed> memory;      // With a config.
  std::string tokenizer;                 // Description; empty when it cannot be used.
  std::uint64_t vocab_size = 0;
  std::optional<std::string> chat_template;
  std::string chat_template_problem;   // Why it cannot be used; empty: it can, or there is none.
  std::vector<std::string> obstacles;  // Why the model cannot be served; empty: it can.

  double bits_per_weight() const;
  std::string_view main_type() const;  // The number format of most bytes; empty without tensors.
};

struct ReportOptions {
  std::size_t context_len = 0;  // 0: what the model was made for.
  std::size_t num_sequences = 1;
  DType kv_cache_dtype = DType::kF16;
};

ModelReport make_report(const ModelFile& file, const ReportOptions& options = {});
std::string report_text(const ModelReport& report);
json::Value report_json(const ModelReport& report);

}  // namespace hearth
