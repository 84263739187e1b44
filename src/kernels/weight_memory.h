// Memory of repacked weights. Internal to the kernels module.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/anonymous_mapping.h"
#include "kernels/kernel_table.h"
#include "kernels/packed_cache.h"

namespace hearth {

// Memory for one matrix that is still to be filled, aligned to a cache line.
struct WeightPiece {
  std::uint8_t* data = nullptr;
  std::size_t size = 0;
  // Matrices are smaller than huge pages are worth, so many share a chunk; the last one of them to
  // go frees it.
  std::shared_ptr<AnonymousMapping> chunk;

  PackedPiece filled() const { return {.data = data, .size = size, .owner = chunk}; }
};

// Hands out memory on huge pages, matrix after matrix. Not thread-safe.
class WeightMemory {
 public:
  // kResourceExhausted when the system refuses.
  Result<WeightPiece> allocate(std::size_t size) {
    const std::size_t rounded = round_up_to_line(size);
    if (chunk_ == nullptr || chunk_->size() - used_ < rounded) {
      HEARTH_ASSIGN_OR_RETURN(auto chunk, AnonymousMapping::create(std::max(rounded, kChunkBytes)));
      chunk_ = std::make_shared<AnonymousMapping>(std::move(chunk));
      used_ = 0;
    }
    auto* const data = reinterpret_cast<std::uint8_t*>(chunk_->data()) + used_;
    used_ += rounded;
    return WeightPiece{data, size, chunk_};
  }

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{32} << 20;
  std::shared_ptr<AnonymousMapping> chunk_;
  std::size_t used_ = 0;
};

}  // namespace hearth
