#include "models/hf_files.h"

#include <string>
#include <utility>

#include "base/file.h"
#include "formats/safetensors.h"

namespace hearth {

Result<json::Value> read_hf_json(const std::filesystem::path& directory, std::string_view name,
                                 std::size_t max_bytes) {
  HEARTH_ASSIGN_OR_RETURN(const std::string text, read_text_file(directory / name, max_bytes));
  return parse_model_json(text, max_bytes, name);
}

Result<json::Object> read_hf_object(const std::filesystem::path& directory, std::string_view name,
                                    std::size_t max_bytes) {
  HEARTH_ASSIGN_OR_RETURN(json::Value value, read_hf_json(directory, name, max_bytes));
  json::Object* object = value.as_object();
  if (object == nullptr) {
    return error(StatusCode::kDataLoss, "{} is of JSON type {}, not an object", name,
                 value.type_name());
  }
  return std::move(*object);
}

Result<json::Object> read_optional_hf_object(const std::filesystem::path& directory,
                                             std::string_view name, std::size_t max_bytes) {
  HEARTH_ASSIGN_OR_RETURN(const bool exists, file_exists(directory / name));
  if (!exists) return json::Object();
  return read_hf_object(directory, name, max_bytes);
}

}  // namespace hearth
