// The packed form of a model's weights, kept in a file, so that the next start maps what this one
// made. A mapped panel costs no packing and no memory of its own: the file's pages are shared by
// all processes that map it and given back when memory runs short. On file systems that keep large
// folios (ext4 since Linux 6.16, XFS) they are mapped as huge pages.
//
//   PackedCache cache({.directory = ..., .source = file.identity()});
//   device = make_cpu_device({.packed_cache = &cache});
//   ... the model binds its weights ...
//   cache.keep();
//
// A kept file belongs to one state of the model's files and to one layout of panels
// (kPackedLayoutVersion); what is read from it is compared with its checksums first. A file that
// does not fit is no error: the weights are packed as without it, and a new one is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "tensor/dtype.h"

namespace hearth {

// Memory for one matrix's panels, aligned to a cache line. Copies share the memory, which goes with
// the last of them.
struct PackedPiece {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
  std::shared_ptr<const void> owner;
};

// Which matrix a piece was made from.
struct PackedKey {
  std::string_view name;  // The tensor's; several matrices may be parts of one tensor.
  DType dtype = DType::kF32;
  std::size_t out_features = 0;
  std::size_t in_features = 0;
};

struct PackedCacheOptions {
  std::filesystem::path directory;  // Made when the file is written.
  std::string source;               // ModelFile::identity(): which state of which files.
  // Less than this is packed faster than files are worth.
  std::size_t min_bytes = 0;
};

// One thread at a time; the file is written by a thread of its own.
class PackedCache {
 public:
  // Opens the file of `options.source`, if there is one that can be used.
  explicit PackedCache(PackedCacheOptions options);
  // Gives up a file that is still being written.
  ~PackedCache();

  // Matrices come in the same order at every start: the kept piece of the next one, or nullopt when
  // it has to be packed, and then add()ed.
  std::optional<PackedPiece> find(const PackedKey& key, std::size_t size, ThreadPool& pool);
  void add(const PackedKey& key, PackedPiece piece);

  // Once all weights are there: writes the file if anything was added, while others go on.
  void keep();
  // Until the file is written, or has failed.
  void wait_until_kept();

  // MappedFile::intact() of the file whose pieces find() gave out. From any thread once the last
  // of them was.
  Status intact() const { return file_ == nullptr ? Status() : file_->intact(); }

  // How much of what find() and add() saw came from the file.
  std::size_t mapped_bytes() const { return mapped_bytes_; }
  std::size_t packed_bytes() const { return packed_bytes_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  struct Entry {
    std::string name;
    DType dtype = DType::kF32;
    std::uint64_t out_features = 0;
    std::uint64_t in_features = 0;
    PackedPiece piece;
    std::vector<std::uint64_t> checksums;  // Of each kChecksumBytes of the piece.
  };

  Status open_file();
  Result<Entry> read_entry(ByteReader& reader, std::span<const std::byte> bytes) const;
  std::string header(std::span<const std::uint64_t> offsets) const;
  Status write(const std::stop_token& stop);

  const PackedCacheOptions options_;
  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> file_;
  std::vector<Entry> kept_;  // In the file, those from next_ on not yet asked for.
  std::size_t next_ = 0;
  std::vector<Entry> entries_;  // Found or added.
  std::size_t mapped_bytes_ = 0;
  std::size_t packed_bytes_ = 0;
  std::jthread writer_;  // Last: reads the others.
};

}  // namespace hearth
