// What ModelStore::collect() removes.
#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <set>

#include "base/file.h"
#include "hub/model_store.h"

namespace hearth::hub {
namespace {

std::uint64_t size_of(const std::filesystem::path& path) {
  std::error_code failure;
  if (std::filesystem::symlink_status(path, failure).type() !=
      std::filesystem::file_type::regular) {
    return 0;
  }
  const std::uint64_t size = std::filesystem::file_size(path, failure);
  return failure ? 0 : size;
}

// Entries of `name` below `root` that are not in `needed`.
Status add_unneeded(const std::filesystem::path& root, const std::string& name,
                    const std::set<std::string>& needed, std::vector<Garbage>& garbage) {
  HEARTH_ASSIGN_OR_RETURN(const auto directory, StoreDirectory::open_root(root));
  const auto child = directory.child(name);
  if (!child.has_value() && child.error().code() == StatusCode::kNotFound) return {};
  if (!child.has_value()) return child.error();
  HEARTH_ASSIGN_OR_RETURN(const auto entries, child->names());
  for (const std::string& entry : entries) {
    if (!needed.contains(entry)) {
      garbage.push_back({std::filesystem::path(name) / entry, size_of(root / name / entry)});
    }
  }
  return {};
}

// Manifests that were being written when their process died.
void add_unfinished_manifests(const std::filesystem::path& root, std::vector<Garbage>& garbage) {
  std::error_code failure;
  const std::filesystem::recursive_directory_iterator end;
  for (std::filesystem::recursive_directory_iterator entry(root / "models", failure);
       !failure && entry != end; entry.increment(failure)) {
    if (entry->path().extension() == ".tmp") {
      garbage.push_back({entry->path().lexically_relative(root), size_of(entry->path())});
    }
  }
}

}  // namespace

Result<std::vector<Garbage>> ModelStore::find_garbage(const CollectOptions& options) const {
  HEARTH_ASSIGN_OR_RETURN(const StoreListing listing, list());
  if (!listing.damaged.empty()) {
    return std::unexpected(listing.damaged.front().with_context(
        "nothing is removed while it is unknown what is needed"));
  }
  std::set<std::string> blobs;
  std::set<std::string> snapshots;
  for (const StoredModel& model : listing.models) {
    snapshots.insert(model.manifest.content_id());
    for (const ManifestFile& file : model.manifest.files)
      blobs.insert(file.sha256);
  }
  std::vector<Garbage> garbage;
  // Links go before what they lead to.
  HEARTH_RETURN_IF_ERROR(add_unneeded(root_, "snapshots", snapshots, garbage));
  HEARTH_RETURN_IF_ERROR(add_unneeded(root_, "blobs", blobs, garbage));
  HEARTH_RETURN_IF_ERROR(add_unneeded(root_, kSumsDirectory, blobs, garbage));
  HEARTH_RETURN_IF_ERROR(add_unneeded(root_, kPackedDirectory, {}, garbage));
  if (options.unfinished_too) HEARTH_RETURN_IF_ERROR(add_unneeded(root_, "partial", {}, garbage));
  add_unfinished_manifests(root_, garbage);
  return garbage;
}

Result<std::vector<Garbage>> ModelStore::collect(const CollectOptions& options) const {
  std::error_code failure;
  if (!std::filesystem::exists(root_, failure)) return std::vector<Garbage>();
  if (options.dry_run) return find_garbage(options);

  const Descriptor lock(
      ::open((root_ / "lock").c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!lock.valid()) {
    return std::unexpected(write_error(errno).with_context(
        fmt::format("cannot write to the registry '{}'", root_.string())));
  }
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return error(StatusCode::kUnavailable,
                 "another process is adding a model to '{}'; nothing is removed until it is done",
                 root_.string());
  }
  HEARTH_ASSIGN_OR_RETURN(auto garbage, find_garbage(options));
  for (const Garbage& item : garbage) {
    std::filesystem::remove_all(root_ / item.path, failure);
    if (failure) {
      return std::unexpected(
          write_error(failure.value())
              .with_context(fmt::format("cannot remove '{}'", (root_ / item.path).string())));
    }
  }
  return garbage;
}

}  // namespace hearth::hub
