#include "cli/model_path.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/file.h"
#include "hub/selection.h"
#include "models/hf_directory.h"

namespace hearth {
namespace {

constexpr std::string_view kConfigName = "config.json";

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
    if (name.ends_with(".gguf") && !hub::is_later_part(name)) found.gguf_names.push_back(name);
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

Result<ModelLocation> find_in_registry(const std::string& given,
                                       const std::filesystem::path& models_dir) {
  const auto name = hub::ModelName::parse(given);
  if (!name.has_value()) return error(StatusCode::kNotFound, "model '{}' does not exist", given);
  HEARTH_ASSIGN_OR_RETURN(const hub::ModelStore registry, model_registry(models_dir));
  const auto model = registry.find(*name);
  if (!model.has_value() && model.error().code() == StatusCode::kNotFound) {
    const std::string advice =
        name->organization.empty() ? "" : fmt::format("; get it with: hearth pull {}", given);
    return error(StatusCode::kNotFound, "model '{}' is neither a file nor in the registry '{}'{}",
                 given, registry.root().string(), advice);
  }
  if (!model.has_value()) return std::unexpected(model.error());
  HEARTH_ASSIGN_OR_RETURN(const std::filesystem::path path, registry.resolve(*model));
  return ModelLocation{.path = path, .name = given};
}

}  // namespace

void add_models_dir(OptionSet& options, std::filesystem::path& target) {
  options.add(target, {.name = "models-dir",
                       .help = "Directory of the model registry. Empty: hearth/models below "
                               "XDG_DATA_HOME, which is ~/.local/share unless it is set.",
                       .placeholder = "PATH"});
}

Result<hub::ModelStore> model_registry(const std::filesystem::path& models_dir) {
  if (!models_dir.empty()) return hub::ModelStore(models_dir);
  // The specification says that a relative path counts as none
  // (https://specifications.freedesktop.org/basedir-spec/latest/).
  std::filesystem::path data = process_variable("XDG_DATA_HOME");
  if (!data.is_absolute()) {
    const std::filesystem::path home = process_variable("HOME");
    if (!home.is_absolute()) {
      return error(StatusCode::kInvalidArgument,
                   "no place for the model registry: set --models-dir, HEARTH_MODELS_DIR or HOME");
    }
    data = home / ".local" / "share";
  }
  return hub::ModelStore(data / "hearth" / "models");
}

Result<ModelLocation> resolve_model(const std::string& given,
                                    const std::filesystem::path& models_dir) {
  const std::filesystem::path path = given;
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (!std::filesystem::exists(status)) return find_in_registry(given, models_dir);
  if (!std::filesystem::is_directory(status)) {
    const bool means_directory = path.filename() == kConfigName;
    return ModelLocation{.path = means_directory ? named(path.parent_path() / ".") : path,
                         .name = {}};
  }
  HEARTH_ASSIGN_OR_RETURN(std::filesystem::path found, resolve_directory(path));
  return ModelLocation{.path = std::move(found), .name = {}};
}

Result<ModelFile> open_model(const std::string& given, const std::filesystem::path& models_dir) {
  HEARTH_ASSIGN_OR_RETURN(const ModelLocation location, resolve_model(given, models_dir));
  Result<ModelFile> file = open_model_file(location.path);
  const std::string name = location.path.filename().string();
  // Most reader errors speak of a field alone.
  if (!file.has_value() && file.error().message().find(name) == std::string::npos) {
    return std::unexpected(file.error().with_context(fmt::format("'{}'", location.path.string())));
  }
  return file;
}

Status check_output(const std::filesystem::path& output, const ModelFile& model,
                    const ModelLocation& location, const std::filesystem::path& other) {
  const auto directory = std::filesystem::absolute(output).parent_path();
  if (::access(directory.c_str(), W_OK) != 0) {
    return write_error(errno).with_context(fmt::format("cannot write '{}'", output.string()));
  }
  if (std::error_code failure; !std::filesystem::exists(output, failure)) return {};
  HEARTH_ASSIGN_OR_RETURN(const MappedFile there, MappedFile::open(output));
  const auto is_same = [](const std::filesystem::path& a, const std::filesystem::path& b) {
    std::error_code failure;
    return std::filesystem::equivalent(a, b, failure);
  };
  const bool is_part =
      fmt::format(" {} ", model.identity()).contains(fmt::format(" {} ", there.identity()));
  if (!is_part && !is_same(output, other) && !is_same(directory, location.path)) {
    return {};
  }
  return make_status(StatusCode::kInvalidArgument, "--output '{}' is the source itself",
                     output.string());
}

}  // namespace hearth
