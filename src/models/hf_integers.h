// Matrices of whole numbers with a scale, and perhaps a zero point, for each group of inputs:
// weight [row, input] = scale * (number - zero point). Internal to hf_quantization.
#pragma once

#include <cstdint>
#include <vector>

#include "models/hf_matrix.h"

namespace hearth {

// How the numbers lie, each word of 32 bits holding 32 / bits of them.
enum class HfOrder : std::uint8_t {
  kDown,         // [inputs / numbers per word, rows]: neighbours are inputs, the lowest first.
  kAcrossMixed,  // [inputs, rows / 8] of 4 bits: neighbours are rows 0, 2, 4, 6, 1, 3, 5, 7.
  kAlong,        // [rows, inputs / numbers per word], the lowest first.
};

struct HfIntegers {
  HfOrder order = HfOrder::kAlong;
  unsigned bits = 4;         // 2, 4 or 8
  std::size_t num_rows = 0;  // Outputs.
  std::size_t num_cols = 0;  // Inputs.
  const SafetensorsTensor* words = nullptr;
  std::uint32_t flipped = 0;  // Bits of a number that are stored the other way round.
  std::size_t num_groups = 0;
  std::vector<float> scales;              // [num_rows, num_groups]
  std::vector<std::int16_t> zeros;        // The same.
  std::vector<std::uint32_t> group_of{};  // Of each input; empty: neighbours share one.

  std::size_t group_len() const { return num_cols / num_groups; }
};

// Where in a word of kAcrossMixed row r % 8 has its number.
std::size_t hf_mixed_place(std::size_t row);

// Reads `group_of` where there is such a tensor: files may have sorted the inputs by importance
// before they made groups of them.
Status read_group_order(const HfParts& parts, std::string_view suffix, HfIntegers& integers);

// In the block format that holds it, or else in F16.
HfMatrix matrix_of(HfIntegers integers);

// "weight" I8 [rows, inputs] with signed numbers and a scale per row.
Result<HfMatrix> signed_bytes_matrix(const HfParts& parts, std::vector<float> scales);

}  // namespace hearth
