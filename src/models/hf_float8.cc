#include "models/hf_float8.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "tensor/float16.h"

namespace hearth {
namespace {

// One sign, four exponent bits around 7, three of fraction; no infinities, and all bits set but the
// sign's is no number.
constexpr float float8_value(unsigned byte) {
  const unsigned exponent = byte >> 3 & 15U;
  const unsigned fraction = byte & 7U;
  if (exponent == 15 && fraction == 7) return std::numeric_limits<float>::quiet_NaN();
  float value = exponent == 0 ? static_cast<float>(fraction) / 512.0f
                              : static_cast<float>(8 + fraction) / 1024.0f;
  for (unsigned i = 0; exponent != 0 && i < exponent; ++i)
    value *= 2.0f;
  return (byte & 0x80U) != 0 ? -value : value;
}

constexpr std::array<float, 256> kFloat8 = [] {
  std::array<float, 256> values{};
  for (unsigned i = 0; i < values.size(); ++i)
    values[i] = float8_value(i);
  return values;
}();

struct Float8 {
  const SafetensorsTensor* numbers = nullptr;
  HfTile tile;
  std::size_t tiles_across = 0;
  std::vector<float> scales;  // [tiles down, tiles_across]
};

// Rounded to bfloat16, which has the range of the product and more digits than the number.
void write_bf16(const Float8& m, HfRows rows, std::span<std::byte> out) {
  const std::size_t cols = m.numbers->shape.dims[1];
  for (std::size_t r = 0; r < rows.count; ++r) {
    const std::size_t row = rows.first + r;
    const float* scales = m.scales.data() + row / m.tile.rows * m.tiles_across;
    const std::byte* numbers = m.numbers->data.data() + row * cols;
    for (std::size_t i = 0; i < cols; ++i) {
      const float value = kFloat8[std::to_integer<std::size_t>(numbers[i])];
      const std::uint16_t bits = f32_to_bf16(value * scales[i / m.tile.cols]);
      std::memcpy(out.data() + (r * cols + i) * sizeof(bits), &bits, sizeof(bits));
    }
  }
}

std::size_t tiles(std::size_t length, std::size_t tile) {
  return (length + tile - 1) / tile;
}

}  // namespace

Result<HfMatrix> float8_matrix(const HfParts& parts, std::string_view scales, HfTile tile) {
  auto m = std::make_shared<Float8>();
  HEARTH_ASSIGN_OR_RETURN(m->numbers, parts.get(".weight", "F8_E4M3"));
  HEARTH_ASSIGN_OR_RETURN(m->scales, parts.numbers(scales));
  const Shape& shape = m->numbers->shape;
  if (shape.rank != 2 || shape.num_elements() == 0)
    return wrong_part_shape(*m->numbers, "a matrix");
  const std::size_t rows = shape.dims[0];
  const std::size_t cols = shape.dims[1];
  if (m->scales.size() == 1) {
    tile = {rows, cols};
  } else if (m->scales.size() == rows && parts.find(scales)->shape.dims[0] == rows) {
    tile = {1, cols};
  }
  if (tile.rows == 0 || m->scales.size() != tiles(rows, tile.rows) * tiles(cols, tile.cols)) {
    return wrong_part_shape(
        *parts.find(scales),
        fmt::format("scales for {} in tiles of [{}, {}]", shape.to_string(), tile.rows, tile.cols));
  }
  m->tile = tile;
  m->tiles_across = tiles(cols, tile.cols);
  return HfMatrix{
      .dtype = DType::kBF16, .shape = shape, .write = [m](HfRows part, std::span<std::byte> out) {
        write_bf16(*m, part, out);
      }};
}

Result<HfMatrix> fp8_matrix(const HfObject& config, const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const auto format, config.text("fmt"));
  if (format && *format != "e4m3" && *format != "float8_e4m3fn") {
    return error(StatusCode::kUnimplemented,
                 "{}: 8-bit floats of kind '{}' are not supported; e4m3 is", config.file(),
                 *format);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto sizes, config.sizes("weight_block_size"));
  const HfTile tile = sizes.size() == 2 ? HfTile{sizes[0], sizes[1]} : HfTile();
  const bool inverse = parts.find(".weight_scale_inv") != nullptr;
  return float8_matrix(parts, inverse ? ".weight_scale_inv" : ".weight_scale", tile);
}

}  // namespace hearth
