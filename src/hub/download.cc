#include "hub/download.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

namespace hearth::hub {
namespace {

constexpr std::size_t kMaxRestarts = 3;
constexpr std::uint64_t kSpareBytes = std::uint64_t{1} << 20;  // For manifests and directories.

// What identifies the content, as a file's name. Without a checksum: where it comes from.
std::string key_of(const DownloadFile& source) {
  if (!source.file.sha256.empty()) return source.file.sha256;
  if (!source.file.git_sha1.empty()) return "git-" + source.file.git_sha1;
  return "url-" + sha256_of(source.url);
}

}  // namespace

Status Download::open(std::vector<DownloadFile> files) {
  files_.reserve(files.size());
  for (DownloadFile& source : files) {
    std::string key = key_of(source);
    files_.push_back({.source = std::move(source),
                      .key = std::move(key),
                      .sha256 = {},
                      .partial = std::nullopt});
  }
  // In one order everywhere, so that two pulls never wait for each other.
  std::vector<File*> by_key;
  by_key.reserve(files_.size());
  for (File& file : files_)
    by_key.push_back(&file);
  std::ranges::sort(by_key, {}, &File::key);
  for (std::size_t i = 0; i < by_key.size(); ++i) {
    // Equal content is fetched once; the other name finds the blob when it is stored.
    if (i > 0 && by_key[i]->key == by_key[i - 1]->key) continue;
    HEARTH_RETURN_IF_ERROR(open_file(*by_key[i]));
  }
  return check_room();
}

Status Download::open_file(File& file) {
  const RemoteFile& remote = file.source.file;
  const auto is_there = [&] {
    return !remote.sha256.empty() && writer_.store().has_blob(remote.sha256, remote.size_bytes);
  };
  if (!is_there()) {
    HEARTH_ASSIGN_OR_RETURN(PartialFile partial,
                            PartialFile::open({.path = writer_.partial_path(file.key),
                                               .size_bytes = remote.size_bytes,
                                               .part_bytes = options_.part_bytes},
                                              observer_, writer_.failpoints()));
    // Whoever held the lock may have finished it.
    if (!is_there()) {
      file.bytes_done = partial.bytes_done();
      file.partial = std::move(partial);
      return {};
    }
    partial.discard();
  }
  // Who made it a blob may have died before clearing up.
  const std::filesystem::path path = writer_.partial_path(file.key);
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) PartialFile::forget_journal(path);
  file.sha256 = remote.sha256;
  file.bytes_done = remote.size_bytes;
  return {};
}

Status Download::check_room() const {
  std::uint64_t missing = 0;
  for (const File& file : files_) {
    if (file.partial) missing += file.source.file.size_bytes - file.bytes_done;
  }
  if (missing == 0) return {};
  struct statvfs info = {};
  if (::statvfs(writer_.store().root().c_str(), &info) != 0) return {};  // Writing will tell.
  const std::uint64_t room = std::uint64_t{info.f_bavail} * info.f_frsize;
  if (missing + kSpareBytes <= room) return {};
  return make_status(StatusCode::kResourceExhausted,
                     "the download needs {} more bytes, but '{}' has only {} bytes free", missing,
                     writer_.store().root().string(), room);
}

Result<std::vector<ManifestFile>> Download::run(HubClient& client) {
  do {
    restarting_ = false;
    parts_.clear();
    for (File& file : files_) {
      if (file.partial) file.bytes_done = file.partial->bytes_done();
    }
    const Status status = client.run(*this);
    if (!status.ok() && !restarting_) return std::unexpected(status);
  } while (restarting_);

  std::map<std::string, std::string> stored;  // Key to sha256.
  for (File& file : files_) {
    if (file.partial) HEARTH_RETURN_IF_ERROR(store(file));
    if (!file.sha256.empty()) stored[file.key] = file.sha256;
  }
  std::vector<ManifestFile> list;
  list.reserve(files_.size());
  for (const File& file : files_) {
    list.push_back({.path = file.source.file.path,
                    .size_bytes = file.source.file.size_bytes,
                    .sha256 = stored.at(file.key)});
  }
  std::ranges::sort(list, {}, &ManifestFile::path);
  return list;
}

std::optional<Fetch> Download::next() {
  for (std::size_t file_idx = 0; file_idx < files_.size(); ++file_idx) {
    const File& file = files_[file_idx];
    if (!file.partial) continue;
    for (std::size_t part_idx = 0; part_idx < file.partial->num_parts(); ++part_idx) {
      const bool under_way = std::ranges::any_of(parts_, [&](const auto& entry) {
        return entry.second.file_idx == file_idx && entry.second.part_idx == part_idx;
      });
      if (under_way || file.partial->has_part(part_idx)) continue;
      const std::size_t id = next_id_++;
      parts_[id] = {.file_idx = file_idx, .part_idx = part_idx, .received = 0, .digest = Digest()};
      Fetch fetch{.id = id, .url = file.source.url};
      const ByteRange range = file.partial->part(part_idx);
      if (file.in_parts && range.size() > 0) fetch.range = range;
      return fetch;
    }
  }
  return std::nullopt;
}

Status Download::check_head(const File& file, const HttpHead& head) const {
  const RemoteFile& remote = file.source.file;
  const std::string linked = strong_etag(head.find("x-linked-etag"));
  if (is_sha256(linked) && !remote.sha256.empty() && linked != remote.sha256) {
    return make_status(StatusCode::kDataLoss,
                       "'{}' changed on the hub: its sha256 is {} and was listed as {}",
                       remote.path, linked, remote.sha256);
  }
  const std::string* size = head.find("x-linked-size");
  if (size != nullptr && parse_count(*size) != remote.size_bytes) {
    return make_status(StatusCode::kDataLoss, "'{}' has {} bytes and was listed with {}",
                       remote.path, *size, remote.size_bytes);
  }
  const std::string* commit = head.find("x-repo-commit");
  if (commit != nullptr && !file.source.commit.empty() && *commit != file.source.commit) {
    return make_status(StatusCode::kDataLoss, "'{}' comes from commit {} instead of {}",
                       remote.path, *commit, file.source.commit);
  }
  return {};
}

Status Download::start_anew(File& file, std::string_view why, bool in_parts) {
  const std::string& path = file.source.file.path;
  if (++num_restarts_ > kMaxRestarts) {
    return make_status(StatusCode::kUnavailable, "'{}' {}, again and again", path, why);
  }
  observer_.on_note(fmt::format("'{}' {}; starting it anew", path, why));
  HEARTH_RETURN_IF_ERROR(file.partial->restart(in_parts));
  file.in_parts = in_parts;
  file.bytes_done = 0;
  restarting_ = true;
  return Status(StatusCode::kCancelled, "starting anew");
}

Status Download::check_etag(File& file, const HttpHead& head) {
  const std::string etag = strong_etag(head.find("etag"));
  if (etag.empty() || etag == file.partial->etag()) return {};
  if (!file.partial->etag().empty()) {
    return start_anew(file, "changed on the server between its parts", file.in_parts);
  }
  return file.partial->set_etag(etag);
}

Status Download::check_range(File& file, const Part& part, const HttpHead& head) {
  const RemoteFile& remote = file.source.file;
  const ByteRange range = file.partial->part(part.part_idx);
  if (head.status == 206) {
    const std::string* text = head.find("content-range");
    const auto given = text == nullptr ? std::nullopt : parse_content_range(*text);
    if (!given || given->range.begin != range.begin + part.received ||
        given->range.end > range.end) {
      return make_status(StatusCode::kDataLoss, "the server sends the wrong part of '{}'",
                         remote.path);
    }
    if (given->total_bytes == remote.size_bytes) return {};
    return make_status(StatusCode::kDataLoss, "'{}' has {} bytes on the server instead of {}",
                       remote.path, given->total_bytes, remote.size_bytes);
  }
  const bool is_whole = file.partial->num_parts() == 1;
  if (!is_whole || part.received > 0)
    return start_anew(file, "comes from a server without ranges", false);
  const std::string* length = head.find("content-length");
  if (length == nullptr || parse_count(*length) == remote.size_bytes) return {};
  return make_status(StatusCode::kDataLoss, "'{}' has {} bytes on the server instead of {}",
                     remote.path, *length, remote.size_bytes);
}

Status Download::on_head(std::size_t id, const HttpHead& head, std::uint64_t received) {
  Part& part = parts_.at(id);
  File& file = files_[part.file_idx];
  if (received == 0) {  // Without ranges, a further attempt begins at the beginning.
    file.bytes_done -= part.received;
    part.received = 0;
    part.digest = Digest();
  }
  HEARTH_RETURN_IF_ERROR(check_head(file, head));
  HEARTH_RETURN_IF_ERROR(check_range(file, part, head));
  return check_etag(file, head);
}

Status Download::on_data(std::size_t id, std::string_view data) {
  Part& part = parts_.at(id);
  File& file = files_[part.file_idx];
  const ByteRange range = file.partial->part(part.part_idx);
  if (data.size() > range.size() - part.received) {
    return make_status(StatusCode::kDataLoss, "the server sends more than the {} bytes of '{}'",
                       file.source.file.size_bytes, file.source.file.path);
  }
  HEARTH_RETURN_IF_ERROR(file.partial->write(range.begin + part.received, data));
  part.digest.add(data);
  part.received += data.size();
  file.bytes_done += data.size();
  new_bytes_ += data.size();
  tell(file, false);
  return {};
}

Status Download::on_done(std::size_t id) {
  Part part = std::move(parts_.at(id));
  parts_.erase(id);
  File& file = files_[part.file_idx];
  const ByteRange range = file.partial->part(part.part_idx);
  if (part.received != range.size()) {
    return make_status(StatusCode::kDataLoss, "'{}' ends after {} of {} bytes",
                       file.source.file.path, part.received, range.size());
  }
  return file.partial->finish_part(part.part_idx, part.digest.hex());
}

Status Download::on_tick() {
  return observer_.cancelled() ? Status(StatusCode::kCancelled, "interrupted") : Status();
}

Status Download::check_sum(const File& file, const std::string& sha256) const {
  const RemoteFile& remote = file.source.file;
  std::string_view kind = "sha256";
  std::string_view expected = remote.sha256;
  std::string found = sha256;
  if (remote.sha256.empty() && !remote.git_sha1.empty()) {
    kind = "git checksum";
    expected = remote.git_sha1;
    HEARTH_ASSIGN_OR_RETURN(found, file.partial->git_sha1());
  }
  if (expected.empty() || found == expected) return {};
  return make_status(StatusCode::kDataLoss,
                     "'{}' arrived with the {} {} instead of {}; it was thrown away", remote.path,
                     kind, found, expected);
}

Status Download::store(File& file) {
  HEARTH_CHECK(file.partial->complete());
  HEARTH_RETURN_IF_ERROR(on_tick());
  HEARTH_RETURN_IF_ERROR(writer_.failpoints().hit("blob-verify"));
  const std::string& path = file.source.file.path;
  const auto sha256 = file.partial->sha256();
  if (!sha256.has_value()) return sha256.error().with_context(fmt::format("'{}'", path));
  if (Status checked = check_sum(file, *sha256); !checked.ok()) {
    file.partial->discard();
    return checked;
  }
  file.sha256 = *sha256;
  HEARTH_RETURN_IF_ERROR(writer_.add_blob(file.partial->path(), file.sha256));
  file.partial->forget_journal();
  tell(file, true);
  file.partial.reset();
  return {};
}

void Download::tell(const File& file, bool file_done) {
  PullProgress progress{.path = file.source.file.path,
                        .file_bytes = file.bytes_done,
                        .file_size_bytes = file.source.file.size_bytes,
                        .new_bytes = new_bytes_,
                        .file_done = file_done};
  for (const File& other : files_) {
    if (!other.partial && other.sha256.empty()) continue;  // A second name of equal content.
    progress.bytes += other.bytes_done;
    progress.size_bytes += other.source.file.size_bytes;
  }
  observer_.on_progress(progress);
}

}  // namespace hearth::hub
