// bitsandbytes: NF4 in blocks over the matrix as one row, and 8-bit integers with a scale per row.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "models/hf_integers.h"
#include "models/hf_matrix.h"
#include "tensor/nibbles.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

constexpr std::string_view kStateSuffix = ".weight.quant_state.bitsandbytes__nf4";
constexpr std::size_t kMaxStateBytes = 4096;

struct Nf4 {
  const SafetensorsTensor* numbers = nullptr;
  std::size_t num_cols = 0;
  std::size_t block_len = 0;  // A multiple of BlockNF4's.
  std::vector<float> absmax;  // Of each block_len values.
};

Status wrong_state(const SafetensorsTensor& state, std::string_view what) {
  return make_status(StatusCode::kUnimplemented,
                     "tensor '{}': {}; supported is what bitsandbytes writes for nf4", state.name,
                     what);
}

Result<Shape> shape_in(const HfObject& state, const SafetensorsTensor& tensor) {
  HEARTH_ASSIGN_OR_RETURN(const auto sizes, state.sizes("shape"));
  if (sizes.size() == 2) return matrix_shape(sizes[0], sizes[1]);
  return std::unexpected(wrong_state(tensor, "'shape' is not that of a matrix"));
}

// Levels other than the format's would make other numbers.
Status check_levels(const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const auto levels, parts.numbers(".weight.quant_map"));
  const auto same = [](float a, float b) { return std::abs(a - b) < 1e-6f; };
  if (std::ranges::equal(levels, kNF4Levels, same)) return {};
  return wrong_state(*parts.find(".weight.quant_map"), "these levels are not those of nf4");
}

// Scales that are stored as numbers of a table, themselves scaled, around a mean.
Result<std::vector<float>> nested_absmax(const HfParts& parts, const HfObject& state) {
  HEARTH_ASSIGN_OR_RETURN(const auto* numbers, parts.get(".weight.absmax", "U8"));
  HEARTH_ASSIGN_OR_RETURN(const auto table, parts.numbers(".weight.nested_quant_map"));
  HEARTH_ASSIGN_OR_RETURN(const auto scales, parts.numbers(".weight.nested_absmax"));
  HEARTH_ASSIGN_OR_RETURN(const auto block_len, state.size("nested_blocksize"));
  HEARTH_ASSIGN_OR_RETURN(const auto offset, state.number("nested_offset"));
  if (!offset) {
    return error(StatusCode::kDataLoss, "{}: key 'nested_offset' is missing", state.file());
  }
  const std::size_t count = numbers->data.size();
  const std::size_t len = block_len.value_or(256);
  if (table.size() != 256 || scales.size() != (count + len - 1) / len) {
    return wrong_part_shape(*parts.find(".weight.nested_absmax"),
                            fmt::format("[{}]", (count + len - 1) / len));
  }
  std::vector<float> absmax(count);
  for (std::size_t i = 0; i < count; ++i) {
    const float number = table[std::to_integer<std::size_t>(numbers->data[i])];
    absmax[i] = number * scales[i / len] + static_cast<float>(*offset);
  }
  return absmax;
}

Result<json::Value> read_state(const SafetensorsTensor& tensor) {
  const std::string_view text(reinterpret_cast<const char*>(tensor.data.data()),
                              tensor.data.size());
  return parse_model_json(text, kMaxStateBytes, tensor.name);
}

// Neighbours share a byte there, the first in its high half.
void set_numbers(const std::byte* neighbours, std::uint8_t* qs) {
  std::array<std::uint8_t, 32> numbers{};
  for (std::size_t i = 0; i < numbers.size(); i += 2) {
    const auto byte = std::to_integer<std::uint8_t>(neighbours[i / 2]);
    numbers[i] = byte >> 4;
    numbers[i + 1] = byte & 15;
  }
  pack_nibbles(numbers, qs);
}

void write_nf4(const Nf4& m, HfRows rows, std::span<std::byte> out) {
  const std::size_t first = rows.first * m.num_cols / BlockNF4::kLen;
  for (std::size_t b = 0; b < rows.count * m.num_cols / BlockNF4::kLen; ++b) {
    const std::size_t value = (first + b) * BlockNF4::kLen;
    BlockNF4 block;
    block.absmax = m.absmax[value / m.block_len];
    for (const std::size_t half : {std::size_t{0}, std::size_t{16}})
      set_numbers(m.numbers->data.data() + value / 2 + half, block.qs + half);
    std::memcpy(out.data() + b * sizeof(block), &block, sizeof(block));
  }
}

Result<HfMatrix> nf4_matrix(const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const auto* tensor, parts.get(kStateSuffix, "U8"));
  HEARTH_ASSIGN_OR_RETURN(const json::Value value, read_state(*tensor));
  if (value.as_object() == nullptr) {
    return std::unexpected(wrong_state(*tensor, "holds no object"));
  }
  const HfObject state(*value.as_object(), tensor->name);
  HEARTH_ASSIGN_OR_RETURN(const Shape shape, shape_in(state, *tensor));
  HEARTH_ASSIGN_OR_RETURN(const auto block_len, state.required_size("blocksize"));
  HEARTH_RETURN_IF_ERROR(check_levels(parts));
  auto m = std::make_shared<Nf4>();
  m->num_cols = shape.dims[1];
  m->block_len = block_len;
  HEARTH_ASSIGN_OR_RETURN(m->numbers, parts.get(".weight", "U8"));
  if (block_len % BlockNF4::kLen != 0 || m->num_cols % BlockNF4::kLen != 0) {
    return std::unexpected(wrong_state(
        *tensor, fmt::format("blocks of {} values in rows of {}", block_len, m->num_cols)));
  }
  if (m->numbers->data.size() != shape.num_elements() / 2) {
    return wrong_part_shape(*m->numbers, fmt::format("[{}, 1]", shape.num_elements() / 2));
  }
  const bool nested = parts.find(".weight.nested_absmax") != nullptr;
  HEARTH_ASSIGN_OR_RETURN(m->absmax,
                          nested ? nested_absmax(parts, state) : parts.numbers(".weight.absmax"));
  const std::size_t num_blocks = (shape.num_elements() + block_len - 1) / block_len;
  if (m->absmax.size() != num_blocks) {
    return wrong_part_shape(*parts.find(".weight.absmax"), fmt::format("[{}]", num_blocks));
  }
  return HfMatrix{
      .dtype = DType::kNF4, .shape = shape, .write = [m](HfRows rows, std::span<std::byte> out) {
        write_nf4(*m, rows, out);
      }};
}

// Other numbers than 0 stand for the orders in which some GPUs used to multiply.
Status check_row_order(const HfParts& parts) {
  constexpr std::string_view kSuffix = ".weight_format";
  if (parts.find(kSuffix) == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto* format, parts.get(kSuffix, "U8"));
  if (format->data.size() == 1 && format->data.front() == std::byte{0}) return {};
  return make_status(StatusCode::kUnimplemented,
                     "tensor '{}' is not the one number 0, which stands for rows; other orders of "
                     "8-bit integers are not supported",
                     format->name);
}

// A row's largest magnitude is stored, of which the numbers are 127ths.
Result<HfMatrix> int8_matrix(const HfParts& parts) {
  HEARTH_RETURN_IF_ERROR(check_row_order(parts));
  HEARTH_ASSIGN_OR_RETURN(std::vector<float> scales, parts.numbers(".SCB"));
  for (float& scale : scales)
    scale /= 127.0f;
  return signed_bytes_matrix(parts, std::move(scales));
}

}  // namespace

Result<HfMatrix> bitsandbytes_matrix(const HfObject& config, const HfParts& parts) {
  if (parts.find(".SCB") != nullptr) return int8_matrix(parts);
  if (parts.find(kStateSuffix) != nullptr) return nf4_matrix(parts);
  return error(
      StatusCode::kUnimplemented,
      "{}: '{}' is quantized by bitsandbytes in another format than nf4 and int8, which are "
      "supported",
      config.file(), parts.module());
}

}  // namespace hearth
