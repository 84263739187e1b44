// The list of files that make up a stored model, and where they came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace hearth::hub {

inline constexpr std::size_t kMaxManifestFiles = 10'000;

struct ManifestFile {
  std::string path;  // Relative, as on the hub: "model.gguf", "tokenizer/vocab.json".
  std::uint64_t size_bytes = 0;
  std::string sha256;  // Also the name of the blob that holds the content.
  bool operator==(const ManifestFile&) const = default;
};

struct ModelSource {
  std::string origin;      // Address of the hub or of the file; a path for an import.
  std::string repository;  // Empty when it did not come from a hub.
  std::string revision;    // As asked for.
  std::string commit;      // What that was at the time.
  bool operator==(const ModelSource&) const = default;
};

struct Manifest {
  std::vector<ManifestFile> files;  // By path; no path twice.
  ModelSource source;
  std::int64_t created_s = 0;  // Seconds since 1970.

  std::uint64_t size_bytes() const;
  // Digest of paths and contents alone: equal for models with equal files.
  std::string content_id() const;
  // The file to load: the only .gguf, or the first part of the only split one; nullptr when there
  // is none.
  const ManifestFile* gguf_file() const;
};

// A path that names something below a directory and nothing else: no empty part, no part that
// begins with '.', no backslash or control character, parts up to 255 and all up to 1000 bytes.
bool is_safe_path(std::string_view path);

json::Value manifest_json(const Manifest& manifest);
// Untrusted text; every path, size and checksum is checked. kDataLoss names the field.
Result<Manifest> parse_manifest(std::string_view text);

}  // namespace hearth::hub
