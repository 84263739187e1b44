// Look-ups in a model file below one architecture's prefix, with the key in every message. Internal
// to the reading of configurations from GGUF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "models/model_config.h"

namespace hearth {

// Far above any model that exists; small enough that no product of two of them overflows.
inline constexpr std::uint32_t kMaxDimension = 1u << 24;
inline constexpr std::uint32_t kMaxPositions = std::numeric_limits<std::int32_t>::max();

// Borrows the file.
class ConfigReader {
 public:
  ConfigReader(const ModelFile& file, std::string_view prefix) : file_(file), prefix_(prefix) {}

  const ModelFile& file() const { return file_; }
  std::string full(std::string_view key) const;
  const MetadataValue* find(std::string_view key) const { return file_.find(full(key)); }

  // 1 to `max`, or nullopt.
  Result<std::optional<std::uint32_t>> optional_size(std::string_view key, std::uint32_t max) const;
  Result<std::size_t> size(std::string_view key, std::uint32_t max) const;
  // 0 to `max`; `fallback` when absent.
  Result<std::size_t> size_or(std::string_view key, std::uint32_t max, std::size_t fallback) const;
  // A finite number; `fallback` when absent.
  Result<double> number(std::string_view key, double fallback) const;
  Result<double> positive_number(std::string_view key, double fallback) const;
  Result<bool> flag(std::string_view key, bool fallback) const;
  Result<std::optional<std::string_view>> text(std::string_view key) const;
  // The values of the tensor [length] of that name; empty when it is absent. All are to be above 0.
  Result<std::vector<float>> positive_vector(std::string_view name, std::size_t length) const;

 private:
  const ModelFile& file_;
  std::string_view prefix_;
};

// Reads the heads of latent attention, whose rotated part is a size of its own.
Status read_latent_heads(const ConfigReader& reader, ModelConfig& config);
// What YaRN multiplies the scores of latent attention by, once the rotation has been read.
Status read_latent_scale(const ConfigReader& reader, ModelConfig& config);

Status read_experts(const ConfigReader& reader, const Architecture& row, ModelConfig& config);

// Reads the rotation of a configuration whose heads and context length are known.
Status read_rope(const ConfigReader& reader, const Architecture& row, ModelConfig& config);

}  // namespace hearth
