// The registry of models on this machine. Below its directory lie
//
//   blobs/SHA256                      one file of a model, read-only, named by its content
//   sums/SHA256                       checksums of its parts, compared at loading (ContentSums)
//   snapshots/ID/PATH                 a model as a directory: relative links to blobs
//   models/ORG/MODEL/TAG[@REV].json   one listed model; ORG is "-" for names without one
//   partial/KEY, KEY.parts            unfinished downloads
//   packed/KEY                        weights as kernels read them, made anew when missing
//   lock                              held shared by who adds files, alone by who removes them
//
// Several processes may use one registry. A model is listed by the last step of adding it, a
// rename; so what is listed is complete, and a crash before leaves at most files that collect()
// removes. Reading takes no lock and writes nothing: a read-only volume serves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "base/status.h"
#include "hub/failpoint.h"
#include "hub/manifest.h"
#include "hub/model_name.h"
#include "hub/store_directory.h"

namespace hearth::hub {

inline constexpr const char* kPackedDirectory = "packed";
inline constexpr const char* kSumsDirectory = "sums";

struct StoredModel {
  ModelName name;  // With a tag.
  Manifest manifest;
};

struct StoreListing {
  std::vector<StoredModel> models;  // By name.
  std::vector<Status> damaged;      // One for each entry that cannot be read.
};

struct CheckedFile {
  std::string path;
  std::string sha256;
  Status status;  // Ok, or what is wrong with the file.
};

// What nothing needs any more.
struct Garbage {
  std::filesystem::path path;  // Below the root.
  std::uint64_t size_bytes = 0;
};

struct CollectOptions {
  bool dry_run = false;        // Only say what would go; takes no lock and writes nothing.
  bool unfinished_too = true;  // Also downloads that could be resumed.
};

// Reads and removes; holds no state but the directory's path, so copies and threads are free.
class ModelStore {
 public:
  explicit ModelStore(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }

  // Empty when the registry does not exist.
  Result<StoreListing> list() const;
  // The model that `name` means: with a tag the one of that tag whatever its case, without one the
  // only one there is, or "latest". kNotFound, or kInvalidArgument with the candidates.
  Result<StoredModel> find(const ModelName& name) const;
  // What a loader opens: the .gguf file (of a split model the first part), or the directory of
  // a model without one. Checks that every file is there with its size, without reading it, and
  // that nothing leads out of the registry. kDataLoss names the file at fault.
  Result<std::filesystem::path> resolve(const StoredModel& model) const;

  // Reads every byte of every file.
  Result<std::vector<CheckedFile>> verify(const StoredModel& model) const;
  // True when the blob is there with this size.
  bool has_blob(const std::string& sha256, std::uint64_t size_bytes) const;
  Result<StoreDirectory::File> open_blob(const std::string& sha256) const;

  // Takes a model off the list; its files go with collect().
  Status remove(const StoredModel& model) const;
  // Whether a blob that verify() found right has its checksums; kDataLoss when it has others, which
  // keep it from being loaded.
  Result<bool> has_sums(const std::string& sha256) const;
  // Removes a blob that verify() found wrong, so that the next pull or import brings it anew.
  Status remove_blob(const std::string& sha256) const;
  // Removes what no listed model needs. kUnavailable while another process adds a model, kDataLoss
  // when a manifest cannot be read: then nobody knows what is needed, and nothing is removed.
  Result<std::vector<Garbage>> collect(const CollectOptions& options) const;

 private:
  Result<std::vector<Garbage>> find_garbage(const CollectOptions& options) const;

  std::filesystem::path root_;
};

// Adds files and models. While it lives nothing is collected. Not thread-safe.
class StoreWriter {
 public:
  // Makes the directories. kUnavailable when the registry cannot be written. `failpoints` outlives
  // the result.
  static Result<StoreWriter> open(const ModelStore& store, Failpoints& failpoints);

  const ModelStore& store() const { return store_; }
  Failpoints& failpoints() { return *failpoints_; }
  // Where a file with this key grows until it is a blob; the key holds letters, digits and '-'.
  std::filesystem::path partial_path(std::string_view key) const;

  // Makes a complete, verified file below partial/ a blob: durable, with checksums of its parts,
  // then renamed.
  Status add_blob(const std::filesystem::path& file, const std::string& sha256);
  // Gives a blob that verify() found right its checksums, instead of what it has.
  Status renew_sums(const std::string& sha256);
  // Copies `size_bytes` from where `read` takes them into the registry and returns their checksum.
  // `read` fills a part of the span from its beginning and says how much; 0 at a premature end.
  // With `expected`, other bytes are kDataLoss.
  using ReadSome = std::function<Result<std::size_t>(std::span<char>)>;
  Result<std::string> copy_blob(const ReadSome& read, std::uint64_t size_bytes,
                                const std::string& expected = {});
  // Lists `manifest`, whose blobs are all there, as `name`, instead of what had that name. A name
  // without a tag gets "latest".
  Status commit(ModelName name, const Manifest& manifest);

 private:
  StoreWriter(ModelStore store, Failpoints& failpoints, Descriptor lock)
      : store_(std::move(store)), failpoints_(&failpoints), lock_(std::move(lock)) {}
  Status make_snapshot(const Manifest& manifest);
  Result<std::string> write_copy(const std::filesystem::path& path, const ReadSome& read,
                                 std::uint64_t size_bytes);

  ModelStore store_;
  Failpoints* failpoints_;
  Descriptor lock_;
};

}  // namespace hearth::hub
