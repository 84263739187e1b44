// Which model a user means: a file, a directory, or a name in the registry.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/options.h"
#include "base/status.h"
#include "formats/model_file.h"
#include "hub/model_store.h"

namespace hearth {

// What may be given as a model, for the help texts.
inline constexpr std::string_view kModelHelp =
    "GGUF file, Hugging Face directory (config.json, *.safetensors, tokenizer.json), directory "
    "that holds one GGUF file, or name of a model in the registry (hearth list).";

// Declares --models-dir.
void add_models_dir(OptionSet& options, std::filesystem::path& target);

// The registry in `models_dir`, or where the user's data lie when that is empty: below
// XDG_DATA_HOME, else below HOME. Need not exist. kInvalidArgument when no variable says where.
Result<hub::ModelStore> model_registry(const std::filesystem::path& models_dir);

struct ModelLocation {
  std::filesystem::path path;
  std::string name;  // As given, when that is a name in the registry; else empty.
};

// `given` itself, or the only model in it when it is a directory: a .gguf file, the first part of a
// split one, or the directory when it is a Hugging Face model (which its config.json means too).
// What does not exist is looked up in the registry. kNotFound, or kInvalidArgument with the
// candidates when there are several.
Result<ModelLocation> resolve_model(const std::string& given,
                                    const std::filesystem::path& models_dir);

// Opens what resolve_model() finds; errors name the file.
Result<ModelFile> open_model(const std::string& given, const std::filesystem::path& models_dir);

// Before long work: kInvalidArgument when `output` would replace what it is made from (a file of
// the model, anything in its directory, or `other`) or something else than a regular file,
// kUnavailable when its directory cannot be written.
Status check_output(const std::filesystem::path& output, const ModelFile& model,
                    const ModelLocation& location, const std::filesystem::path& other);

}  // namespace hearth
