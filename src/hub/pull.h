// Gets a model from a hub, or one file from an address, into the registry.
#pragma once

#include <cstdint>
#include <string>

#include "hub/download.h"
#include "hub/hub_client.h"
#include "hub/model_store.h"
#include "hub/pull_observer.h"

namespace hearth::hub {

struct PullResult {
  StoredModel model;
  bool was_current = false;  // Nothing was fetched, because it was all there.
  std::uint64_t new_bytes = 0;
};

// What a pull works with; everything outlives it.
struct PullContext {
  HubClient& client;
  StoreWriter& writer;
  PullObserver& observer;
  DownloadOptions download = {};
};

// The model of `name`, pinned to the commit that its revision ("main" when none is given) names
// now. The tag chooses a quantization. It is listed under the tag that the files tell.
Result<PullResult> pull_model(const PullContext& context, const ModelName& name);

struct FileAddress {
  std::string url;     // Ends in .gguf.
  std::string sha256;  // Empty: whatever comes.
};
// One GGUF file, listed as `name`. The client's endpoint is the address's own.
Result<PullResult> pull_file(const PullContext& context, const FileAddress& address,
                             const ModelName& name);

// The model as it is here, when all its files are there and it is what `name` pins: for working
// offline, and before asking a hub for a commit that cannot change.
Result<StoredModel> find_complete(const ModelStore& store, const ModelName& name);

}  // namespace hearth::hub
