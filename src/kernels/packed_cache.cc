#include "kernels/packed_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/checksum.h"
#include "base/log.h"
#include "kernels/kernel_table.h"
#include "kernels/pack_weights.h"

// The file, little-endian:
//
//   magic, uint64 bytes of the header, uint64 checksum of the header
//   header: text source, uint32 layout version, uint64 number of pieces; of each piece
//     text tensor name, uint32 number format, uint64 out_features, in_features, offset, size,
//     a uint64 checksum of every kChecksumBytes
//   pieces, from a huge page's border on, each at a cache line
//
// A text is its uint64 length and its bytes.
namespace hearth {
namespace {

constexpr std::string_view kMagic = "hearthpk";
constexpr std::size_t kPrefixBytes = 24;
// Written in such parts at such offsets, the page cache holds it in huge pages.
constexpr std::size_t kWriteBytes = std::size_t{2} << 20;

std::span<const std::byte> bytes_of(const PackedPiece& piece) {
  return std::as_bytes(std::span(piece.data, piece.size));
}

template <typename T>
void append(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_text(std::string& out, std::string_view text) {
  append<std::uint64_t>(out, text.size());
  out += text;
}

Result<std::string_view> read_text(ByteReader& reader, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto length, reader.read<std::uint64_t>(what));
  return reader.read_text(length, what);
}

std::string file_name(std::string_view source) {
  std::string key(source);
  append(key, kPackedLayoutVersion);
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return fmt::format("{:016x}{:016x}.panels", hash.high64, hash.low64);
}

// Gathers what is written into whole parts.
class PartWriter {
 public:
  PartWriter(int fd, std::size_t offset) : fd_(fd), offset_(offset) {
    buffer_.reserve(kWriteBytes);
  }

  Status append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), kWriteBytes - buffer_.size());
      buffer_.insert(buffer_.end(), bytes.begin(),
                     bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      if (buffer_.size() == kWriteBytes) HEARTH_RETURN_IF_ERROR(flush());
    }
    return {};
  }

  Status flush() {
    if (::lseek(fd_, static_cast<off_t>(offset_), SEEK_SET) < 0) return write_error(errno);
    HEARTH_RETURN_IF_ERROR(
        write_all(fd_, {reinterpret_cast<const char*>(buffer_.data()), buffer_.size()}));
    offset_ += buffer_.size();
    buffer_.clear();
    return {};
  }

 private:
  int fd_;
  std::size_t offset_;
  std::vector<std::byte> buffer_;
};

// As much again must stay free: other programs need room, too.
Status check_space(const std::filesystem::path& directory, std::uint64_t size) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (failure) return write_error(failure.value());
  const auto space = std::filesystem::space(directory, failure);
  if (failure) return write_error(failure.value());
  if (space.available / 2 >= size) return {};
  return make_status(StatusCode::kResourceExhausted,
                     "{} bytes would take more than half of the {} that are free", size,
                     space.available);
}

// One process writes a file; what one that died has left is written over. The lock ends with the
// descriptor. kCancelled when another process is writing it.
Result<Descriptor> open_partial(const std::filesystem::path& path) {
  const auto failed = [] { return std::unexpected(write_error(errno)); };
  const auto taken = [] { return error(StatusCode::kCancelled, "another process writes it"); };
  Descriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
  if (!file.valid()) return failed();
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? taken() : failed();
  }
  struct stat mine = {};
  struct stat named = {};
  if (::fstat(file.get(), &mine) != 0) return failed();
  // Another one had it between our opening and locking it, and has finished it.
  if (::lstat(path.c_str(), &named) != 0 || named.st_ino != mine.st_ino) return taken();
  if (!S_ISREG(mine.st_mode)) return error(StatusCode::kUnavailable, "it is no regular file");
  if (::ftruncate(file.get(), 0) != 0) return failed();
  return file;
}

}  // namespace

PackedCache::PackedCache(PackedCacheOptions options)
    : options_(std::move(options)), path_(options_.directory / file_name(options_.source)) {
  const Status opened = open_file();
  if (opened.ok() || opened.code() == StatusCode::kNotFound) return;
  kept_.clear();
  log::warning("packed weights '{}' are not used: {}", path_.string(), opened.message());
}

PackedCache::~PackedCache() = default;

Status PackedCache::open_file() {
  HEARTH_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path_));
  const auto file = std::make_shared<const MappedFile>(std::move(mapping));
  ByteReader prefix(file->bytes());
  HEARTH_ASSIGN_OR_RETURN(const std::string_view magic,
                          prefix.read_text(kMagic.size(), "the format's name"));
  if (magic != kMagic) return make_status(StatusCode::kDataLoss, "it is no such file");
  HEARTH_ASSIGN_OR_RETURN(const auto header_size, prefix.read<std::uint64_t>("header size"));
  HEARTH_ASSIGN_OR_RETURN(const auto checksum, prefix.read<std::uint64_t>("header checksum"));
  HEARTH_ASSIGN_OR_RETURN(const auto header, prefix.read_bytes(header_size, "header"));
  if (checksum_of(header) != checksum) {
    return make_status(StatusCode::kDataLoss, "its header is damaged");
  }
  ByteReader reader(header);
  HEARTH_ASSIGN_OR_RETURN(const std::string_view source, read_text(reader, "source"));
  HEARTH_ASSIGN_OR_RETURN(const auto version, reader.read<std::uint32_t>("layout version"));
  if (source != options_.source || version != kPackedLayoutVersion) {
    return make_status(StatusCode::kDataLoss, "it belongs to another model");
  }
  HEARTH_ASSIGN_OR_RETURN(const auto count, reader.read<std::uint64_t>("number of pieces"));
  for (std::uint64_t i = 0; i < count; ++i) {
    HEARTH_ASSIGN_OR_RETURN(Entry entry, read_entry(reader, file->bytes()));
    entry.piece.owner = file;
    kept_.push_back(std::move(entry));
  }
  file_ = file;
  return {};
}

Result<PackedCache::Entry> PackedCache::read_entry(ByteReader& reader,
                                                   std::span<const std::byte> bytes) const {
  Entry entry;
  HEARTH_ASSIGN_OR_RETURN(entry.name, read_text(reader, "tensor name"));
  HEARTH_ASSIGN_OR_RETURN(const auto dtype, reader.read<std::uint32_t>("number format"));
  entry.dtype = static_cast<DType>(dtype);
  HEARTH_ASSIGN_OR_RETURN(entry.out_features, reader.read<std::uint64_t>("out_features"));
  HEARTH_ASSIGN_OR_RETURN(entry.in_features, reader.read<std::uint64_t>("in_features"));
  HEARTH_ASSIGN_OR_RETURN(const auto offset, reader.read<std::uint64_t>("offset"));
  HEARTH_ASSIGN_OR_RETURN(const auto size, reader.read<std::uint64_t>("size"));
  if (offset % kCacheLineBytes != 0 || offset > bytes.size() || size > bytes.size() - offset) {
    return error(StatusCode::kDataLoss, "{} bytes at {} are not in a file of {}", size, offset,
                 bytes.size());
  }
  entry.piece.data = reinterpret_cast<const std::uint8_t*>(bytes.data()) + offset;
  entry.piece.size = static_cast<std::size_t>(size);
  for (std::size_t i = 0; i < num_checksums(entry.piece.size); ++i) {
    HEARTH_ASSIGN_OR_RETURN(const auto checksum, reader.read<std::uint64_t>("checksum"));
    entry.checksums.push_back(checksum);
  }
  return entry;
}

std::optional<PackedPiece> PackedCache::find(const PackedKey& key, std::size_t size,
                                             ThreadPool& pool) {
  if (next_ == kept_.size()) return std::nullopt;
  Entry& entry = kept_[next_++];
  if (entry.name != key.name || entry.dtype != key.dtype ||
      entry.out_features != key.out_features || entry.in_features != key.in_features ||
      entry.piece.size != size) {
    kept_.clear();
    next_ = 0;
    return std::nullopt;
  }
  std::atomic<bool> intact = true;
  const auto bytes = bytes_of(entry.piece);
  pool.run(entry.checksums.size(), [&](std::size_t idx, std::size_t) {
    if (checksum_of(checked_part(bytes, idx)) != entry.checksums[idx]) {
      intact.store(false, std::memory_order_relaxed);
    }
  });
  if (!intact.load(std::memory_order_relaxed)) {
    log::warning("packed weights '{}' are damaged at tensor '{}', which is packed anew",
                 path_.string(), key.name);
    return std::nullopt;
  }
  mapped_bytes_ += size;
  entries_.push_back(entry);
  return entry.piece;
}

void PackedCache::add(const PackedKey& key, PackedPiece piece) {
  packed_bytes_ += piece.size;
  entries_.push_back({.name = std::string(key.name),
                      .dtype = key.dtype,
                      .out_features = key.out_features,
                      .in_features = key.in_features,
                      .piece = std::move(piece),
                      .checksums = {}});
}

void PackedCache::keep() {
  kept_.clear();
  next_ = 0;
  if (packed_bytes_ == 0 || mapped_bytes_ + packed_bytes_ < options_.min_bytes) {
    entries_.clear();
    return;
  }
  writer_ = std::jthread([this](const std::stop_token& stop) {
    const Status written = write(stop);
    if (written.ok()) {
      log::info("packed weights kept in '{}', {} bytes: the next start maps them", path_.string(),
                mapped_bytes_ + packed_bytes_);
    } else if (written.code() != StatusCode::kCancelled) {
      log::info("packed weights are not kept in '{}': {}", options_.directory.string(),
                written.message());
    }
  });
}

void PackedCache::wait_until_kept() {
  if (writer_.joinable()) writer_.join();
}

std::string PackedCache::header(std::span<const std::uint64_t> offsets) const {
  std::string out;
  append_text(out, options_.source);
  append(out, kPackedLayoutVersion);
  append<std::uint64_t>(out, entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    append_text(out, entry.name);
    append(out, static_cast<std::uint32_t>(entry.dtype));
    append(out, entry.out_features);
    append(out, entry.in_features);
    append(out, offsets[i]);
    append<std::uint64_t>(out, entry.piece.size);
    for (const std::uint64_t checksum : entry.checksums)
      append(out, checksum);
  }
  return out;
}

// Not synced: what a power failure leaves unwritten has wrong checksums.
Status PackedCache::write(const std::stop_token& stop) {
  for (Entry& entry : entries_)
    entry.checksums.resize(num_checksums(entry.piece.size));
  std::vector<std::uint64_t> offsets(entries_.size());
  const std::size_t header_size = header(offsets).size();
  const std::size_t data_begin =
      (kPrefixBytes + header_size + kWriteBytes - 1) / kWriteBytes * kWriteBytes;
  HEARTH_RETURN_IF_ERROR(
      check_space(options_.directory, data_begin + mapped_bytes_ + packed_bytes_));

  const std::filesystem::path partial = path_.string() + ".partial";
  HEARTH_ASSIGN_OR_RETURN(const Descriptor file, open_partial(partial));
  const auto write_file = [&]() -> Status {
    PartWriter out(file.get(), data_begin);
    std::uint64_t offset = data_begin;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      offsets[i] = offset;
      const auto bytes = bytes_of(entries_[i].piece);
      for (std::size_t part = 0; part < entries_[i].checksums.size(); ++part) {
        if (stop.stop_requested()) return Status(StatusCode::kCancelled, "the model is unloaded");
        entries_[i].checksums[part] = checksum_of(checked_part(bytes, part));
        HEARTH_RETURN_IF_ERROR(out.append(checked_part(bytes, part)));
      }
      offset += bytes.size();
    }
    HEARTH_RETURN_IF_ERROR(out.flush());
    HEARTH_RETURN_IF_ERROR(intact());  // Else zeros from it would get checksums of their own.
    const std::string head = header(offsets);
    std::string prefix(kMagic);
    append<std::uint64_t>(prefix, head.size());
    append(prefix, checksum_of(std::as_bytes(std::span(head))));
    if (::lseek(file.get(), 0, SEEK_SET) < 0) return write_error(errno);
    HEARTH_RETURN_IF_ERROR(write_all(file.get(), prefix + head));
    return ::rename(partial.c_str(), path_.c_str()) == 0 ? Status() : write_error(errno);
  };
  Status written = write_file();
  if (!written.ok()) ::unlink(partial.c_str());
  return written;
}

}  // namespace hearth
