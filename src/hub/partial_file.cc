#include "hub/partial_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"
#include "hub/digest.h"

namespace hearth::hub {
namespace {

constexpr int kLockPollMs = 100;
constexpr std::uint64_t kMaxParts = 10'000;
constexpr std::uint64_t kMaxJournalBytes = std::uint64_t{64} << 20;

std::string journal_head(const PartialFileOptions& options) {
  return fmt::format("hearth-parts 1 {} {}\n", options.size_bytes, options.part_bytes);
}

// The next whole line of `text`, which is shortened; false when there is none.
bool take_line(std::string_view& text, std::string_view& line) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return false;
  line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return true;
}

Status in_file(const std::filesystem::path& path, const Status& status) {
  return status.with_context(fmt::format("cannot write '{}'", path.string()));
}

}  // namespace

Result<PartialFile> PartialFile::open(PartialFileOptions options, PullObserver& observer,
                                      Failpoints& failpoints) {
  HEARTH_CHECK(options.part_bytes > 0);
  options.part_bytes = std::max(options.part_bytes, options.size_bytes / kMaxParts + 1);
  PartialFile file(std::move(options), failpoints);
  const std::filesystem::path& path = file.options_.path;
  HEARTH_RETURN_IF_ERROR(in_file(path, failpoints.hit("partial-create")));
  HEARTH_RETURN_IF_ERROR(file.lock(observer));
  const std::uint64_t num_parts =
      (file.options_.size_bytes + file.options_.part_bytes - 1) / file.options_.part_bytes;
  file.part_sha256_.resize(std::max<std::size_t>(1, static_cast<std::size_t>(num_parts)));
  HEARTH_RETURN_IF_ERROR(file.read_journal(observer));
  return file;
}

Status PartialFile::lock(PullObserver& observer) {
  const std::filesystem::path& path = options_.path;
  bool told = false;
  while (true) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file.valid()) return in_file(path, write_error(errno));
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      // Who held it may have made it a blob: then the lock is on a file of another name.
      struct stat mine = {};
      struct stat named = {};
      if (::fstat(file.get(), &mine) == 0 && ::lstat(path.c_str(), &named) == 0 &&
          mine.st_ino == named.st_ino && mine.st_dev == named.st_dev) {
        file_ = std::move(file);
        return {};
      }
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return in_file(path, write_error(errno));
    if (!std::exchange(told, true)) {
      observer.on_note("another process downloads the same file; waiting for it");
    }
    if (observer.cancelled()) return Status(StatusCode::kCancelled, "interrupted");
    ::poll(nullptr, 0, kLockPollMs);
  }
}

Status PartialFile::read_journal(PullObserver& observer) {
  const auto text = read_text_file(journal_path(), kMaxJournalBytes);
  std::string_view rest = text.has_value() ? std::string_view(*text) : std::string_view();
  const std::string head = journal_head(options_);
  if (!rest.starts_with(head)) return begin_journal();
  rest.remove_prefix(head.size());
  std::string_view line;
  while (take_line(rest, line)) {
    if (line.starts_with("etag ")) {
      etag_ = line.substr(5);
      continue;
    }
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    const auto idx = parse_count(line.substr(0, blank));
    const std::string_view sha256 = line.substr(blank + 1);
    if (idx && *idx < part_sha256_.size() && is_sha256(sha256)) {
      part_sha256_[static_cast<std::size_t>(*idx)] = sha256;
    }
  }
  for (std::size_t idx = 0; idx < part_sha256_.size(); ++idx) {
    if (!has_part(idx)) continue;
    if (observer.cancelled()) return Status(StatusCode::kCancelled, "interrupted");
    Digest digest;
    const ByteRange range = part(idx);
    const Status read = add_file_range(digest, file_.get(), range.begin, range.end);
    if (!read.ok() || digest.hex() != part_sha256_[idx]) part_sha256_[idx].clear();
  }
  journal_ =
      Descriptor(::open(journal_path().c_str(), O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC));
  if (!journal_.valid()) return in_file(journal_path(), write_error(errno));
  // What a crash cut off must not run into the next line.
  return rest.empty() ? Status() : append("\n");
}

Status PartialFile::begin_journal() {
  etag_.clear();
  std::ranges::fill(part_sha256_, std::string());
  journal_ =
      Descriptor(::open(journal_path().c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!journal_.valid()) return in_file(journal_path(), write_error(errno));
  HEARTH_RETURN_IF_ERROR(append(journal_head(options_)));
  return sync_directory(options_.path.parent_path());
}

Status PartialFile::append(std::string_view line) {
  HEARTH_RETURN_IF_ERROR(in_file(journal_path(), write_all(journal_.get(), line)));
  if (::fdatasync(journal_.get()) == 0) return {};
  return in_file(journal_path(), write_error(errno));
}

ByteRange PartialFile::part(std::size_t idx) const {
  const std::uint64_t begin = idx * options_.part_bytes;
  return {.begin = begin, .end = std::min(options_.size_bytes, begin + options_.part_bytes)};
}

bool PartialFile::complete() const {
  return std::ranges::none_of(part_sha256_, &std::string::empty);
}

std::uint64_t PartialFile::bytes_done() const {
  std::uint64_t sum = 0;
  for (std::size_t idx = 0; idx < num_parts(); ++idx) {
    if (has_part(idx)) sum += part(idx).size();
  }
  return sum;
}

Status PartialFile::write(std::uint64_t offset, std::string_view data) {
  HEARTH_RETURN_IF_ERROR(in_file(options_.path, failpoints_->hit("partial-write")));
  while (!data.empty()) {
    const ssize_t count =
        ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return in_file(options_.path, write_error(errno));
    data.remove_prefix(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status PartialFile::set_etag(std::string_view etag) {
  if (etag.find_first_of("\r\n") != std::string_view::npos) return {};
  etag_ = etag;
  return append(fmt::format("etag {}\n", etag));
}

Status PartialFile::finish_part(std::size_t idx, const std::string& sha256) {
  HEARTH_RETURN_IF_ERROR(in_file(options_.path, failpoints_->hit("part-sync")));
  if (::fdatasync(file_.get()) != 0) return in_file(options_.path, write_error(errno));
  HEARTH_RETURN_IF_ERROR(in_file(journal_path(), failpoints_->hit("part-journal")));
  HEARTH_RETURN_IF_ERROR(append(fmt::format("{} {}\n", idx, sha256)));
  part_sha256_[idx] = sha256;
  return {};
}

Status PartialFile::restart(bool in_parts) {
  if (!in_parts) {
    options_.part_bytes = std::max<std::uint64_t>(1, options_.size_bytes);
    part_sha256_.resize(1);
  }
  return begin_journal();
}

Result<std::string> PartialFile::sha256() const {
  if (num_parts() == 1) return part_sha256_.front();
  Digest digest;
  HEARTH_RETURN_IF_ERROR(add_file_range(digest, file_.get(), 0, options_.size_bytes));
  return digest.hex();
}

Result<std::string> PartialFile::git_sha1() const {
  Digest digest(DigestKind::kSha1);
  digest.add(fmt::format("blob {}", options_.size_bytes));
  digest.add(std::string_view("\0", 1));
  HEARTH_RETURN_IF_ERROR(add_file_range(digest, file_.get(), 0, options_.size_bytes));
  return digest.hex();
}

void PartialFile::forget_journal(const std::filesystem::path& path) {
  ::unlink(journal_of(path).c_str());
}

void PartialFile::discard() const {
  forget_journal();
  ::unlink(options_.path.c_str());
}

}  // namespace hearth::hub
