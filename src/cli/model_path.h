// Which model file a user means.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

// `given` itself, or the only model in it when it is a directory: a .gguf file, or the first part
// of a split one. kNotFound, or kInvalidArgument with the candidates when there are several.
Result<std::filesystem::path> resolve_model_path(const std::string& given);

// Opens what resolve_model_path() finds; errors name the file.
Result<ModelFile> open_model(const std::string& given);

}  // namespace hearth
