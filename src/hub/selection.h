// Which files of a repository or directory make up one model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::hub {

// A file as a hub or a directory lists it.
struct RemoteFile {
  std::string path;  // Passes is_safe_path().
  std::uint64_t size_bytes = 0;
  std::string sha256;    // Of the content; empty when only git_sha1 is known.
  std::string git_sha1;  // git's name of the content; may be empty.
};

struct Selection {
  std::string tag;                // The quantization as the file spells it, or "latest".
  std::vector<RemoteFile> files;  // By path.
};

// "name-00002-of-00005.gguf": found through its first part.
bool is_later_part(std::string_view path);
// Parts of one split model, by their names.
bool is_same_split(std::string_view path, std::string_view other);
// What is left of a GGUF file's name without extension, part and quantization: "SmolLM2-135M".
std::string model_label_of(std::string_view path);
// The quantization that a GGUF file's name tells, upper case ("Q4_K_M", "UD-IQ2_XXS", "F16"), or
// empty.
std::string quantization_of(std::string_view path);

// The GGUF model whose quantization is `wanted` whatever its case, with all parts of a split one;
// or, when nothing is wanted, the only one there is. Without any GGUF file: the configuration,
// tokenizer and *.safetensors of the top folder, never a format that holds code. An error names
// what there is to choose from; `repository` is how it calls the whole.
Result<Selection> select_files(const std::vector<RemoteFile>& files, std::string_view wanted,
                               std::string_view repository);

}  // namespace hearth::hub
