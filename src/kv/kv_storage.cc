#include "kv/kv_storage.h"

#include <algorithm>
#include <limits>

namespace hearth {
namespace {

// False when the product does not fit.
bool multiply(std::size_t& product, std::size_t factor) {
  return !__builtin_mul_overflow(product, factor, &product);
}

}  // namespace

std::size_t KvShape::bytes_per_block() const {
  return num_layers * num_kv_heads *
         (kv_head_bytes(dtype, head_dim, block_size) +
          kv_head_bytes(dtype, value_len(), block_size));
}

std::string_view kv_cache_dtype_name(DType dtype) {
  return dtype == DType::kQ8_0 ? "q8_0" : "f16";
}

Result<KvStorage> KvStorage::create(const KvShape& shape) {
  HEARTH_CHECK(shape.num_layers > 0 && shape.num_kv_heads > 0 && shape.head_dim > 0 &&
               shape.block_size > 0 && shape.num_blocks > 0);
  HEARTH_CHECK(shape.dtype == DType::kF16 || shape.dtype == DType::kQ8_0);
  // The last region may be short of blocks, but each of its layers' runs has its full length.
  const std::size_t regions =
      shape.num_blocks / kRegionBlocks + (shape.num_blocks % kRegionBlocks != 0 ? 1 : 0);
  const std::size_t last_blocks = shape.num_blocks - (regions - 1) * kRegionBlocks;
  const std::size_t per_region = regions == 1 ? last_blocks : kRegionBlocks;
  std::size_t needed = shape.bytes_per_block();
  const bool representable =
      multiply(needed, per_region) && multiply(needed, regions) &&
      needed <= static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
  if (!representable) {
    return error(StatusCode::kResourceExhausted,
                 "a KV cache of {} blocks of {} bytes is beyond the address space",
                 shape.num_blocks, shape.bytes_per_block());
  }
  auto memory = AnonymousMapping::create(needed);
  if (!memory.has_value()) {
    return error(StatusCode::kResourceExhausted,
                 "the KV cache needs {} bytes ({} blocks of {} tokens), which the system refuses",
                 needed, shape.num_blocks, shape.block_size);
  }
  return KvStorage(shape, *std::move(memory));
}

KvLayerView KvStorage::layer(std::size_t idx) const {
  KvLayerView view;
  view.dtype = shape_.dtype;
  view.block_size = shape_.block_size;
  view.head_stride = kv_head_bytes(shape_.dtype, shape_.head_dim, shape_.block_size);
  view.block_stride = shape_.num_kv_heads * view.head_stride;
  view.value_head_stride = kv_head_bytes(shape_.dtype, shape_.value_len(), shape_.block_size);
  view.value_block_stride = shape_.num_kv_heads * view.value_head_stride;
  view.region_blocks = std::min(shape_.num_blocks, kRegionBlocks);
  const std::size_t key_run = view.region_blocks * view.block_stride;
  const std::size_t run = key_run + view.region_blocks * view.value_block_stride;
  view.region_stride = shape_.num_layers * run;
  view.k = memory_.data() + idx * run;
  view.v = view.k + key_run;
  return view;
}

}  // namespace hearth
