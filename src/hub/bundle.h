// Models from and to files: what a user has on disk, and bundles for machines without a network.
//
// A bundle is a tar archive. Its first entry, hearth-bundle-SHA256.json, names the model and holds
// its manifest; SHA256 is the digest of that text. Then comes one entry blobs/SHA256 for each file.
// So every byte of it is checked when it is imported, and `tar -t` and `sha256sum` can check it
// without Hearth.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "hub/model_store.h"

namespace hearth::hub {

// Copies a model into the registry: a .gguf file, the first part of a split one, a directory with
// one of these or with *.safetensors, or a bundle. With an empty `name` (no MODEL), a bundle keeps
// its own and anything else is called like its file or directory. Errors name the file.
Result<StoredModel> import_model(StoreWriter& writer, const std::filesystem::path& source,
                                 const ModelName& name);

// Writes `model` as a bundle; `target` appears complete or not at all.
Status export_bundle(const ModelStore& store, const StoredModel& model,
                     const std::filesystem::path& target);

}  // namespace hearth::hub
