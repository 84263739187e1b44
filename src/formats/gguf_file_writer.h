// Writes a GGUF file (version 3, little-endian), tensor after tensor, without holding it in memory.
//
// The file grows under a temporary name beside the final one and is renamed when it is complete and
// durable: whatever happens before, nothing of it has the final name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/descriptor.h"
#include "base/status.h"
#include "formats/model_file.h"

namespace hearth {

// Keys and values as they are stored: a value is its type's number and its bytes.
class GgufMetadata {
 public:
  // Keeps the stored form of an entry that has one. Otherwise integers become uint32, int32, uint64
  // or int64, whichever comes first and holds the value (or all of an array), and floats float32,
  // like those of other writers. Replaces an entry of that key.
  void set(const MetadataEntry& entry);
  void set(std::string_view key, const MetadataValue& value);

  std::size_t size() const { return entries_.size(); }
  // All of them as they stand in a file.
  std::vector<std::byte> bytes() const;

 private:
  struct Entry {
    std::string key;
    std::vector<std::byte> value;
  };
  void put(std::string_view key, std::vector<std::byte> value);

  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> places_;  // Of keys in entries_.
};

struct GgufTensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;  // Rows of whole blocks.

  std::uint64_t num_bytes() const;
};

// Owns the temporary file, PATH.ID.partial, and removes it unless finish() succeeded; one that a
// killed process left goes when the same path is written again. Move only; not thread-safe.
class GgufFileWriter {
 public:
  // Writes everything before the tensors' data. kResourceExhausted, before anything is written,
  // when the file system has less room than the whole file takes; kInvalidArgument when `path` is
  // something else than a regular file; kUnavailable when the directory cannot be written.
  static Result<GgufFileWriter> create(const std::filesystem::path& path,
                                       const GgufMetadata& metadata,
                                       std::span<const GgufTensorInfo> tensors);
  GgufFileWriter(GgufFileWriter&&) noexcept = default;
  GgufFileWriter& operator=(GgufFileWriter&&) = delete;
  ~GgufFileWriter();

  // Removes temporary files for paths in `directory` whose names begin with `prefix` that no
  // process is writing any more.
  static void remove_left_overs(const std::filesystem::path& directory, std::string_view prefix);

  std::uint64_t file_bytes() const { return file_bytes_; }

  // The next bytes of the tensors' data, in the order of `tensors`, in pieces of any size that do
  // not cross from one tensor to the next.
  Status write(std::span<const std::byte> data);

  // All data is written: makes the file durable and gives it its name, in place of what had it.
  Status finish();

 private:
  explicit GgufFileWriter(std::filesystem::path path) : path_(std::move(path)) {}
  // Opens a temporary file that no other process takes for one that was left.
  Status create_locked();
  Status begin(const std::vector<std::byte>& head, std::span<const GgufTensorInfo> tensors);

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // Empty: there is none any more.
  Descriptor file_;
  std::uint64_t file_bytes_ = 0;
  std::vector<std::uint64_t> sizes_;  // Of the tensors' data.
  std::size_t tensor_idx_ = 0;        // The one that is being written.
  std::uint64_t left_ = 0;            // Bytes that are missing of it.
};

}  // namespace hearth
