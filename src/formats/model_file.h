// A model file as the rest of Hearth sees it: typed metadata and a directory of tensors, whatever
// the format on disk. Read-only after opening; every method is safe from several threads. Views
// (text, arrays, tensor data) borrow from the ModelFile and live as long as it does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "tensor/tensor.h"

namespace hearth {

// One metadata value. Integers of every width arrive as int64 (uint64 above its range), floats as
// double. Arrays are homogeneous; arrays of arrays are refused by the reader.
using MetadataValue =
    std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view, std::vector<bool>,
                 std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<double>,
                 std::vector<std::string_view>>;

struct MetadataEntry {
  std::string_view key;
  MetadataValue value;
};

class ModelFile {
 public:
  // Opens a GGUF v2/v3 file, or the first part of a split one (its other parts are found by name).
  // Everything is bounds-checked before use: a malformed or truncated file is kDataLoss with the
  // name of the offending field, a tensor type, version or kind of value we cannot read is
  // kUnimplemented, a directory beyond our memory limit is kOutOfRange, a later part of a split
  // model is kInvalidArgument, and a missing file is kNotFound.
  static Result<ModelFile> open(const std::filesystem::path& path);

  // The same for one unsplit file already in memory, which must outlive the result. Tensor data is
  // aligned as the file says relative to the first byte.
  static Result<ModelFile> parse(std::span<const std::byte> bytes);

  ModelFile(ModelFile&&) noexcept;
  ModelFile& operator=(ModelFile&&) noexcept;
  ~ModelFile();

  std::string_view format() const;   // "GGUF v3"
  std::uint64_t file_bytes() const;  // Over all parts.

  // In file order.
  std::span<const MetadataEntry> metadata() const;
  const MetadataValue* find(std::string_view key) const;

  // Typed look-ups: nullopt when the key is absent, kDataLoss when it is there with another type or
  // (integers) out of the target's range. The message names the key, the type wanted and the one
  // found.
  Result<std::optional<std::string_view>> find_text(std::string_view key) const;
  Result<std::optional<std::uint32_t>> find_uint32(std::string_view key) const;
  Result<std::optional<double>> find_double(std::string_view key) const;  // integers convert
  Result<std::optional<bool>> find_bool(std::string_view key) const;
  // nullptr when absent.
  Result<const std::vector<std::string_view>*> find_texts(std::string_view key) const;

  std::span<const TensorView> tensors() const;                 // In file order.
  const TensorView* find_tensor(std::string_view name) const;  // nullptr when absent.

  // Gives back the memory of a tensor of this file that will hardly be read again (see
  // MappedFile::release). Nothing happens when the bytes belong to the caller of parse().
  void release(const TensorView& tensor) const;

 private:
  struct Impl;
  explicit ModelFile(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
