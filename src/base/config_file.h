// A configuration file: one YAML mapping of option names to scalars or sequences of scalars. The
// YAML library stays behind this header.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth {

struct ConfigEntry {
  std::string key;
  std::vector<std::string> values;  // Exactly one unless `is_sequence`.
  bool is_sequence = false;
  int line = 0;  // From 1.
};

// The entries in the order of the file. An empty file has none. Errors name the file and the line:
// kNotFound, kInvalidArgument (not YAML, not such a mapping, a repeated key), kOutOfRange (larger
// than 1 MiB).
Result<std::vector<ConfigEntry>> read_config_file(const std::filesystem::path& path);

}  // namespace hearth
