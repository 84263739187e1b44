// A model file as the rest of Hearth sees it: typed metadata and a directory of tensors, whatever
// the format on disk. Keys and tensor names are GGUF's, which name the roles of a model's parts;
// readers of other formats translate to them. Read-only after opening; every method is safe from
// several threads. Views (text, arrays, tensor data) borrow from the ModelFile and live as long as
// it does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/anonymous_mapping.h"
#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
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
  // The value as it stands in a GGUF file, its type's number first; empty when it is from
  // elsewhere.
  std::span<const std::byte> stored = {};
};

// What a ModelFile is made of, for readers of formats. Views in `metadata` and `tensors` borrow
// from the members above them.
struct ModelFileContent {
  std::string format;            // "GGUF v3"
  std::uint64_t file_bytes = 0;  // Over all parts.
  std::vector<MappedFile> mappings;
  std::vector<AnonymousMapping> made;        // Tensors that are no view of a file,
  std::deque<std::vector<std::byte>> small;  // and those that are not worth a mapping.
  std::deque<std::string> texts;             // Metadata that is no view of a file.
  std::vector<MetadataEntry> metadata;
  std::vector<TensorView> tensors;
  // How the files spell a tensor's name; may be called from several threads. Empty: as it is.
  std::function<std::string(std::string_view)> spelling;
  // Further files of the model by name, mapped: "tokenizer.json".
  std::map<std::string, MappedFile, std::less<>> side_files;

  // Memory for a tensor that is no view of a file, in `made` or `small`. kResourceExhausted when
  // the system refuses it.
  Result<std::span<std::byte>> allocate(std::size_t size);
};

// MappedFile::check() of the one of the files that `data` lies in; ok when it lies in none.
Status check_mapped(std::span<const MappedFile> mappings, std::span<const std::byte> data,
                    ThreadPool* threads);

// MappedFile::release() of the one of the files that `data` lies in, if any.
void release_mapped(std::span<const MappedFile> mappings, std::span<const std::byte> data);

class ModelFile {
 public:
  // Ids that end an answer besides those that the tokenizer knows (array of integers). Not of the
  // GGUF specification, which has one key per kind of end.
  static constexpr std::string_view kEndOfGenerationKey = "tokenizer.end_of_generation_ids";

  // Opens a GGUF v2/v3 file, or the first part of a split one (its other parts are found by name).
  // Everything is bounds-checked before use: a malformed or truncated file is kDataLoss with the
  // name of the offending field, a tensor type, version or kind of value we cannot read is
  // kUnimplemented, a directory beyond our memory limit is kOutOfRange, a later part of a split
  // model is kInvalidArgument, and a missing file is kNotFound.
  static Result<ModelFile> open(const std::filesystem::path& path);

  // The same for one unsplit file already in memory, which must outlive the result. Tensor data is
  // aligned as the file says relative to the first byte.
  static Result<ModelFile> parse(std::span<const std::byte> bytes);

  // kDataLoss when a key or a tensor's name is there twice.
  static Result<ModelFile> assemble(ModelFileContent content);

  ModelFile(ModelFile&&) noexcept;
  ModelFile& operator=(ModelFile&&) noexcept;
  ~ModelFile();

  std::string_view format() const;   // "GGUF v3", "safetensors"
  std::uint64_t file_bytes() const;  // Over all parts.
  // Which state of which files this is: changes when one of them does. Empty for bytes in memory.
  std::string identity() const;

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
  Result<const std::vector<std::int64_t>*> find_integers(std::string_view key) const;
  Result<const std::vector<std::string_view>*> find_texts(std::string_view key) const;

  std::span<const TensorView> tensors() const;                 // In file order.
  const TensorView* find_tensor(std::string_view name) const;  // nullptr when absent.

  // The name by which the model's author knows a tensor, for messages; it need not exist.
  std::string spelling(std::string_view tensor_name) const;

  // Where GGUF files carry "tokenizer.json" (a key of the specification) and, by a key of our own,
  // "tokenizer_config.json".
  static constexpr std::string_view kTokenizerJsonKey = "tokenizer.huggingface.json";
  static constexpr std::string_view kTokenizerConfigKey = "tokenizer.huggingface.config";

  // The whole text of another file of the model ("tokenizer.json"), also when it stands in the
  // metadata; nullopt when it has none. A tokenizer in GGUF's own terms makes one in the metadata
  // count as absent.
  std::optional<std::string_view> side_file(std::string_view name) const;

  // MappedFile::intact() of all files of the model.
  Status intact() const;

  // MappedFile::check() of the file that `data`, a tensor's or a part of it, lies in. What lies in
  // none was checked when it was made of one. To be called by whoever reads weights for the first
  // time. From one thread at a time.
  Status check(std::span<const std::byte> data, ThreadPool* threads) const;

  // Gives back the memory of a tensor of this file that will hardly be read again (see
  // MappedFile::release). Nothing happens when the bytes belong to the caller of parse().
  void release(const TensorView& tensor) const;

  // The same for a tensor that will never be read again: memory that was made for it is gone with
  // its content.
  void discard(const TensorView& tensor) const;
  // Whether the tensor lies in memory of this process instead of a mapped file.
  bool is_made(const TensorView& tensor) const;

  // What it is made of, to be changed and assembled again.
  ModelFileContent take() &&;

 private:
  struct Impl;
  explicit ModelFile(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
