#include "hub/model_store.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>

#include "base/file.h"
#include "hub/digest.h"

namespace hearth::hub {
namespace {

constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{16} << 20;
constexpr std::string_view kNoOrganization = "-";  // No organization's name begins like this.
constexpr const char* kDirectories[] = {"blobs", kSumsDirectory, "snapshots", "models", "partial"};
constexpr std::string_view kDefaultTag = "latest";
constexpr std::string_view kSuffix = ".json";

std::string directory_of(const ModelName& name) {
  return name.organization.empty() ? std::string(kNoOrganization) : name.organization;
}

std::string manifest_file(const ModelName& name) {
  const std::string revision = name.revision.empty() ? "" : "@" + name.revision;
  return name.tag + revision + std::string(kSuffix);
}

// The name that a manifest's place says; an error for a file that is none.
Result<ModelName> name_of(const std::string& organization, const std::string& model,
                          std::string_view file) {
  file.remove_suffix(kSuffix.size());
  const std::string prefix = organization == kNoOrganization ? "" : organization + "/";
  return ModelName::parse(fmt::format("{}{}:{}", prefix, model, file));
}

// Names in a directory that may not be there. What is there and no directory may hide models.
std::vector<std::string> names_below(const Result<StoreDirectory>& directory,
                                     StoreListing& listing) {
  Result<std::vector<std::string>> names =
      directory.has_value() ? directory->names() : std::unexpected(directory.error());
  if (names.has_value()) return *std::move(names);
  if (names.error().code() != StatusCode::kNotFound) listing.damaged.push_back(names.error());
  return {};
}

void list_model(const StoreDirectory& directory, const std::string& organization,
                const std::string& model, StoreListing& listing) {
  for (const std::string& file : names_below(directory.child("."), listing)) {
    if (!file.ends_with(kSuffix)) continue;
    auto name = name_of(organization, model, file);
    if (!name.has_value()) {
      listing.damaged.push_back(name.error());
      continue;
    }
    const Result<std::string> text = directory.read_text(file, kMaxManifestBytes);
    if (!text.has_value() && text.error().code() == StatusCode::kNotFound) continue;  // Just gone.
    Result<Manifest> manifest =
        text.has_value() ? parse_manifest(*text) : std::unexpected(text.error());
    if (manifest.has_value()) {
      listing.models.push_back({*std::move(name), *std::move(manifest)});
    } else {
      listing.damaged.push_back(manifest.error().with_context(
          fmt::format("the registry's entry '{}' is damaged", name->text())));
    }
  }
}

// Where the link of `path` in a snapshot leads.
std::string link_target(const ManifestFile& file) {
  std::string up = "../../";
  for (const char c : file.path) {
    if (c == '/') up += "../";
  }
  return up + "blobs/" + file.sha256;
}

Status check_snapshot_link(const StoreDirectory& snapshot, const ManifestFile& file) {
  const std::filesystem::path path = file.path;
  HEARTH_ASSIGN_OR_RETURN(StoreDirectory directory, snapshot.child("."));
  for (const std::filesystem::path& part : path.parent_path()) {
    HEARTH_ASSIGN_OR_RETURN(directory, directory.child(part.string()));
  }
  HEARTH_ASSIGN_OR_RETURN(const std::string target, directory.read_link(path.filename().string()));
  if (target == link_target(file)) return {};
  return Status(StatusCode::kDataLoss, "its link leads elsewhere");
}

// Writes the checksums of `file` where those of the blob `sha256` are kept.
Status write_sums(const std::filesystem::path& root, const std::filesystem::path& file,
                  const std::string& sha256) {
  HEARTH_ASSIGN_OR_RETURN(const MappedFile content, MappedFile::open(file));
  const std::string sums = ContentSums::describe(content.bytes());
  HEARTH_RETURN_IF_ERROR(content.intact());
  return write_file_atomically(root / kSumsDirectory / sha256, sums);
}

Status check_directory(const std::filesystem::path& root,
                       std::initializer_list<std::string> parts) {
  const auto directory = StoreDirectory::open_path(root, parts);
  return directory.has_value() ? Status() : directory.error();
}

}  // namespace

Result<StoreListing> ModelStore::list() const {
  StoreListing listing;
  const auto root = StoreDirectory::open_root(root_);
  if (!root.has_value() && root.error().code() == StatusCode::kNotFound) return listing;
  if (!root.has_value()) return std::unexpected(root.error());
  const auto models = root->child("models");
  for (const std::string& organization : names_below(models, listing)) {
    const auto folder = models->child(organization);
    for (const std::string& name : names_below(folder, listing)) {
      const auto directory = folder->child(name);
      if (directory.has_value()) {
        list_model(*directory, organization, name, listing);
      } else {
        listing.damaged.push_back(directory.error());
      }
    }
  }
  return listing;
}

Result<StoredModel> ModelStore::find(const ModelName& name) const {
  StoreListing listing;
  const auto directory =
      StoreDirectory::open_path(root_, {"models", directory_of(name), name.model});
  if (directory.has_value()) list_model(*directory, directory_of(name), name.model, listing);

  std::vector<StoredModel> fitting;
  for (StoredModel& model : listing.models) {
    const bool same_tag = name.tag.empty() || equal_ignoring_case(name.tag, model.name.tag);
    const bool same_revision = name.revision.empty() || name.revision == model.name.revision ||
                               name.revision == model.manifest.source.commit;
    if (same_tag && same_revision) fitting.push_back(std::move(model));
  }
  // What was not asked for is preferred absent: a model that is pinned to a revision only answers
  // to its full name once there is another.
  const auto prefer = [&](auto&& wanted) {
    if (std::ranges::count_if(fitting, wanted) == 1) std::erase_if(fitting, std::not_fn(wanted));
  };
  if (fitting.size() > 1) prefer([](const auto& model) { return model.name.revision.empty(); });
  if (fitting.size() > 1)
    prefer([](const auto& model) {
      return model.name.tag == kDefaultTag && model.name.revision.empty();
    });
  if (fitting.size() == 1) return std::move(fitting.front());
  if (!fitting.empty()) {
    std::vector<std::string> names;
    names.reserve(fitting.size());
    for (const StoredModel& model : fitting)
      names.push_back(model.name.text());
    return error(StatusCode::kInvalidArgument, "'{}' means several models, name one of them: {}",
                 name.text(), fmt::join(names, ", "));
  }
  if (!listing.damaged.empty()) return std::unexpected(listing.damaged.front());
  return error(StatusCode::kNotFound, "model '{}' is not in the registry '{}'", name.text(),
               root_.string());
}

bool ModelStore::has_blob(const std::string& sha256, std::uint64_t size_bytes) const {
  const auto file = open_blob(sha256);
  return file.has_value() && file->size_bytes == size_bytes;
}

Result<StoreDirectory::File> ModelStore::open_blob(const std::string& sha256) const {
  HEARTH_CHECK(is_sha256(sha256));
  HEARTH_ASSIGN_OR_RETURN(const auto blobs, StoreDirectory::open_path(root_, {"blobs"}));
  return blobs.open_file(sha256);
}

Result<std::filesystem::path> ModelStore::resolve(const StoredModel& model) const {
  const std::string id = model.manifest.content_id();
  const auto damaged = [&](const ManifestFile& file, const std::string& why) {
    return error(StatusCode::kDataLoss, "'{}' of model '{}' is damaged in the registry: {}",
                 file.path, model.name.text(), why);
  };
  const auto snapshot = StoreDirectory::open_path(root_, {"snapshots", id});
  for (const ManifestFile& file : model.manifest.files) {
    if (!snapshot.has_value()) return damaged(file, snapshot.error().message());
    const Status link = check_snapshot_link(*snapshot, file);
    if (!link.ok()) return damaged(file, link.message());
    const auto blob = open_blob(file.sha256);
    if (!blob.has_value()) return damaged(file, blob.error().message());
    if (blob->size_bytes != file.size_bytes) {
      return damaged(
          file, fmt::format("it has {} bytes instead of {}", blob->size_bytes, file.size_bytes));
    }
  }
  const std::filesystem::path directory = root_ / "snapshots" / id;
  const ManifestFile* gguf = model.manifest.gguf_file();
  return gguf == nullptr ? directory : directory / gguf->path;
}

Result<std::vector<CheckedFile>> ModelStore::verify(const StoredModel& model) const {
  std::vector<CheckedFile> checked;
  for (const ManifestFile& file : model.manifest.files) {
    CheckedFile result{.path = file.path, .sha256 = file.sha256, .status = {}};
    const auto blob = open_blob(file.sha256);
    if (!blob.has_value()) {
      result.status = blob.error();
    } else if (blob->size_bytes != file.size_bytes) {
      result.status = make_status(StatusCode::kDataLoss, "has {} bytes instead of {}",
                                  blob->size_bytes, file.size_bytes);
    } else {
      Digest digest;
      result.status = add_file_range(digest, blob->descriptor.get(), 0, file.size_bytes);
      const std::string found = digest.hex();
      if (result.status.ok() && found != file.sha256) {
        result.status = make_status(StatusCode::kDataLoss, "has the sha256 {} instead of {}", found,
                                    file.sha256);
      }
    }
    checked.push_back(std::move(result));
  }
  return checked;
}

Status ModelStore::remove(const StoredModel& model) const {
  const std::filesystem::path folder =
      root_ / "models" / directory_of(model.name) / model.name.model;
  if (::unlink((folder / manifest_file(model.name)).c_str()) != 0) {
    return write_error(errno).with_context(
        fmt::format("cannot remove model '{}'", model.name.text()));
  }
  return sync_directory(folder);
}

Result<bool> ModelStore::has_sums(const std::string& sha256) const {
  HEARTH_CHECK(is_sha256(sha256));
  HEARTH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(root_ / "blobs" / sha256));
  HEARTH_RETURN_IF_ERROR(file.check(file.bytes(), nullptr));
  return file.has_checksums();
}

Status ModelStore::remove_blob(const std::string& sha256) const {
  HEARTH_CHECK(is_sha256(sha256));
  if (::unlink((root_ / "blobs" / sha256).c_str()) != 0 && errno != ENOENT) {
    return write_error(errno).with_context(fmt::format("cannot remove blob {}", sha256));
  }
  ::unlink((root_ / kSumsDirectory / sha256).c_str());  // Else the next gc does.
  return {};
}

Result<StoreWriter> StoreWriter::open(const ModelStore& store, Failpoints& failpoints) {
  const std::filesystem::path& root = store.root();
  const auto refused = [&](const std::string& why) {
    return error(StatusCode::kUnavailable, "cannot write to the registry '{}': {}", root.string(),
                 why);
  };
  std::error_code failure;
  for (const char* name : kDirectories) {
    std::filesystem::create_directories(root / name, failure);
    if (failure) return refused(failure.message());
  }
  for (const char* name : kDirectories)
    HEARTH_RETURN_IF_ERROR(check_directory(root, {name}));  // None is a link.
  Descriptor lock(::open((root / "lock").c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!lock.valid()) return refused(system_error_text(errno));
  // Only waits for a collect(), which is short.
  while (::flock(lock.get(), LOCK_SH) != 0) {
    if (errno != EINTR) return refused(system_error_text(errno));
  }
  HEARTH_RETURN_IF_ERROR(sync_directory(root));
  return StoreWriter(store, failpoints, std::move(lock));
}

std::filesystem::path StoreWriter::partial_path(std::string_view key) const {
  return store_.root() / "partial" / key;
}

Status StoreWriter::renew_sums(const std::string& sha256) {
  HEARTH_CHECK(is_sha256(sha256));
  ::unlink((store_.root() / kSumsDirectory / sha256).c_str());  // Damaged ones keep all out.
  return write_sums(store_.root(), store_.root() / "blobs" / sha256, sha256);
}

Status StoreWriter::add_blob(const std::filesystem::path& file, const std::string& sha256) {
  HEARTH_CHECK(is_sha256(sha256));
  const auto failed = [&](const Status& status) {
    return status.with_context(fmt::format("cannot store '{}'", file.string()));
  };
  const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor.valid()) return failed(write_error(errno));
  HEARTH_RETURN_IF_ERROR(failed(failpoints_->hit("blob-sync")));
  if (::fchmod(descriptor.get(), 0444) != 0 || ::fsync(descriptor.get()) != 0) {
    return failed(write_error(errno));
  }
  HEARTH_RETURN_IF_ERROR(failed(failpoints_->hit("blob-sums")));
  HEARTH_RETURN_IF_ERROR(failed(write_sums(store_.root(), file, sha256)));
  HEARTH_RETURN_IF_ERROR(failed(failpoints_->hit("blob-rename")));
  const std::filesystem::path blobs = store_.root() / "blobs";
  if (::rename(file.c_str(), (blobs / sha256).c_str()) != 0) return failed(write_error(errno));
  HEARTH_RETURN_IF_ERROR(failed(failpoints_->hit("blob-directory")));
  return sync_directory(blobs);
}

Result<std::string> StoreWriter::write_copy(const std::filesystem::path& path, const ReadSome& read,
                                            std::uint64_t size_bytes) {
  constexpr std::uint64_t kPieceBytes = std::uint64_t{4} << 20;
  const Descriptor out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!out.valid()) return std::unexpected(write_error(errno));
  Digest digest;
  std::vector<char> buffer(static_cast<std::size_t>(std::min(kPieceBytes, size_bytes)));
  for (std::uint64_t left = size_bytes; left > 0;) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left));
    HEARTH_ASSIGN_OR_RETURN(const std::size_t count, read(std::span(buffer).first(wanted)));
    if (count == 0) {
      return error(StatusCode::kDataLoss, "ends {} bytes before its end", left);
    }
    const std::string_view piece(buffer.data(), count);
    digest.add(piece);
    HEARTH_RETURN_IF_ERROR(failpoints_->hit("partial-write"));
    HEARTH_RETURN_IF_ERROR(write_all(out.get(), piece));
    left -= count;
  }
  return digest.hex();
}

Result<std::string> StoreWriter::copy_blob(const ReadSome& read, std::uint64_t size_bytes,
                                           const std::string& expected) {
  const std::filesystem::path path = partial_path("copy-" + unique_name());
  Result<std::string> sha256 = write_copy(path, read, size_bytes);
  if (sha256.has_value() && !expected.empty() && *sha256 != expected) {
    sha256 = error(StatusCode::kDataLoss, "has the sha256 {} instead of {}", *sha256, expected);
  }
  if (sha256.has_value() && !store_.has_blob(*sha256, size_bytes)) {
    if (const Status added = add_blob(path, *sha256); !added.ok()) sha256 = std::unexpected(added);
  }
  ::unlink(path.c_str());  // Is only there when it did not become a blob.
  return sha256;
}

Status StoreWriter::make_snapshot(const Manifest& manifest) {
  const std::filesystem::path snapshots = store_.root() / "snapshots";
  const std::filesystem::path final_path = snapshots / manifest.content_id();
  const std::filesystem::path temporary = snapshots / (".new-" + unique_name());
  std::error_code failure;
  HEARTH_RETURN_IF_ERROR(failpoints_->hit("snapshot-links"));
  std::set<std::filesystem::path> folders = {temporary};
  for (const ManifestFile& file : manifest.files) {
    const std::filesystem::path link = temporary / file.path;
    std::filesystem::create_directories(link.parent_path(), failure);
    if (failure) return write_error(failure.value());
    for (auto folder = link.parent_path(); folder != temporary; folder = folder.parent_path())
      folders.insert(folder);
    if (::symlink(link_target(file).c_str(), link.c_str()) != 0) return write_error(errno);
  }
  for (const std::filesystem::path& folder : folders)
    HEARTH_RETURN_IF_ERROR(sync_directory(folder));
  HEARTH_RETURN_IF_ERROR(failpoints_->hit("snapshot-rename"));
  std::filesystem::rename(temporary, final_path, failure);
  if (failure) {
    // Equal content was there already, perhaps damaged: it gives way, links are quickly made.
    std::filesystem::remove_all(final_path, failure);
    std::filesystem::rename(temporary, final_path, failure);
    if (failure) return write_error(failure.value());
  }
  return sync_directory(snapshots);
}

Status StoreWriter::commit(ModelName name, const Manifest& manifest) {
  if (name.tag.empty()) name.tag = kDefaultTag;
  const std::string context = fmt::format("cannot list model '{}'", name.text());
  const StoredModel model{.name = name, .manifest = manifest};
  if (!store_.resolve(model).has_value()) {
    HEARTH_RETURN_IF_ERROR(make_snapshot(manifest).with_context(context));
    if (const auto path = store_.resolve(model); !path.has_value()) {
      return path.error().with_context(context);
    }
  }
  HEARTH_RETURN_IF_ERROR(failpoints_->hit("manifest-write").with_context(context));
  const std::filesystem::path models = store_.root() / "models";
  const std::filesystem::path organization = models / directory_of(name);
  const std::filesystem::path folder = organization / name.model;
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) return write_error(failure.value()).with_context(context);
  HEARTH_RETURN_IF_ERROR(
      check_directory(models, {directory_of(name), name.model}).with_context(context));
  HEARTH_RETURN_IF_ERROR(sync_directory(models));
  HEARTH_RETURN_IF_ERROR(sync_directory(organization));
  HEARTH_RETURN_IF_ERROR(
      write_file_atomically(folder / manifest_file(name),
                            json::dump(manifest_json(manifest), {.indent = 1}) + "\n")
          .with_context(context));
  return failpoints_->hit("manifest-done").with_context(context);
}

}  // namespace hearth::hub
