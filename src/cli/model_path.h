// Which model file a user means.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

// What may be given as a model, for the help texts.
inline constexpr std::string_view kModelHelp =
    "GGUF file, Hugging Face directory (config.json, *.safetensors, tokenizer.json), or a "
    "directory "
    "that holds one GGUF file.";

// `given` itself, or the only model in it when it is a directory: a .gguf file, the first part of a
// split one, or the directory when it is a Hugging Face model (which its config.json means too).
// kNotFound, or kInvalidArgument with the candidates when there are several.
Result<std::filesystem::path> resolve_model_path(const std::string& given);

// Opens what resolve_model_path() finds; errors name the file.
Result<ModelFile> open_model(const std::string& given);

}  // namespace hearth
