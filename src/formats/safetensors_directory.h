// The weights of a Hugging Face directory: model.safetensors, or the shards that
// model.safetensors.index.json lists.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "formats/safetensors.h"

namespace hearth {

// Owns the mappings that its tensors borrow from.
struct SafetensorsDirectory {
  std::vector<MappedFile> mappings;
  std::vector<SafetensorsTensor> tensors;
  std::uint64_t file_bytes = 0;  // Over all shards.
  std::size_t num_shards = 1;
};

// As transformers does, model.safetensors comes before an index. The index and the shards must
// agree: kNotFound names a missing shard (or says which weights the directory has instead: pickle
// files are refused, because loading them runs code), kDataLoss a tensor that a shard lacks or has
// beyond the index, and everything read_safetensors() reports, with the file's name.
Result<SafetensorsDirectory> open_safetensors_directory(const std::filesystem::path& path);

}  // namespace hearth
