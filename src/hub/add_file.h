// Files that this machine made become models of the registry.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "hub/model_store.h"

namespace hearth::hub {

struct NewModel {
  ModelName name;
  std::string file_name;  // "model.gguf"
  ModelSource source;
};

// Moves `file`, which lies below partial/, into the registry and lists the model that consists of
// it alone, instead of what had its name.
Result<StoredModel> add_file(StoreWriter& writer, const std::filesystem::path& file,
                             const NewModel& model);

}  // namespace hearth::hub
