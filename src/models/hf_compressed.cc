// compressed-tensors: integers of 4 and 8 bits, packed or not, and 8-bit floats.
#include <fmt/format.h>

#include <utility>

#include "models/hf_float8.h"
#include "models/hf_integers.h"
#include "models/hf_matrix.h"

namespace hearth {
namespace {

// The inputs of a packed matrix, whose last word may be filled up.
Result<std::size_t> num_inputs(const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const auto* shape, parts.get(".weight_shape", "I64"));
  if (shape->shape.num_elements() != 2) return wrong_part_shape(*shape, "[2]");
  const std::uint32_t inputs = load_word(*shape, 2);
  if (inputs == 0 || load_word(*shape, 3) != 0) {
    return error(StatusCode::kDataLoss, "tensor '{}' tells no number of inputs", shape->name);
  }
  return inputs;
}

Result<unsigned> bits_of(const SafetensorsTensor& words, std::size_t inputs) {
  const bool is_matrix = words.shape.rank == 2 && words.shape.num_elements() > 0;
  for (const unsigned bits : {4U, 8U})
    if (is_matrix && inputs % (32 / bits) == 0 && words.shape.dims[1] == inputs * bits / 32)
      return bits;
  return error(StatusCode::kUnimplemented,
               "tensor '{}' has shape {} for {} inputs; whole words of 4 or 8 bits are supported",
               words.name, words.shape.to_string(), inputs);
}

// Packed along the outputs. Zero points are signed like the numbers, and packed with the same
// offset.
Status read_zeros(const HfParts& parts, HfIntegers& m) {
  m.zeros.assign(m.scales.size(), static_cast<std::int16_t>(1U << (m.bits - 1)));
  if (parts.find(".weight_zero_point") == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto* packed, parts.get(".weight_zero_point", "I32"));
  const std::size_t per_word = 32 / m.bits;
  const Shape wanted = matrix_shape((m.num_rows + per_word - 1) / per_word, m.num_groups);
  if (packed->shape != wanted) return wrong_part_shape(*packed, wanted.to_string()).error();
  const std::uint32_t mask = (1U << m.bits) - 1U;
  for (std::size_t row = 0; row < m.num_rows; ++row) {
    for (std::size_t group = 0; group < m.num_groups; ++group) {
      const std::uint32_t word = load_word(*packed, row / per_word * m.num_groups + group);
      m.zeros[row * m.num_groups + group] =
          static_cast<std::int16_t>((word >> (row % per_word * m.bits)) & mask);
    }
  }
  return {};
}

Result<HfMatrix> packed_matrix(const HfParts& parts) {
  HfIntegers m;
  HEARTH_ASSIGN_OR_RETURN(m.words, parts.get(".weight_packed", "I32"));
  HEARTH_ASSIGN_OR_RETURN(m.num_cols, num_inputs(parts));
  HEARTH_ASSIGN_OR_RETURN(m.bits, bits_of(*m.words, m.num_cols));
  HEARTH_ASSIGN_OR_RETURN(m.scales, parts.numbers(".weight_scale"));
  m.num_rows = m.words->shape.dims[0];
  const SafetensorsTensor& scales = *parts.find(".weight_scale");
  m.num_groups = m.scales.size() / m.num_rows;
  if (m.num_groups == 0 || scales.shape.dims[0] != m.num_rows ||
      m.num_groups * m.num_rows != m.scales.size() || m.num_cols % m.num_groups != 0) {
    return wrong_part_shape(
        scales, fmt::format("groups of {} inputs for {} outputs", m.num_cols, m.num_rows));
  }
  HEARTH_RETURN_IF_ERROR(read_zeros(parts, m));
  HEARTH_RETURN_IF_ERROR(read_group_order(parts, ".weight_g_idx", m));
  return matrix_of(std::move(m));
}

Result<HfMatrix> bytes_matrix(const HfParts& parts) {
  if (parts.find(".weight_zero_point") != nullptr) {
    return error(StatusCode::kUnimplemented,
                 "tensor '{}': zero points of 8-bit integers are not supported",
                 parts.name(".weight_zero_point"));
  }
  HEARTH_ASSIGN_OR_RETURN(std::vector<float> scales, parts.numbers(".weight_scale"));
  HEARTH_ASSIGN_OR_RETURN(const auto* numbers, parts.get(".weight", "I8"));
  // Rows without a value cost no bytes, but their scales would.
  if (numbers->data.empty()) return wrong_part_shape(*numbers, "a matrix");
  if (scales.size() == 1) scales.assign(numbers->shape.dims[0], scales.front());
  return signed_bytes_matrix(parts, std::move(scales));
}

// Of the groups of matrices that config.json describes, which must agree. {} where none has tiles.
Result<HfTile> tile_of(const HfObject& config) {
  HfTile tile;
  HEARTH_ASSIGN_OR_RETURN(const auto groups, config.object("config_groups"));
  if (!groups) return tile;
  for (const HfObject& group : groups->objects()) {
    HEARTH_ASSIGN_OR_RETURN(const auto weights, group.object("weights"));
    if (!weights) continue;
    HEARTH_ASSIGN_OR_RETURN(const auto sizes, weights->sizes("block_structure"));
    if (sizes.size() != 2) continue;
    if (tile.rows != 0 && (tile.rows != sizes[0] || tile.cols != sizes[1])) {
      return error(StatusCode::kUnimplemented,
                   "{}: 'block_structure' is [{}, {}] and [{}, {}]; one for all is supported",
                   config.file(), tile.rows, tile.cols, sizes[0], sizes[1]);
    }
    tile = {sizes[0], sizes[1]};
  }
  return tile;
}

// Rotations that the class does while it runs, so that the weights alone are another model.
Status refuse_transforms(const HfObject& config) {
  HEARTH_ASSIGN_OR_RETURN(const auto transforms, config.object("transform_config"));
  if (!transforms) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto groups, transforms->object("config_groups"));
  if (!groups || groups->is_empty()) return {};
  return make_status(StatusCode::kUnimplemented,
                     "{}: 'transform_config' of compressed-tensors is not supported",
                     config.file());
}

}  // namespace

Result<HfMatrix> compressed_matrix(const HfObject& config, const HfParts& parts) {
  HEARTH_RETURN_IF_ERROR(refuse_transforms(config));
  const SafetensorsTensor* plain = parts.find(".weight");
  if (plain == nullptr && parts.find(".weight_global_scale") == nullptr) {
    return packed_matrix(parts);
  }
  if (plain != nullptr && plain->type == "I8") return bytes_matrix(parts);
  if (plain != nullptr && plain->type == "F8_E4M3") {
    HEARTH_ASSIGN_OR_RETURN(const HfTile tile, tile_of(config));
    return float8_matrix(parts, ".weight_scale", tile);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto format, config.text("format"));
  return error(
      StatusCode::kUnimplemented,
      "{}: '{}' is stored in compressed-tensors' format '{}'; integers of 4 and 8 bits and "
      "8-bit floats are supported",
      config.file(), parts.module(), format.value_or("unnamed"));
}

}  // namespace hearth
