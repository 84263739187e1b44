// The memory behind block ids: keys and values of every layer.
//
// kRegionBlocks consecutive blocks make a region: [num_layers, K then V, kRegionBlocks,
// num_kv_heads], each cell the keys or values of one head of one block (see KvLayerView in
// kernels/device.h). Attention then reads long runs, while few blocks in use touch little memory.
// One mapping, reserved at construction and touched only as blocks are used. Owned by the engine
// thread.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "base/anonymous_mapping.h"
#include "base/status.h"
#include "kernels/device.h"

namespace hearth {

struct KvShape {
  std::size_t num_layers = 0;
  std::size_t num_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t block_size = 16;
  std::size_t num_blocks = 0;
  DType dtype = DType::kF16;  // Or kQ8_0.
  std::size_t value_dim = 0;  // Of values; 0: as head_dim.

  std::size_t value_len() const { return value_dim != 0 ? value_dim : head_dim; }
  std::size_t bytes_per_block() const;  // Over all layers, K and V.
  std::size_t bytes_per_token() const { return bytes_per_block() / block_size; }
};

// "f16" or "q8_0": the names of what KvShape::dtype may be.
std::string_view kv_cache_dtype_name(DType dtype);

class KvStorage {
 public:
  // kResourceExhausted when the memory cannot be had; the message gives the size. Every size in the
  // shape must be positive.
  static Result<KvStorage> create(const KvShape& shape);
  const KvShape& shape() const { return shape_; }
  std::size_t bytes() const { return memory_.size(); }
  KvLayerView layer(std::size_t idx) const;
  // All of it, for measurements: what lies where is layer()'s business.
  std::span<std::byte> memory() const { return {memory_.data(), memory_.size()}; }

  static constexpr std::size_t kRegionBlocks = 32;

 private:
  KvStorage(const KvShape& shape, AnonymousMapping memory)
      : shape_(shape), memory_(std::move(memory)) {}

  KvShape shape_;
  AnonymousMapping memory_;
};

}  // namespace hearth
