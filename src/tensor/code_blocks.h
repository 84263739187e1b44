// The blocks of the IQ1, IQ2 and IQ3 formats, taken apart: what dequantizing and packing share.
// Thread-safe; nothing is kept between calls.
#pragma once

#include <cstdint>

#include "tensor/quant_blocks.h"

namespace hearth {

// Writes Block::kLen codes and Block::kLen / Block::kGroupLen scales, such that value i is
//   d * Block::kUnit * scales[i / Block::kGroupLen] * Block::kLevels[codes[i]]
// d being code_block_scale(block). Any bytes are a valid block; all scales are odd.
void unpack_codes(const BlockIQ1_S& block, std::uint8_t* codes, std::uint8_t* scales);
void unpack_codes(const BlockIQ1_M& block, std::uint8_t* codes, std::uint8_t* scales);
void unpack_codes(const BlockIQ2_XXS& block, std::uint8_t* codes, std::uint8_t* scales);
void unpack_codes(const BlockIQ2_XS& block, std::uint8_t* codes, std::uint8_t* scales);
void unpack_codes(const BlockIQ2_S& block, std::uint8_t* codes, std::uint8_t* scales);
void unpack_codes(const BlockIQ3_XXS& block, std::uint8_t* codes, std::uint8_t* scales);
void unpack_codes(const BlockIQ3_S& block, std::uint8_t* codes, std::uint8_t* scales);

// The 256 numbers from 0 to 3 of a ternary block (quantizers write no 3).
void unpack_ternary(const BlockTQ1_0& block, std::uint8_t* numbers);
void unpack_ternary(const BlockTQ2_0& block, std::uint8_t* numbers);

// The float16 that scales a block.
template <typename Block>
std::uint16_t code_block_scale(const Block& block) {
  return block.d;
}

// IQ1_M keeps four bits of it in each of four words, above the scales.
inline std::uint16_t code_block_scale(const BlockIQ1_M& block) {
  unsigned bits = 0;
  for (unsigned i = 0; i < 4; ++i)
    bits |= unsigned{block.scales[i]} >> 12 << (4 * i);
  return static_cast<std::uint16_t>(bits);
}

}  // namespace hearth
