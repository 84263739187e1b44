#include "hub/store_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

namespace hearth::hub {
namespace {

Status access_error(const std::string& shown, int error_number) {
  if (error_number == ENOENT) {
    return make_status(StatusCode::kNotFound, "'{}' does not exist", shown);
  }
  if (error_number == ELOOP || error_number == ENOTDIR) {
    return make_status(StatusCode::kDataLoss, "'{}' is a link or not a directory", shown);
  }
  return make_status(StatusCode::kUnavailable, "cannot read '{}': {}", shown,
                     system_error_text(error_number));
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<StoreDirectory> StoreDirectory::open_root(const std::filesystem::path& root) {
  Descriptor descriptor(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.valid()) return std::unexpected(access_error(root.string(), errno));
  return StoreDirectory(std::move(descriptor), root.string());
}

Result<StoreDirectory> StoreDirectory::open_path(const std::filesystem::path& root,
                                                 std::initializer_list<std::string> parts) {
  Result<StoreDirectory> directory = open_root(root);
  for (const std::string& part : parts) {
    if (!directory.has_value()) break;
    directory = directory->child(part);
  }
  return directory;
}

Result<StoreDirectory> StoreDirectory::child(const std::string& name) const {
  const std::string shown = shown_ + "/" + name;
  Descriptor descriptor(
      ::openat(descriptor_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!descriptor.valid()) return std::unexpected(access_error(shown, errno));
  return StoreDirectory(std::move(descriptor), shown);
}

Result<std::vector<std::string>> StoreDirectory::names() const {
  // A descriptor of its own, because reading moves its position.
  const int copy = ::openat(descriptor_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return std::unexpected(access_error(shown_, errno));
  const std::unique_ptr<DIR, CloseDirectory> listing(::fdopendir(copy));
  HEARTH_CHECK(listing != nullptr);
  std::vector<std::string> names;
  // Thread-safe for a stream of one's own, which this is.
  while (const dirent* entry = ::readdir(listing.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Result<StoreDirectory::File> StoreDirectory::open_file(const std::string& name) const {
  const std::string shown = shown_ + "/" + name;
  // O_NONBLOCK so that a FIFO is refused below instead of waiting for a writer.
  Descriptor descriptor(
      ::openat(descriptor_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!descriptor.valid()) return std::unexpected(access_error(shown, errno));
  struct stat info = {};
  if (::fstat(descriptor.get(), &info) != 0) return std::unexpected(access_error(shown, errno));
  if (!S_ISREG(info.st_mode)) {
    return error(StatusCode::kDataLoss, "'{}' is not a regular file", shown);
  }
  return File{std::move(descriptor), static_cast<std::uint64_t>(info.st_size)};
}

Result<std::string> StoreDirectory::read_text(const std::string& name,
                                              std::uint64_t max_bytes) const {
  HEARTH_ASSIGN_OR_RETURN(const File file, open_file(name));
  if (file.size_bytes > max_bytes) {
    return error(StatusCode::kOutOfRange, "'{}/{}' has {} bytes, the limit is {}", shown_, name,
                 file.size_bytes, max_bytes);
  }
  std::string text(static_cast<std::size_t>(file.size_bytes), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(file.descriptor.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(access_error(shown_ + "/" + name, errno));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  text.resize(done);
  return text;
}

Result<std::string> StoreDirectory::read_link(const std::string& name) const {
  std::array<char, 1024> target{};
  const ssize_t size = ::readlinkat(descriptor_.get(), name.c_str(), target.data(), target.size());
  if (size < 0) return std::unexpected(access_error(shown_ + "/" + name, errno));
  return std::string(target.data(), static_cast<std::size_t>(size));
}

}  // namespace hearth::hub
