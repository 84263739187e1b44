// Reads the directory of one GGUF file: header, metadata and tensor infos, never the tensor data.
// Format: the GGUF specification, versions 2 and 3, little-endian.
//
// The bytes are untrusted. Every field is read through a bounded cursor, sizes are added and
// multiplied with overflow checks, and memory is only taken for what the remaining bytes prove and
// AllocationBudget allows. What comes out can be used without further checks: each tensor's rows
// are whole blocks, its data lies inside the file, and no two tensors share a byte or a name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "formats/name_index.h"

namespace hearth {

// The memory that the directories of one model may take, over all its files. The largest real ones
// (vocabularies of 260,000 tokens with their merges) need about 20 MiB.
class AllocationBudget {
 public:
  static constexpr std::uint64_t kDefaultBytes = std::uint64_t{48} << 20;

  explicit AllocationBudget(std::uint64_t bytes = kDefaultBytes) : limit_(bytes), left_(bytes) {}

  // kOutOfRange when fewer than count x bytes_each bytes are left; then nothing is taken.
  Status take(std::uint64_t count, std::uint64_t bytes_each, std::string_view what);

 private:
  std::uint64_t limit_;
  std::uint64_t left_;
};

// Borrows every view from the bytes it was read from.
struct GgufDirectory {
  std::uint32_t version = 0;
  std::vector<MetadataEntry> metadata;  // In file order; keys are unique.
  NameIndex keys;                       // Over `metadata`.
  std::vector<TensorView> tensors;      // In file order; names are unique.

  const MetadataValue* find(std::string_view key) const;
};

// `bytes` is the whole file and starts at an address that is a multiple of 8. Errors as
// ModelFile::open.
Result<GgufDirectory> read_gguf_directory(std::span<const std::byte> bytes,
                                          AllocationBudget& budget);

}  // namespace hearth
