// Opens a Hugging Face directory (config.json, *.safetensors, generation_config.json, tokenizer
// files) as a ModelFile: configuration and tensor names become those of a GGUF file of the same
// model, so that nothing behind knows which of the two it was. Weights stay where they are mapped.
// Pickle files are never read, and code that a directory carries is never run.
#pragma once

#include <filesystem>

#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

// kNotFound names a missing file, kDataLoss what is malformed or contradictory, kUnimplemented an
// architecture, feature or weight format that is not supported and lists those that are. The path's
// last part becomes general.name.
Result<ModelFile> open_hf_directory(const std::filesystem::path& path);

// A model in whichever format: a directory by open_hf_directory(), any other path by
// ModelFile::open().
Result<ModelFile> open_model_file(const std::filesystem::path& path);

}  // namespace hearth
