#include "models/hf_integers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "tensor/float16.h"
#include "tensor/nibbles.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

constexpr std::size_t kRun = 32;  // Inputs that are read together: a block of the formats here.

using Numbers = std::array<std::uint8_t, kRun>;

// Of a word that holds neighbouring inputs.
std::size_t word_at(const HfIntegers& m, std::size_t row, std::size_t idx) {
  if (m.order == HfOrder::kDown) return idx * m.num_rows + row;
  return row * (m.num_cols * m.bits / 32) + idx;
}

void load_neighbours(const HfIntegers& m, std::size_t row, std::size_t col,
                     std::span<std::uint8_t> out) {
  const std::size_t per_word = 32 / m.bits;
  const std::uint32_t mask = (1U << m.bits) - 1U;
  for (std::size_t i = 0; i < out.size(); i += per_word) {
    std::uint32_t word = load_word(*m.words, word_at(m, row, (col + i) / per_word));
    for (std::size_t k = 0; k < per_word; ++k, word >>= m.bits % 32)
      out[i + k] = static_cast<std::uint8_t>((word & mask) ^ m.flipped);
  }
}

void load_mixed(const HfIntegers& m, std::size_t row, std::size_t col,
                std::span<std::uint8_t> out) {
  const std::size_t stride = m.num_rows / 8;
  const std::size_t shift = hf_mixed_place(row) * 4;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint32_t word = load_word(*m.words, (col + i) * stride + row / 8);
    out[i] = static_cast<std::uint8_t>(word >> shift & 15U);
  }
}

// The numbers of up to 32 inputs from `col` on.
void load_numbers(const HfIntegers& m, std::size_t row, std::size_t col, Numbers& out) {
  const auto part = std::span(out).first(std::min(kRun, m.num_cols - col));
  m.order == HfOrder::kAcrossMixed ? load_mixed(m, row, col, part)
                                   : load_neighbours(m, row, col, part);
}

std::size_t group_at(const HfIntegers& m, std::size_t row, std::size_t col) {
  const std::size_t group = m.group_of.empty() ? col / m.group_len() : m.group_of[col];
  return row * m.num_groups + group;
}

void fill(const HfIntegers& m, std::size_t group, const Numbers& numbers, BlockQ4_0& block) {
  block.d = f32_to_f16(m.scales[group]);
  pack_nibbles(numbers, block.qs);
}

void fill(const HfIntegers& m, std::size_t group, const Numbers& numbers, BlockQ4_1& block) {
  block.d = f32_to_f16(m.scales[group]);
  block.m = f32_to_f16(-m.scales[group] * static_cast<float>(m.zeros[group]));
  pack_nibbles(numbers, block.qs);
}

void fill(const HfIntegers& m, std::size_t group, const Numbers& numbers, BlockQ8_0& block) {
  block.d = f32_to_f16(m.scales[group]);
  for (std::size_t i = 0; i < kRun; ++i)
    block.qs[i] = static_cast<std::int8_t>(numbers[i] - 128);
}

// Rows are read side by side, since in some orders they are neighbours in memory.
template <typename Block>
void write_blocks(const HfIntegers& m, HfRows rows, std::span<std::byte> out) {
  const std::size_t num_blocks = m.num_cols / Block::kLen;
  for (std::size_t b = 0; b < num_blocks; ++b) {
    for (std::size_t r = 0; r < rows.count; ++r) {
      Numbers numbers;
      load_numbers(m, rows.first + r, b * kRun, numbers);
      Block block;
      fill(m, group_at(m, rows.first + r, b * kRun), numbers, block);
      std::memcpy(out.data() + (r * num_blocks + b) * sizeof(Block), &block, sizeof(Block));
    }
  }
}

void write_f16(const HfIntegers& m, HfRows rows, std::span<std::byte> out) {
  for (std::size_t first = 0; first < m.num_cols; first += kRun) {
    for (std::size_t r = 0; r < rows.count; ++r) {
      Numbers numbers;
      load_numbers(m, rows.first + r, first, numbers);
      for (std::size_t i = 0; i < std::min(kRun, m.num_cols - first); ++i) {
        const std::size_t group = group_at(m, rows.first + r, first + i);
        const float value = m.scales[group] * static_cast<float>(numbers[i] - m.zeros[group]);
        const std::uint16_t half = f32_to_f16(value);
        std::memcpy(out.data() + (r * m.num_cols + first + i) * sizeof(half), &half, sizeof(half));
      }
    }
  }
}

using Write = void (*)(const HfIntegers&, HfRows, std::span<std::byte>);

struct Target {
  DType dtype = DType::kF16;
  Write write = write_f16;
};

Target target_of(const HfIntegers& m) {
  if (!m.group_of.empty() || m.group_len() % kRun != 0) return {};
  const auto all_zeros_are = [&m](std::int16_t value) {
    return std::ranges::all_of(m.zeros, [value](std::int16_t zero) { return zero == value; });
  };
  if (m.bits == 8 && all_zeros_are(128)) return {DType::kQ8_0, write_blocks<BlockQ8_0>};
  if (m.bits != 4) return {};
  if (all_zeros_are(8)) return {DType::kQ4_0, write_blocks<BlockQ4_0>};
  return {DType::kQ4_1, write_blocks<BlockQ4_1>};
}

}  // namespace

std::size_t hf_mixed_place(std::size_t row) {
  return row % 2 * 4 + row % 8 / 2;
}

Status read_group_order(const HfParts& parts, std::string_view suffix, HfIntegers& integers) {
  if (parts.find(suffix) == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, parts.get(suffix, "I32"));
  if (tensor->shape.rank != 1 || tensor->shape.dims[0] != integers.num_cols) {
    return wrong_part_shape(*tensor, fmt::format("[{}]", integers.num_cols)).error();
  }
  std::vector<std::uint32_t> groups(integers.num_cols);
  bool in_order = true;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    groups[i] = load_word(*tensor, i);
    if (groups[i] >= integers.num_groups) {
      return make_status(StatusCode::kDataLoss, "tensor '{}' names group {} of {}", tensor->name,
                         static_cast<std::int32_t>(groups[i]), integers.num_groups);
    }
    in_order = in_order && groups[i] == i / integers.group_len();
  }
  if (!in_order) integers.group_of = std::move(groups);
  return {};
}

HfMatrix matrix_of(HfIntegers integers) {
  const Target target = target_of(integers);
  const Shape shape = matrix_shape(integers.num_rows, integers.num_cols);
  const auto shared = std::make_shared<const HfIntegers>(std::move(integers));
  return {.dtype = target.dtype,
          .shape = shape,
          .write = [shared, write = target.write](HfRows rows, std::span<std::byte> out) {
            write(*shared, rows, out);
          }};
}

// Signed bytes are unsigned ones around 128 with their highest bit flipped.
Result<HfMatrix> signed_bytes_matrix(const HfParts& parts, std::vector<float> scales) {
  HEARTH_ASSIGN_OR_RETURN(const SafetensorsTensor* numbers, parts.get(".weight", "I8"));
  const Shape& shape = numbers->shape;
  if (shape.rank != 2 || shape.dims[1] % 4 != 0) {
    return wrong_part_shape(*numbers, "a matrix with a multiple of 4 columns");
  }
  if (scales.size() != shape.dims[0]) {
    return wrong_part_shape(*numbers, fmt::format("{} rows, as there are scales", scales.size()));
  }
  return matrix_of({.order = HfOrder::kAlong,
                    .bits = 8,
                    .num_rows = shape.dims[0],
                    .num_cols = shape.dims[1],
                    .words = numbers,
                    .flipped = 0x80,
                    .num_groups = 1,
                    .scales = std::move(scales),
                    .zeros = std::vector<std::int16_t>(shape.dims[0], 128)});
}

}  // namespace hearth
