#include "kv/kv_storage.h"

#include <sys/mman.h>

#include <limits>
#include <utility>

namespace hearth {
namespace {

constexpr std::size_t kCacheLineElements = 64 / sizeof(std::uint16_t);

// False when the product does not fit.
bool multiply(std::size_t& product, std::size_t factor) {
  return !__builtin_mul_overflow(product, factor, &product);
}

}  // namespace

std::size_t KvShape::bytes_per_block() const {
  return 2 * num_layers * num_kv_heads * head_dim * block_size * sizeof(std::uint16_t);
}

Result<KvStorage> KvStorage::create(const KvShape& shape) {
  HEARTH_CHECK(shape.num_layers > 0 && shape.num_kv_heads > 0 && shape.head_dim > 0 &&
               shape.block_size > 0 && shape.num_blocks > 0);
  std::size_t needed = shape.bytes_per_block();
  const bool representable =
      multiply(needed, shape.num_blocks) &&
      needed <= static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
  if (!representable) {
    return error(StatusCode::kResourceExhausted,
                 "a KV cache of {} blocks of {} bytes is beyond the address space",
                 shape.num_blocks, shape.bytes_per_block());
  }
  KvStorage storage;
  storage.shape_ = shape;
  void* data =
      ::mmap(nullptr, storage.bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return error(StatusCode::kResourceExhausted,
                 "the KV cache needs {} bytes ({} blocks of {} tokens), which the system refuses",
                 storage.bytes(), shape.num_blocks, shape.block_size);
  }
  storage.data_ = static_cast<std::uint16_t*>(data);
  return storage;
}

KvStorage::KvStorage(KvStorage&& other) noexcept
    : shape_(other.shape_), data_(std::exchange(other.data_, nullptr)) {}

KvStorage& KvStorage::operator=(KvStorage&& other) noexcept {
  std::swap(shape_, other.shape_);
  std::swap(data_, other.data_);
  return *this;
}

KvStorage::~KvStorage() {
  if (data_ != nullptr) ::munmap(data_, bytes());
}

std::size_t KvStorage::plane_elements() const {
  const std::size_t exact = shape_.num_blocks * block_stride();
  return (exact + kCacheLineElements - 1) / kCacheLineElements * kCacheLineElements;
}

std::size_t KvStorage::bytes() const {
  return 2 * shape_.num_layers * plane_elements() * sizeof(std::uint16_t);
}

std::uint16_t* KvStorage::keys(std::size_t layer) const {
  return data_ + 2 * layer * plane_elements();
}

std::uint16_t* KvStorage::values(std::size_t layer) const {
  return data_ + (2 * layer + 1) * plane_elements();
}

std::size_t KvStorage::block_stride() const {
  return shape_.num_kv_heads * head_stride();
}

std::size_t KvStorage::head_stride() const {
  return shape_.head_dim * shape_.block_size;
}

}  // namespace hearth
