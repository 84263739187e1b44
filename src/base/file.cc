#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <random>
#include <system_error>
#include <utility>

namespace hearth {

namespace {

Status read_error(const std::filesystem::path& path, int error_number) {
  const bool missing = error_number == ENOENT || error_number == ENOTDIR;
  return make_status(missing ? StatusCode::kNotFound : StatusCode::kDataLoss,
                     "cannot read '{}': {}", path.string(), system_error_text(error_number));
}

Status damaged(const std::string& name, const Status& why) {
  return why.with_context(fmt::format("the file '{}' is damaged", name));
}

struct OpenedFile {
  Descriptor descriptor;
  std::uint64_t size_bytes;
  std::string identity;
  struct timespec written;
};

std::string identity_of(const struct stat& info) {
  return fmt::format("{}-{}-{}.{:09}-{}.{:09}", info.st_ino, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

// O_NONBLOCK so that a FIFO is refused below instead of waiting for a writer.
Result<OpenedFile> open_regular_file(const std::filesystem::path& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) return std::unexpected(read_error(path, errno));
  struct stat info = {};
  if (::fstat(descriptor.get(), &info) != 0) return std::unexpected(read_error(path, errno));
  if (!S_ISREG(info.st_mode)) {
    return error(StatusCode::kInvalidArgument, "'{}' is not a regular file", path.string());
  }
  return OpenedFile{std::move(descriptor), static_cast<std::uint64_t>(info.st_size),
                    identity_of(info), info.st_mtim};
}

// As MappedFile::check() for a file that was read as a whole.
Result<std::string> checked_text(const std::filesystem::path& path, std::string text) {
  HEARTH_ASSIGN_OR_RETURN(const auto sums,
                          ContentSums::read(ContentSums::path_of(path), text.size()));
  if (sums == nullptr) return text;
  const auto bytes = std::as_bytes(std::span(text));
  const Status right = sums->check(bytes, 0, bytes.size(), nullptr);
  if (right.ok()) return text;
  return std::unexpected(damaged(path.filename().string(), right));
}

Status write_and_sync(const std::filesystem::path& path, std::string_view content) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file.valid()) return write_error(errno);
  HEARTH_RETURN_IF_ERROR(write_all(file.get(), content));
  if (::fsync(file.get()) != 0) return write_error(errno);
  return {};
}

}  // namespace

Status write_error(int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  return make_status(full ? StatusCode::kResourceExhausted : StatusCode::kUnavailable, "{}",
                     system_error_text(error_number));
}

std::string unique_name() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

Status write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return write_error(errno);
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Status sync_directory(const std::filesystem::path& directory) {
  const Descriptor handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle.valid() || ::fsync(handle.get()) != 0) {
    return write_error(errno).with_context(
        fmt::format("cannot sync directory '{}'", directory.string()));
  }
  return {};
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  HEARTH_ASSIGN_OR_RETURN(OpenedFile opened, open_regular_file(path));
  MappedFile file;
  file.identity_ = opened.identity;
  HEARTH_ASSIGN_OR_RETURN(file.sums_,
                          ContentSums::read(ContentSums::path_of(path), opened.size_bytes));
  if (opened.size_bytes == 0) return file;
  if (opened.size_bytes > std::numeric_limits<std::size_t>::max()) {
    return error(StatusCode::kOutOfRange, "'{}' has {} bytes, more than this machine can map",
                 path.string(), opened.size_bytes);
  }
  const auto size = static_cast<std::size_t>(opened.size_bytes);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, opened.descriptor.get(), 0);
  if (address == MAP_FAILED) return std::unexpected(read_error(path, errno));
  file.data_ = static_cast<const std::byte*>(address);
  file.size_ = size;
  HEARTH_ASSIGN_OR_RETURN(file.guard_, MappingGuard::watch(file.bytes()));
  file.name_ = path.filename().string();
  file.written_ = opened.written;
  file.descriptor_ = std::move(opened.descriptor);
  return file;
}

Status MappedFile::intact() const {
  if (data_ == nullptr) return {};
  struct stat info = {};
  if (::fstat(descriptor_.get(), &info) != 0 || guard_.lost()) {
    return make_status(StatusCode::kDataLoss,
                       "the file '{}' was cut short or could not be read while it was in use",
                       name_);
  }
  if (std::cmp_less(info.st_size, size_)) {
    return make_status(StatusCode::kDataLoss,
                       "the file '{}' was cut from {} to {} bytes while it was in use", name_,
                       size_, info.st_size);
  }
  if (info.st_mtim.tv_sec == written_.tv_sec && info.st_mtim.tv_nsec == written_.tv_nsec) return {};
  return make_status(StatusCode::kDataLoss, "the file '{}' was written to while it was in use",
                     name_);
}

Status MappedFile::check(std::span<const std::byte> part, ThreadPool* threads) const {
  if (sums_ == nullptr || part.empty()) return {};
  HEARTH_CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  const auto begin = static_cast<std::size_t>(part.data() - data_);
  const Status right = sums_->check(bytes(), begin, begin + part.size(), threads);
  if (right.ok()) return {};
  HEARTH_RETURN_IF_ERROR(intact());  // Says better what happened.
  return damaged(name_, right);
}

void MappedFile::release(std::span<const std::byte> part) const {
  HEARTH_CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
  if (begin >= end) return;
  const std::size_t offset = begin - reinterpret_cast<std::uintptr_t>(data_);
  ::madvise(const_cast<std::byte*>(data_) + offset, end - begin, MADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      identity_(std::move(other.identity_)),
      name_(std::move(other.name_)),
      descriptor_(std::move(other.descriptor_)),
      written_(other.written_),
      guard_(std::move(other.guard_)),
      sums_(std::move(other.sums_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  std::swap(identity_, taken.identity_);
  std::swap(name_, taken.name_);
  std::swap(descriptor_, taken.descriptor_);
  std::swap(written_, taken.written_);
  std::swap(guard_, taken.guard_);
  std::swap(sums_, taken.sums_);
  return *this;
}

MappedFile::~MappedFile() {
  guard_ = {};  // Before the range may belong to another mapping.
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::span<const std::byte>> ByteReader::read_bytes(std::uint64_t count,
                                                          std::string_view what) {
  if (count > remaining()) {
    return error(StatusCode::kDataLoss, "{} needs {} bytes at offset {}, but only {} are left",
                 what, count, position_, remaining());
  }
  const auto view = bytes_.subspan(position_, static_cast<std::size_t>(count));
  position_ += view.size();
  return view;
}

Result<std::string_view> ByteReader::read_text(std::uint64_t count, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto view, read_bytes(count, what));
  return std::string_view(reinterpret_cast<const char*>(view.data()), view.size());
}

Status ByteReader::align_to(std::uint64_t alignment, std::string_view what) {
  if (!std::has_single_bit(alignment)) {
    return make_status(StatusCode::kDataLoss, "{}: alignment {} is not a power of two", what,
                       alignment);
  }
  const std::uint64_t padding = (alignment - position_ % alignment) % alignment;
  HEARTH_ASSIGN_OR_RETURN([[maybe_unused]] const auto skipped, read_bytes(padding, what));
  return {};
}

Result<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) {
    return error(StatusCode::kDataLoss, "{}: {} + {} does not fit 64 bits", what, a, b);
  }
  return sum;
}

Result<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    return error(StatusCode::kDataLoss, "{}: {} * {} does not fit 64 bits", what, a, b);
  }
  return product;
}

Result<bool> file_exists(const std::filesystem::path& path) {
  std::error_code failure;
  const auto named = std::filesystem::symlink_status(path, failure);
  if (named.type() == std::filesystem::file_type::not_found) return false;
  if (named.type() == std::filesystem::file_type::none) {
    return std::unexpected(read_error(path, failure.value()));
  }
  if (std::filesystem::exists(path, failure)) return true;
  return error(StatusCode::kNotFound, "'{}' is a broken link: its target '{}' cannot be reached",
               path.string(), std::filesystem::read_symlink(path, failure).string());
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  HEARTH_ASSIGN_OR_RETURN(const OpenedFile opened, open_regular_file(path));
  std::string text;
  text.reserve(static_cast<std::size_t>(std::min(opened.size_bytes, max_bytes)));
  char buffer[16384];
  // Read to the end instead of trusting the size: files in /proc and /sys report 0 or a page.
  while (text.size() <= max_bytes) {
    const ssize_t count = ::read(opened.descriptor.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(read_error(path, errno));
    if (count == 0) return checked_text(path, std::move(text));
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return error(StatusCode::kOutOfRange, "'{}' is larger than the limit of {} bytes", path.string(),
               max_bytes);
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = fmt::format("{}.{}.tmp", path.string(), unique_name());
  Status status = write_and_sync(temporary, content);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = write_error(errno);
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status.with_context(fmt::format("cannot write '{}'", path.string()));
  }
  const std::filesystem::path parent = path.parent_path();
  return sync_directory(parent.empty() ? "." : parent);
}

}  // namespace hearth
