// The JSON files of a Hugging Face directory, read with bounds. Internal to the models module.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace hearth {

inline constexpr std::size_t kMaxHfConfigBytes = std::size_t{1} << 20;

// kNotFound when the file is missing, kDataLoss when it is malformed.
Result<json::Value> read_hf_json(const std::filesystem::path& directory, std::string_view name,
                                 std::size_t max_bytes);
// The same of a file that must hold an object.
Result<json::Object> read_hf_object(const std::filesystem::path& directory, std::string_view name,
                                    std::size_t max_bytes);
// Empty when the file is missing.
Result<json::Object> read_optional_hf_object(const std::filesystem::path& directory,
                                             std::string_view name, std::size_t max_bytes);

}  // namespace hearth
