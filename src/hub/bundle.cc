#include "hub/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <set>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "hub/digest.h"
#include "hub/selection.h"

namespace hearth::hub {
namespace {

constexpr std::string_view kHeadPrefix = "hearth-bundle-";
constexpr std::string_view kHeadSuffix = ".json";
constexpr std::string_view kBlobPrefix = "blobs/";
constexpr std::uint64_t kMaxHeadBytes = std::uint64_t{16} << 20;

struct FreeReader {
  void operator()(archive* handle) const { archive_read_free(handle); }
};
struct FreeWriter {
  void operator()(archive* handle) const { archive_write_free(handle); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

Status archive_failure(archive* handle) {
  const int number = archive_errno(handle);
  if (number == ENOSPC || number == EDQUOT) return write_error(number);
  const char* text = archive_error_string(handle);
  return make_status(StatusCode::kDataLoss, "{}", text == nullptr ? "not a tar archive" : text);
}

struct OpenedFile {
  Descriptor descriptor;
  std::uint64_t size_bytes = 0;
};

// The user's own file, which may be a link.
Result<OpenedFile> open_source(const std::filesystem::path& path) {
  OpenedFile file{Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), 0};
  struct stat info = {};
  if (!file.descriptor.valid() || ::fstat(file.descriptor.get(), &info) != 0) {
    return error(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kUnavailable,
                 "cannot read '{}': {}", path.string(), system_error_text(errno));
  }
  if (!S_ISREG(info.st_mode)) {
    return error(StatusCode::kInvalidArgument, "'{}' is not a regular file", path.string());
  }
  file.size_bytes = static_cast<std::uint64_t>(info.st_size);
  return file;
}

Result<std::size_t> read_some(int fd, std::span<char> buffer) {
  while (true) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EINTR) continue;
    return error(StatusCode::kDataLoss, "cannot be read: {}", system_error_text(errno));
  }
}

enum class SourceKind { kGguf, kBundle };

Result<SourceKind> kind_of(const std::filesystem::path& path) {
  constexpr std::size_t kTarMagicAt = 257;
  HEARTH_ASSIGN_OR_RETURN(const OpenedFile file, open_source(path));
  std::array<char, 512> start{};
  const ssize_t count = ::pread(file.descriptor.get(), start.data(), start.size(), 0);
  const std::string_view text(start.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  if (text.starts_with("GGUF")) return SourceKind::kGguf;
  if (text.size() == start.size() && text.substr(kTarMagicAt).starts_with("ustar")) {
    return SourceKind::kBundle;
  }
  return error(StatusCode::kInvalidArgument,
               "'{}' is neither a GGUF file nor a bundle written by hearth export", path.string());
}

// The regular files in a directory, links included.
Result<std::vector<RemoteFile>> files_in(const std::filesystem::path& directory) {
  std::vector<RemoteFile> files;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    std::error_code unreadable;
    if (!is_safe_path(name) || !entry->is_regular_file(unreadable)) continue;
    const std::uint64_t size = entry->file_size(unreadable);
    if (!unreadable) {
      files.push_back({.path = name, .size_bytes = size, .sha256 = {}, .git_sha1 = {}});
    }
  }
  if (failure) {
    return error(StatusCode::kUnavailable, "cannot read directory '{}': {}", directory.string(),
                 failure.message());
  }
  return files;
}

// The file itself, or with it the other parts that its name speaks of.
Result<std::vector<RemoteFile>> gguf_files(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  HEARTH_ASSIGN_OR_RETURN(const auto all, files_in(path.parent_path()));
  std::vector<RemoteFile> parts;
  for (const RemoteFile& file : all) {
    if (file.path == name || is_same_split(file.path, name)) parts.push_back(file);
  }
  return parts;
}

Result<ModelName> name_for(const std::filesystem::path& source, const ModelName& wanted,
                           const Selection& selection) {
  ModelName name = wanted;
  if (name.model.empty()) {
    const std::string label = std::filesystem::is_directory(source)
                                  ? source.filename().string()
                                  : model_label_of(source.filename().string());
    const auto parsed = ModelName::parse(suggested_part(label));
    if (!parsed.has_value()) {
      return error(StatusCode::kInvalidArgument,
                   "'{}' makes no name of a model; give one by --name", source.string());
    }
    name = *parsed;
  }
  if (name.tag.empty()) name.tag = selection.tag;
  return name;
}

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             system_clock().wall_now().time_since_epoch())
      .count();
}

Result<StoredModel> import_files(StoreWriter& writer, const std::filesystem::path& source,
                                 const ModelName& wanted) {
  const bool is_directory = std::filesystem::is_directory(source);
  const std::filesystem::path directory = is_directory ? source : source.parent_path();
  HEARTH_ASSIGN_OR_RETURN(const auto files, is_directory ? files_in(source) : gguf_files(source));
  HEARTH_ASSIGN_OR_RETURN(const Selection selection,
                          select_files(files, is_directory ? wanted.tag : "", source.string()));
  StoredModel model;
  HEARTH_ASSIGN_OR_RETURN(model.name, name_for(source, wanted, selection));
  for (const RemoteFile& file : selection.files) {
    const std::filesystem::path path = directory / file.path;
    HEARTH_ASSIGN_OR_RETURN(const OpenedFile opened, open_source(path));
    const int fd = opened.descriptor.get();
    const auto sha256 = writer.copy_blob(
        [fd](std::span<char> buffer) { return read_some(fd, buffer); }, opened.size_bytes);
    if (!sha256.has_value()) {
      return std::unexpected(sha256.error().with_context(fmt::format("'{}'", path.string())));
    }
    model.manifest.files.push_back(
        {.path = file.path, .size_bytes = opened.size_bytes, .sha256 = *sha256});
  }
  model.manifest.source.origin = source.string();
  model.manifest.created_s = now_s();
  HEARTH_RETURN_IF_ERROR(writer.commit(model.name, model.manifest));
  return model;
}

class BundleReader {
 public:
  static Result<BundleReader> open(const std::filesystem::path& path) {
    BundleReader reader;
    archive_read_support_format_tar(reader.handle_.get());
    if (archive_read_open_filename(reader.handle_.get(), path.c_str(), 1 << 20) != ARCHIVE_OK) {
      return std::unexpected(archive_failure(reader.handle_.get()));
    }
    return reader;
  }

  struct Entry {
    std::string path;  // Empty behind the last one.
    std::uint64_t size_bytes = 0;
  };
  Result<Entry> next() {
    archive_entry* entry = nullptr;
    const int outcome = archive_read_next_header(handle_.get(), &entry);
    if (outcome == ARCHIVE_EOF) return Entry{};
    if (outcome != ARCHIVE_OK) return std::unexpected(archive_failure(handle_.get()));
    const char* path = archive_entry_pathname(entry);
    if (path == nullptr || archive_entry_filetype(entry) != AE_IFREG ||
        archive_entry_size(entry) < 0) {
      return error(StatusCode::kDataLoss, "holds something else than plain files");
    }
    return Entry{.path = path, .size_bytes = static_cast<std::uint64_t>(archive_entry_size(entry))};
  }

  Result<std::size_t> read(std::span<char> buffer) {
    const la_ssize_t count = archive_read_data(handle_.get(), buffer.data(), buffer.size());
    if (count < 0) return std::unexpected(archive_failure(handle_.get()));
    return static_cast<std::size_t>(count);
  }

 private:
  std::unique_ptr<archive, FreeReader> handle_{archive_read_new()};
};

json::Value head_json(const StoredModel& model) {
  return json::Object{{"name", model.name.text()}, {"manifest", manifest_json(model.manifest)}};
}

Result<StoredModel> read_head(BundleReader& reader) {
  HEARTH_ASSIGN_OR_RETURN(const auto entry, reader.next());
  std::string_view digest = entry.path;
  if (!digest.starts_with(kHeadPrefix) || !digest.ends_with(kHeadSuffix) ||
      entry.size_bytes > kMaxHeadBytes) {
    return error(StatusCode::kDataLoss, "is no bundle written by hearth export");
  }
  digest.remove_prefix(kHeadPrefix.size());
  digest.remove_suffix(kHeadSuffix.size());
  std::string text(static_cast<std::size_t>(entry.size_bytes), '\0');
  for (std::size_t done = 0; done < text.size();) {
    HEARTH_ASSIGN_OR_RETURN(const std::size_t count, reader.read(std::span(text).subspan(done)));
    if (count == 0) return error(StatusCode::kDataLoss, "ends within its list of files");
    done += count;
  }
  if (sha256_of(text) != digest) {
    return error(StatusCode::kDataLoss, "its list of files does not have the sha256 {}", digest);
  }
  HEARTH_ASSIGN_OR_RETURN(const json::Value value, json::parse(text));
  const json::Object* object = value.as_object();
  const json::Value* name = object == nullptr ? nullptr : object->find("name");
  const json::Value* manifest = object == nullptr ? nullptr : object->find("manifest");
  if (name == nullptr || name->as_string() == nullptr || manifest == nullptr) {
    return error(StatusCode::kDataLoss, "its list of files is malformed");
  }
  StoredModel model;
  HEARTH_ASSIGN_OR_RETURN(model.name, ModelName::parse(*name->as_string()));
  HEARTH_ASSIGN_OR_RETURN(model.manifest, parse_manifest(json::dump(*manifest)));
  return model;
}

Result<StoredModel> read_bundle(StoreWriter& writer, const std::filesystem::path& source,
                                const ModelName& wanted) {
  HEARTH_ASSIGN_OR_RETURN(BundleReader reader, BundleReader::open(source));
  HEARTH_ASSIGN_OR_RETURN(StoredModel model, read_head(reader));
  std::set<std::string> missing;
  for (const ManifestFile& file : model.manifest.files)
    missing.insert(file.sha256);
  while (!missing.empty()) {
    HEARTH_ASSIGN_OR_RETURN(const auto entry, reader.next());
    if (entry.path.empty()) {
      return error(StatusCode::kDataLoss, "ends without the content {}", *missing.begin());
    }
    const std::string sha256 =
        entry.path.starts_with(kBlobPrefix) ? entry.path.substr(kBlobPrefix.size()) : "";
    if (!missing.contains(sha256)) {
      return error(StatusCode::kDataLoss, "holds '{}', which its list of files does not",
                   entry.path);
    }
    const auto copied = writer.copy_blob(
        [&](std::span<char> buffer) { return reader.read(buffer); }, entry.size_bytes, sha256);
    if (!copied.has_value()) return std::unexpected(copied.error().with_context(entry.path));
    missing.erase(sha256);
  }
  if (!wanted.model.empty()) {
    const std::string tag = model.name.tag;
    model.name = wanted;
    if (model.name.tag.empty()) model.name.tag = tag;
  }
  HEARTH_RETURN_IF_ERROR(writer.commit(model.name, model.manifest));
  return model;
}

class BundleWriter {
 public:
  explicit BundleWriter(int fd) {
    archive_write_set_format_pax_restricted(handle_.get());
    archive_write_open_fd(handle_.get(), fd);
  }

  Status begin(const std::string& path, std::uint64_t size_bytes) {
    const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), path.c_str());
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size_bytes));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);  // Equal models make equal bundles.
    return checked(archive_write_header(handle_.get(), entry.get()));
  }
  Status write(std::string_view data) {
    const la_ssize_t count = archive_write_data(handle_.get(), data.data(), data.size());
    return checked(count == static_cast<la_ssize_t>(data.size()) ? ARCHIVE_OK : ARCHIVE_FATAL);
  }
  Status close() { return checked(archive_write_close(handle_.get())); }

 private:
  Status checked(int outcome) const {
    return outcome == ARCHIVE_OK ? Status() : archive_failure(handle_.get());
  }

  std::unique_ptr<archive, FreeWriter> handle_{archive_write_new()};
};

Status write_blob(BundleWriter& bundle, const ModelStore& store, const ManifestFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const auto blob, store.open_blob(file.sha256));
  HEARTH_RETURN_IF_ERROR(bundle.begin(std::string(kBlobPrefix) + file.sha256, file.size_bytes));
  std::vector<char> buffer(std::size_t{1} << 20);
  Digest digest;
  for (std::uint64_t left = file.size_bytes; left > 0;) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left));
    HEARTH_ASSIGN_OR_RETURN(const std::size_t count,
                            read_some(blob.descriptor.get(), std::span(buffer).first(wanted)));
    if (count == 0) return make_status(StatusCode::kDataLoss, "'{}' is too short", file.path);
    const std::string_view piece(buffer.data(), count);
    digest.add(piece);
    HEARTH_RETURN_IF_ERROR(bundle.write(piece));
    left -= count;
  }
  if (digest.hex() == file.sha256) return {};
  return make_status(StatusCode::kDataLoss, "'{}' is damaged in the registry", file.path);
}

Status write_bundle(int fd, const ModelStore& store, const StoredModel& model) {
  BundleWriter bundle(fd);
  const std::string head = json::dump(head_json(model), {.indent = 1}) + "\n";
  HEARTH_RETURN_IF_ERROR(
      bundle.begin(fmt::format("{}{}{}", kHeadPrefix, sha256_of(head), kHeadSuffix), head.size()));
  HEARTH_RETURN_IF_ERROR(bundle.write(head));
  std::set<std::string> written;
  for (const ManifestFile& file : model.manifest.files) {
    if (written.insert(file.sha256).second) {
      HEARTH_RETURN_IF_ERROR(write_blob(bundle, store, file));
    }
  }
  HEARTH_RETURN_IF_ERROR(bundle.close());
  return ::fsync(fd) == 0 ? Status() : write_error(errno);
}

}  // namespace

Result<StoredModel> import_model(StoreWriter& writer, const std::filesystem::path& source,
                                 const ModelName& name) {
  std::error_code failure;
  const std::filesystem::path path = std::filesystem::absolute(source, failure).lexically_normal();
  if (std::filesystem::is_directory(path, failure)) {
    return import_files(writer, path.has_filename() ? path : path.parent_path(), name);
  }
  HEARTH_ASSIGN_OR_RETURN(const SourceKind kind, kind_of(path));
  if (kind == SourceKind::kGguf) return import_files(writer, path, name);
  Result<StoredModel> model = read_bundle(writer, path, name);
  if (model.has_value()) return model;
  return std::unexpected(
      model.error().with_context(fmt::format("cannot import '{}'", source.string())));
}

Status export_bundle(const ModelStore& store, const StoredModel& model,
                     const std::filesystem::path& target) {
  const std::string context = fmt::format("cannot write '{}'", target.string());
  std::filesystem::path temporary = target;
  temporary += fmt::format(".{}.tmp", ::getpid());
  const Descriptor file(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file.valid()) return write_error(errno).with_context(context);
  Status status = write_bundle(file.get(), store, model);
  if (status.ok() && ::rename(temporary.c_str(), target.c_str()) != 0) status = write_error(errno);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status.with_context(context);
  }
  const std::filesystem::path folder = target.parent_path();
  return sync_directory(folder.empty() ? "." : folder);
}

}  // namespace hearth::hub
