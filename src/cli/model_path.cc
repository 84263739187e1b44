#include "cli/model_path.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "models/hf_directory.h"

namespace hearth {
namespace {

constexpr std::string_view kConfigName = "config.json";

// "name-00002-of-00005.gguf" is found through its first part.
bool is_later_part(std::string_view file_name) {
  constexpr std::string_view kForm = "-00000-of-00000.gguf";  // A digit for each 0.
  if (file_name.size() < kForm.size()) return false;
  const std::string_view end = file_name.substr(file_name.size() - kForm.size());
  const bool is_part = std::ranges::equal(
      end, kForm, [](char c, char form) { return form == '0' ? c >= '0' && c <= '9' : c == form; });
  return is_part && !end.starts_with("-00001-");
}

// What a directory may mean.
struct Candidates {
  std::vector<std::string> gguf_names;
  bool has_config = false;
  bool has_safetensors = false;
};

Result<Candidates> list_candidates(const std::filesystem::path& directory) {
  Candidates found;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".gguf") && !is_later_part(name)) found.gguf_names.push_back(name);
    found.has_config |= name == kConfigName;
    found.has_safetensors |= name.ends_with(".safetensors");
  }
  if (failure) {
    return error(StatusCode::kNotFound, "cannot read directory '{}': {}", directory.string(),
                 failure.message());
  }
  std::ranges::sort(found.gguf_names);
  return found;
}

// With its name at the end, which "." and a trailing slash hide.
std::filesystem::path named(const std::filesystem::path& directory) {
  const auto path = std::filesystem::absolute(directory).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

Result<std::filesystem::path> resolve_directory(const std::filesystem::path& given) {
  HEARTH_ASSIGN_OR_RETURN(Candidates found, list_candidates(given));
  if (found.has_config && (found.has_safetensors || found.gguf_names.empty())) {
    if (found.gguf_names.empty()) return named(given);
    found.gguf_names.emplace_back(kConfigName);
  }
  if (found.gguf_names.empty()) {
    return error(StatusCode::kNotFound, "directory '{}' holds neither a .gguf file nor a {}",
                 given.string(), kConfigName);
  }
  if (found.gguf_names.size() > 1) {
    return error(StatusCode::kInvalidArgument,
                 "directory '{}' holds several models, name one of them: {}", given.string(),
                 fmt::join(found.gguf_names, ", "));
  }
  return given / found.gguf_names.front();
}

}  // namespace

Result<std::filesystem::path> resolve_model_path(const std::string& given) {
  const std::filesystem::path path = given;
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (!std::filesystem::exists(status)) {
    return error(StatusCode::kNotFound, "model '{}' does not exist", given);
  }
  if (std::filesystem::is_directory(status)) return resolve_directory(path);
  return path.filename() == kConfigName ? named(path.parent_path() / ".") : path;
}

Result<ModelFile> open_model(const std::string& given) {
  HEARTH_ASSIGN_OR_RETURN(const std::filesystem::path path, resolve_model_path(given));
  Result<ModelFile> file = open_model_file(path);
  const std::string name = path.filename().string();
  // Most reader errors speak of a field alone.
  if (!file.has_value() && file.error().message().find(name) == std::string::npos) {
    return std::unexpected(file.error().with_context(fmt::format("'{}'", path.string())));
  }
  return file;
}

}  // namespace hearth
