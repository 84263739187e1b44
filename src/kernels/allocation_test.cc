// Counts every allocation of this executable through the global operators.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "kernels/kernel_test_util.h"

// The sanitizers bring their own operators.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEARTH_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HEARTH_SANITIZED 1
#endif
#endif

#if !defined(HEARTH_SANITIZED)

namespace {

std::atomic<std::size_t> num_allocations{0};

void* count_and_allocate(std::size_t size, std::size_t alignment) {
  num_allocations.fetch_add(1);
  void* p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

// Not inlined: to the compiler, memory from operator new would otherwise meet a bare free().
__attribute__((noinline)) void release(void* p) noexcept {
  std::free(p);
}

}  // namespace

void* operator new(std::size_t size) {
  return count_and_allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return count_and_allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept {
  release(p);
}
void operator delete(void* p, std::size_t) noexcept {
  release(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  release(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  release(p);
}

namespace hearth {
namespace {

TEST(AllocationTest, AStepAllocatesNothingOnceReserved) {
  constexpr std::size_t kMaxTokens = 70;
  constexpr std::size_t kWidth = 128;
  constexpr HeadShape kHeads = {4, 2, 32};
  std::vector<std::byte> data(kWidth * row_bytes(DType::kQ4_1, kWidth), std::byte{0x11});
  const TensorView tensor = {.name = "w",
                             .dtype = DType::kQ4_1,
                             .shape = {.dims = {kWidth, kWidth, 1, 1}, .rank = 2},
                             .data = data};
  const auto device = make_device("auto", 2);
  const auto weight = std::move(*device->prepare_weight(tensor));
  device->reserve(
      {.max_tokens = kMaxTokens, .max_features = kWidth, .max_head_dim = kHeads.head_dim});
  const Floats input = random_floats(kMaxTokens * kWidth, 1);
  Floats out(kMaxTokens * kWidth);
  constexpr std::size_t kNumBlocks = 40;
  std::vector<std::uint16_t> keys(kNumBlocks * 64 * 16);
  std::vector<std::uint16_t> values(keys.size());
  const KvLayerView cache = {keys.data(), values.data(), 64 * 16, 32 * 16, 16};
  std::vector<std::int32_t> blocks(kNumBlocks);
  for (std::size_t i = 0; i < kNumBlocks; ++i)
    blocks[i] = static_cast<std::int32_t>(i);
  const std::vector<std::int32_t> ids(kMaxTokens, 5);

  const std::size_t before = num_allocations.load();
  for (std::size_t rows : {std::size_t{1}, std::size_t{5}, kMaxTokens}) {
    const MatrixView result = {out.data(), rows, kWidth, kWidth};
    const ConstMatrixView x = {input.data(), rows, kWidth, kWidth};
    const LinearOutput output = {.weight = weight.get(), .out = result};
    const SequenceRows sequence = {0, rows, 500, blocks.data()};
    const ConstMatrixView kv = {input.data(), rows, 64, kWidth};
    device->embed(*weight, {ids.data(), rows}, result);
    device->rms_norm(x, input.data(), 1e-5f, result);
    device->linear(x, {&output, 1});
    device->store_kv(kv, kv, {&sequence, 1}, kHeads, cache);
    device->attention(x, {&sequence, 1}, {.heads = kHeads}, cache, result);
    device->gated_activation(Activation::kSilu, x, x, result);
  }
  EXPECT_EQ(num_allocations.load(), before);
}

TEST(AllocationTest, TheCounterCounts) {
  const std::size_t before = num_allocations.load();
  const std::vector<int> values(10);
  EXPECT_GT(num_allocations.load(), before);
}

}  // namespace
}  // namespace hearth

#endif
