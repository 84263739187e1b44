#include <gtest/gtest.h>

#include <vector>

#include "kernels/kernel_test_util.h"
#include "tests/support/allocation_counter.h"

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
  const KvLayerView cache = {.k = reinterpret_cast<std::byte*>(keys.data()),
                             .v = reinterpret_cast<std::byte*>(values.data()),
                             .block_stride = 2 * 64 * 16,
                             .head_stride = 2 * 32 * 16,
                             .value_block_stride = 2 * 64 * 16,
                             .value_head_stride = 2 * 32 * 16,
                             .block_size = 16,
                             .region_blocks = kNumBlocks};
  std::vector<std::int32_t> blocks(kNumBlocks);
  for (std::size_t i = 0; i < kNumBlocks; ++i)
    blocks[i] = static_cast<std::int32_t>(i);
  const std::vector<std::int32_t> ids(kMaxTokens, 5);
  const std::vector<std::int32_t> first_row(kMaxTokens, 0);
  std::vector<std::int32_t> experts(kMaxTokens);

  const std::size_t before = test::total_allocations();
  for (std::size_t rows : {std::size_t{1}, std::size_t{5}, kMaxTokens}) {
    const MatrixView result = {out.data(), rows, kWidth, kWidth};
    const ConstMatrixView x = {input.data(), rows, kWidth, kWidth};
    const LinearOutput output = {.weight = weight.get(), .out = result};
    const SequenceRows sequence = {0, rows, 500, blocks.data()};
    const ConstMatrixView kv = {input.data(), rows, 64, kWidth};
    device->embed(*weight, {ids.data(), rows}, result);
    device->norm(x, {.gain = input.data(), .bias = nullptr, .epsilon = 1e-5f}, result);
    device->norm(x, {.gain = input.data(), .bias = input.data(), .epsilon = 1e-5f}, result);
    device->scale(result, 2.0f);
    device->add_scaled(x, 0.5f, result);
    device->softcap(result, 30.0f);
    device->activate(Activation::kGelu, result);
    device->gather_rows(x, {first_row.data(), rows}, result);
    device->choose_experts(result, {.num_used = 1}, {experts.data(), out.data()});
    device->add_weighted_rows(x, {1, first_row.data(), input.data()}, result);
    device->linear(x, {&output, 1});
    device->store_kv(kv, kv, {&sequence, 1}, kHeads, cache);
    device->attention(x, {&sequence, 1}, {.heads = kHeads}, cache, result);
    device->gated_activation(Activation::kSilu, x, x, result);
  }
  EXPECT_EQ(test::total_allocations(), before);
}

}  // namespace
}  // namespace hearth
