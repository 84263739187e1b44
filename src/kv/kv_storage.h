// The memory behind block ids: float16 keys and values of every layer.
//
// Layout per layer: K then V. K is [num_blocks, num_kv_heads, head_dim, block_size] (transposed
// within the block) and V is [num_blocks, num_kv_heads, block_size, head_dim]; see KvLayerView in
// kernels/device.h. One mapping, reserved at construction and touched only as blocks are used.
// Owned by the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace hearth {

struct KvShape {
  std::size_t num_layers = 0;
  std::size_t num_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t block_size = 16;
  std::size_t num_blocks = 0;

  std::size_t bytes_per_block() const;  // Over all layers, K and V.
  std::size_t bytes_per_token() const { return bytes_per_block() / block_size; }
};

class KvStorage {
 public:
  // kResourceExhausted when the memory cannot be had; the message gives the size. Every size in the
  // shape must be positive.
  static Result<KvStorage> create(const KvShape& shape);
  KvStorage(KvStorage&&) noexcept;
  KvStorage& operator=(KvStorage&&) noexcept;
  ~KvStorage();

  const KvShape& shape() const { return shape_; }
  std::size_t bytes() const;
  // First element of a layer's keys or values, aligned to a cache line.
  std::uint16_t* keys(std::size_t layer) const;
  std::uint16_t* values(std::size_t layer) const;
  std::size_t block_stride() const;  // Elements from block to block.
  std::size_t head_stride() const;   // Elements from head to head within a block.

 private:
  KvStorage() = default;
  std::size_t plane_elements() const;  // One layer's keys, or values.

  KvShape shape_;
  std::uint16_t* data_ = nullptr;
};

}  // namespace hearth
