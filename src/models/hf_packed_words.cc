// GPTQ and AWQ: numbers in words, inputs by outputs.
#include <fmt/format.h>

#include <utility>

#include "models/hf_integers.h"
#include "models/hf_matrix.h"

namespace hearth {
namespace {

Result<unsigned> bits_of(const HfObject& config, const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const auto bits, config.size("bits"));
  const std::uint32_t found = bits.value_or(4);
  if (found == 2 || found == 4 || found == 8) return found;
  return error(StatusCode::kUnimplemented, "'{}' has numbers of {} bits; 2, 4 and 8 are supported",
               parts.module(), found);
}

// The key 'dynamic' gives some modules bits of their own, which the width of zero points shows.
Result<unsigned> module_bits(const HfObject& config, const HfParts& parts) {
  const SafetensorsTensor* zeros = parts.find(".qzeros");
  const SafetensorsTensor* scales = parts.find(".scales");
  if (config.has("dynamic") && zeros != nullptr && scales != nullptr) {
    for (const unsigned bits : {2U, 4U, 8U})
      if (zeros->shape.dims[1] * 32 == scales->shape.dims[1] * bits) return bits;
  }
  return bits_of(config, parts);
}

struct Grid {
  const SafetensorsTensor* words = nullptr;
  const SafetensorsTensor* zeros = nullptr;
  HfIntegers integers;
};

// The tensors and their sizes; the words' own follow from the order.
Result<Grid> read_grid(const HfParts& parts, unsigned bits, HfOrder order) {
  Grid grid;
  HEARTH_ASSIGN_OR_RETURN(grid.words, parts.get(".qweight", "I32"));
  HEARTH_ASSIGN_OR_RETURN(grid.zeros, parts.get(".qzeros", "I32"));
  HEARTH_ASSIGN_OR_RETURN(const std::vector<float> scales, parts.numbers(".scales"));
  const std::size_t per_word = 32 / bits;
  const Shape& words = grid.words->shape;
  const Shape& shape = parts.find(".scales")->shape;
  if (words.rank != 2) return wrong_part_shape(*grid.words, "a matrix of words");
  const bool down = order == HfOrder::kDown;
  const std::size_t cols = down ? words.dims[0] * per_word : words.dims[0];
  const std::size_t rows = down ? words.dims[1] : words.dims[1] * per_word;
  const std::size_t groups = shape.dims[0];
  if (shape.rank != 2 || shape.dims[1] != rows || groups == 0 || cols % groups != 0) {
    return wrong_part_shape(*parts.find(".scales"),
                            fmt::format("groups of {} inputs for {} outputs", cols, rows));
  }
  const Shape zeros = matrix_shape(groups, rows / per_word);
  if (rows % per_word != 0 || grid.zeros->shape != zeros) {
    return wrong_part_shape(*grid.zeros, zeros.to_string());
  }
  grid.integers = {.order = order,
                   .bits = bits,
                   .num_rows = rows,
                   .num_cols = cols,
                   .words = grid.words,
                   .num_groups = groups,
                   .scales = std::vector<float>(scales.size()),
                   .zeros = std::vector<std::int16_t>(scales.size())};
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t group = 0; group < groups; ++group)
      grid.integers.scales[row * groups + group] = scales[group * rows + row];
  return grid;
}

// `place` tells where in its word a row's zero point is; `missing` is what files leave out of it.
// They take it from whole words, so that a zero point of 0 borrows from its neighbour.
template <typename Place>
void read_zeros(Grid& grid, std::uint32_t missing, Place place) {
  HfIntegers& m = grid.integers;
  const std::size_t per_word = 32 / m.bits;
  const std::uint32_t mask = (1U << m.bits) - 1U;
  const std::uint32_t added = ~0U / mask * missing;
  for (std::size_t row = 0; row < m.num_rows; ++row) {
    for (std::size_t group = 0; group < m.num_groups; ++group) {
      const std::uint32_t word =
          load_word(*grid.zeros, group * (m.num_rows / per_word) + row / per_word) + added;
      m.zeros[row * m.num_groups + group] =
          static_cast<std::int16_t>((word >> (place(row % per_word) * m.bits)) & mask);
    }
  }
}

// What the first version of the format leaves out of every zero point.
Result<std::uint32_t> missing_in_zeros(const HfObject& config) {
  HEARTH_ASSIGN_OR_RETURN(auto format, config.text("checkpoint_format"));
  if (!format) {
    HEARTH_ASSIGN_OR_RETURN(format, config.text("format"));
  }
  if (!format || *format == "gptq") return 1;
  if (*format == "gptq_v2") return 0;
  return error(StatusCode::kUnimplemented,
               "{}: checkpoint format '{}' of GPTQ is not supported; gptq and gptq_v2 are",
               config.file(), *format);
}

}  // namespace

Result<HfMatrix> gptq_matrix(const HfObject& config, const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t missing, missing_in_zeros(config));
  HEARTH_ASSIGN_OR_RETURN(const unsigned bits, module_bits(config, parts));
  HEARTH_ASSIGN_OR_RETURN(Grid grid, read_grid(parts, bits, HfOrder::kDown));
  read_zeros(grid, missing, [](std::size_t i) { return i; });
  HEARTH_RETURN_IF_ERROR(read_group_order(parts, ".g_idx", grid.integers));
  return matrix_of(std::move(grid.integers));
}

Result<HfMatrix> awq_matrix(const HfObject& config, const HfParts& parts) {
  HEARTH_ASSIGN_OR_RETURN(const auto version, config.text("version"));
  HEARTH_ASSIGN_OR_RETURN(const unsigned bits, bits_of(config, parts));
  if (bits != 4 || (version && *version != "gemm" && *version != "GEMM")) {
    return error(StatusCode::kUnimplemented,
                 "{}: {} bits of AWQ's version '{}' are not supported; 4 bits of 'gemm' are",
                 config.file(), bits, version.value_or("gemm"));
  }
  HEARTH_ASSIGN_OR_RETURN(Grid grid, read_grid(parts, bits, HfOrder::kAcrossMixed));
  read_zeros(grid, 0, hf_mixed_place);
  return matrix_of(std::move(grid.integers));
}

}  // namespace hearth
