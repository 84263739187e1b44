// Checksums of the parts of a stored file, made when its content was known to be right, so that
// whoever reads some of it can tell whether it still is. They find what decaying disks, broken
// memory and careless copies do, not what somebody does on purpose (base/checksum.h).
//
// The checksums of DIR/blobs/NAME, however reached, are DIR/sums/NAME (the registry's layout, see
// hub/model_store.h). Files elsewhere have none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"

namespace hearth {

// Made by read() alone. check() may be called from several threads when they bring no pool, or
// different ones.
class ContentSums {
 public:
  // Where the checksums of `file` are, following links; empty for a file that can have none.
  static std::filesystem::path path_of(const std::filesystem::path& file);

  // The checksums of these bytes, as they are kept.
  static std::string describe(std::span<const std::byte> content);

  // Those at `path` for a file of `size_bytes`; nullptr when there is no such file. kDataLoss when
  // they are damaged or of a file of another size.
  static Result<std::unique_ptr<ContentSums>> read(const std::filesystem::path& path,
                                                   std::uint64_t size_bytes);

  // kDataLoss, with the place, unless all parts of `content`, the whole file's, that `begin` up to
  // `end` touch are as they were. Each part is compared once. `threads` may be nullptr.
  Status check(std::span<const std::byte> content, std::size_t begin, std::size_t end,
               ThreadPool* threads);

 private:
  explicit ContentSums(std::vector<std::uint64_t> sums)
      : sums_(std::move(sums)), checked_(std::make_unique<std::atomic<bool>[]>(sums_.size())) {}

  std::vector<std::uint64_t> sums_;
  std::unique_ptr<std::atomic<bool>[]> checked_;  // Parts found right.
};

}  // namespace hearth
