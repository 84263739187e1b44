#include "cli/model_path.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace hearth {
namespace {

// "name-00002-of-00005.gguf" is found through its first part.
bool is_later_part(std::string_view file_name) {
  constexpr std::string_view kForm = "-00000-of-00000.gguf";  // A digit for each 0.
  if (file_name.size() < kForm.size()) return false;
  const std::string_view end = file_name.substr(file_name.size() - kForm.size());
  const bool is_part = std::ranges::equal(
      end, kForm, [](char c, char form) { return form == '0' ? c >= '0' && c <= '9' : c == form; });
  return is_part && !end.starts_with("-00001-");
}

}  // namespace

Result<std::filesystem::path> resolve_model_path(const std::string& given) {
  std::error_code failure;
  const auto status = std::filesystem::status(given, failure);
  if (!std::filesystem::exists(status)) {
    return error(StatusCode::kNotFound, "model '{}' does not exist", given);
  }
  if (!std::filesystem::is_directory(status)) return std::filesystem::path(given);

  std::vector<std::string> names;
  for (std::filesystem::directory_iterator entry(given, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".gguf") && !is_later_part(name)) names.push_back(name);
  }
  if (failure) {
    return error(StatusCode::kNotFound, "cannot read directory '{}': {}", given, failure.message());
  }
  if (names.empty()) {
    return error(StatusCode::kNotFound, "directory '{}' holds no .gguf file", given);
  }
  if (names.size() > 1) {
    std::ranges::sort(names);
    return error(StatusCode::kInvalidArgument,
                 "directory '{}' holds several models, name one of them: {}", given,
                 fmt::join(names, ", "));
  }
  return std::filesystem::path(given) / names.front();
}

Result<ModelFile> open_model(const std::string& given) {
  HEARTH_ASSIGN_OR_RETURN(const std::filesystem::path path, resolve_model_path(given));
  Result<ModelFile> file = ModelFile::open(path);
  const std::string name = path.filename().string();
  // Most reader errors speak of a field alone.
  if (!file.has_value() && file.error().message().find(name) == std::string::npos) {
    return std::unexpected(file.error().with_context(fmt::format("'{}'", path.string())));
  }
  return file;
}

}  // namespace hearth
