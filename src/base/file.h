// Files: read-only mappings, a bounded reader for all binary parsing, and crash-safe writes.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/content_sums.h"
#include "base/descriptor.h"
#include "base/mapping_guard.h"
#include "base/status.h"

namespace hearth {

// A whole file mapped read-only. Owns the mapping; spans into it live as long as this object. Move
// only; reading from several threads is safe. An empty file maps to an empty span.
//
// Others may cut the file short or write into it while it is mapped. Reading then neither fails nor
// ends the process, but yields other bytes than before, or zeros; intact() tells afterwards.
class MappedFile {
 public:
  // Fails with kNotFound (no such file), kInvalidArgument (a directory, device, ...) or kDataLoss
  // (it, or what should be its checksums, could not be read).
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Tells this state of this file from others: it changes when the file is written to or replaced.
  const std::string& identity() const { return identity_; }

  // kDataLoss, with the file's name, when the file was cut short, written to or could not be read
  // since open(): anything computed from its bytes may be wrong. Costs one system call.
  Status intact() const;

  // kDataLoss, with the file's name, when `part`, which must lie within bytes(), is not what the
  // file's checksums say (base/content_sums.h); ok for a file without. `threads` may be nullptr.
  Status check(std::span<const std::byte> part, ThreadPool* threads) const;
  bool has_checksums() const { return sums_ != nullptr; }

  // Says that `part`, which must lie within bytes(), will hardly be read again: its whole pages
  // stop counting as this process's memory. Reading them still works.
  void release(std::span<const std::byte> part) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string identity_;
  std::string name_;  // Without its directory, for messages.
  Descriptor descriptor_;
  struct timespec written_ = {};  // When somebody last wrote to it.
  MappingGuard guard_;
  std::unique_ptr<ContentSums> sums_;
};

// A cursor over untrusted little-endian bytes. Every read proves that the bytes are there before it
// touches them; nothing is allocated for a claim that the remaining bytes cannot back. Borrows the
// bytes: the lender must outlive the reader and every view it hands out. After an error the
// position is unchanged. Not thread-safe.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  // One value; `what` names the field in the error message.
  template <typename T>
    requires std::is_arithmetic_v<T>
  Result<T> read(std::string_view what) {
    HEARTH_ASSIGN_OR_RETURN(auto raw, read_bytes(sizeof(T), what));
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  // A view of the next `count` bytes.
  Result<std::span<const std::byte>> read_bytes(std::uint64_t count, std::string_view what);

  // A view of the next `count` bytes as text (not checked to be UTF-8).
  Result<std::string_view> read_text(std::uint64_t count, std::string_view what);

  // Moves to the next multiple of `alignment` (a power of two) counted from the start of the bytes.
  Status align_to(std::uint64_t alignment, std::string_view what);

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

// Arithmetic on untrusted sizes: an error instead of a wrapped value.
Result<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b, std::string_view what);
Result<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b, std::string_view what);

// False where nothing has this name. kNotFound for a link whose target is missing, with the target:
// a copied directory of links is incomplete, not without the file.
Result<bool> file_exists(const std::filesystem::path& path);

// The whole file as text, compared with its checksums if it has any (base/content_sums.h);
// kOutOfRange when it is larger than `max_bytes`.
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// errno of a failed write as a status: kResourceExhausted when the disk or the quota is full, else
// kUnavailable.
Status write_error(int error_number);

// 16 hexadecimal digits that no other process picks, for names of temporary files. Process ids are
// no such name: containers that share a volume have the same ones.
std::string unique_name();

// Writes everything at the descriptor's position.
Status write_all(int fd, std::string_view content);

// Makes names that were created, renamed or removed in `directory` survive a power failure.
Status sync_directory(const std::filesystem::path& directory);

// Writes a temporary file beside `path`, syncs it and renames it over `path`: after a crash either
// the old or the new content is there, never a mixture.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace hearth
