#include "models/hf_expert_tensors.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "base/thread_pool.h"
#include "models/hf_made_tensors.h"
#include "tensor/nibbles.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

constexpr std::size_t kPackedBytes = sizeof(BlockMXFP4::qs);

// Where the rows of a layer's gate and up, which take turns, belong: all of gate before all of up.
std::size_t paired_place(std::size_t row, std::size_t num_rows) {
  return row % 2 * (num_rows / 2) + row / 2;
}

Status transpose_experts(bool paired, std::string_view name, TensorView& tensor,
                         ModelFileContent& content) {
  Shape& shape = tensor.shape;
  if (shape.rank != 3 || (paired && shape.dims[2] % 2 != 0)) {
    return wrong_shape(name, shape,
                       fmt::format("[experts, in_features, {}out_features]", paired ? "2 * " : ""));
  }
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(tensor.data.size()));
  const std::size_t expert_bytes = tensor.data.size() / shape.dims[0];
  const std::size_t turns = paired ? 2 : 1;
  const std::size_t part_bytes = expert_bytes / turns;
  const std::size_t size = dtype_info(tensor.dtype).block_bytes;
  for (std::size_t part = 0; part < shape.dims[0] * turns; ++part) {
    const std::size_t expert = part / turns;
    transpose_into({.data = tensor.data.data() + expert * expert_bytes + part % turns * size,
                    .rows = shape.dims[1],
                    .cols = shape.dims[2] / turns,
                    .row_step = shape.dims[2],
                    .col_step = turns,
                    .size = size},
                   copy.data() + part * part_bytes);
  }
  std::swap(shape.dims[1], shape.dims[2]);
  tensor.data = copy;
  return {};
}

Status pair_values(std::string_view name, TensorView& tensor, ModelFileContent& content) {
  const Shape& shape = tensor.shape;
  if (shape.rank != 2 || shape.dims[1] % 2 != 0) {
    return wrong_shape(name, shape, "[experts, 2 * out_features]");
  }
  HEARTH_ASSIGN_OR_RETURN(const auto copy, content.allocate(tensor.data.size()));
  const std::size_t size = dtype_info(tensor.dtype).block_bytes;
  for (std::size_t i = 0; i < shape.num_elements(); ++i) {
    const std::size_t first = i / shape.dims[1] * shape.dims[1];
    const std::size_t place = first + paired_place(i - first, shape.dims[1]);
    std::memcpy(copy.data() + place * size, tensor.data.data() + i * size, size);
  }
  tensor.data = copy;
  return {};
}

// Neighbours share a byte there, the first in its low half.
BlockMXFP4 make_block(std::span<const std::byte, kPackedBytes> packed, std::byte scale) {
  std::array<std::uint8_t, BlockMXFP4::kLen> numbers{};
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = std::to_integer<unsigned>(packed[i / 2]) >> (i % 2 * 4) & 15U;
  BlockMXFP4 block = {.e = std::to_integer<std::uint8_t>(scale), .qs = {}};
  pack_nibbles(numbers, block.qs);
  return block;
}

Status check_mxfp4(bool paired, const SafetensorsTensor& blocks, const SafetensorsTensor& scales) {
  for (const SafetensorsTensor* tensor : {&blocks, &scales}) {
    if (tensor->type == "U8" && !tensor->data.empty()) continue;
    return make_status(StatusCode::kDataLoss,
                       "tensor '{}' of MXFP4 weights has dtype {} and {} bytes; expected U8 and "
                       "some",
                       tensor->name, tensor->type, tensor->data.size());
  }
  const Shape& shape = blocks.shape;
  if (shape.rank != 4 || shape.dims[3] != kPackedBytes || (paired && shape.dims[1] % 2 != 0)) {
    return wrong_shape(
        blocks.name, shape,
        fmt::format("[experts, {}out_features, groups, {}]", paired ? "2 * " : "", kPackedBytes));
  }
  Shape wanted = shape;
  wanted.rank = 3;
  wanted.dims[3] = 1;
  if (scales.shape == wanted) return {};
  return wrong_shape(scales.name, scales.shape, wanted.to_string());
}

}  // namespace

Status arrange_experts(HfTransform transform, std::string_view name, TensorView& tensor,
                       ModelFileContent& content) {
  if (transform == HfTransform::kPairedValues) return pair_values(name, tensor, content);
  return transpose_experts(transform == HfTransform::kPairedColumns, name, tensor, content);
}

Result<TensorView> join_mxfp4(HfTransform transform, const SafetensorsTensor& blocks,
                              const SafetensorsTensor& scales, ModelFileContent& content) {
  const bool paired = transform == HfTransform::kPairedMxfp4;
  HEARTH_RETURN_IF_ERROR(check_mxfp4(paired, blocks, scales));
  const std::size_t num_rows = blocks.shape.dims[1];
  const std::size_t num_groups = blocks.shape.dims[2];
  HEARTH_ASSIGN_OR_RETURN(const auto copy,
                          content.allocate(scales.data.size() * sizeof(BlockMXFP4)));
  ThreadPool threads(ThreadPool::available_cpus());
  threads.run(scales.data.size() / num_groups, [&](std::size_t task, std::size_t) {
    const std::size_t row = task % num_rows;
    const std::size_t place = task - row + (paired ? paired_place(row, num_rows) : row);
    for (std::size_t group = 0; group < num_groups; ++group) {
      const std::size_t from = task * num_groups + group;
      const BlockMXFP4 block = make_block(
          blocks.data.subspan(from * kPackedBytes).first<kPackedBytes>(), scales.data[from]);
      std::memcpy(copy.data() + (place * num_groups + group) * sizeof(block), &block,
                  sizeof(block));
    }
  });
  TensorView tensor = {.name = {}, .dtype = DType::kMXFP4, .shape = scales.shape, .data = copy};
  tensor.shape.dims[2] *= BlockMXFP4::kLen;
  return tensor;
}

}  // namespace hearth
