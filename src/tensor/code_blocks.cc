#include "tensor/code_blocks.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include "tensor/code_books.h"

namespace hearth {
namespace {

// Eight codes, a byte each, the first lowest.
using Codes = std::uint64_t;
constexpr std::size_t kCodesLen = 8;
constexpr std::size_t kGroups = 8;
constexpr std::size_t kRowsPerGroup = 4;
static_assert(std::endian::native == std::endian::little);

void store(Codes codes, std::uint8_t* out) {
  std::memcpy(out, &codes, sizeof(codes));
}

// Bit i of eight to byte i.
constexpr Codes spread_bits(unsigned bits) {
  Codes x = bits & 0xffU;
  x = (x | x << 28) & 0x0000000f0000000f;
  x = (x | x << 14) & 0x0003000300030003;
  return (x | x << 7) & 0x0101010101010101;
}

// Eight numbers of two bits to a byte each.
constexpr Codes spread_pairs(std::uint16_t row) {
  Codes x = row;
  x = (x | x << 24) & 0x000000ff000000ff;
  x = (x | x << 12) & 0x000f000f000f000f;
  return (x | x << 6) & 0x0303030303030303;
}

// Two rows of four numbers of three bits.
constexpr Codes spread_triples(std::uint16_t first, std::uint16_t second) {
  Codes x = first | Codes{second} << 32;
  x = (x | x << 10) & 0x003f003f003f003f;
  return (x | x << 5) & 0x0707070707070707;
}

// Of eight signs seven are stored: the number of minuses is even.
constexpr unsigned complete_signs(unsigned seven) {
  return seven | static_cast<unsigned>(std::popcount(seven) & 1) << 7;
}

std::uint8_t odd_scale(unsigned stored) {
  return static_cast<std::uint8_t>(2 * stored + 1);
}

// Two four-bit scales of 16 values each.
void unpack_scale_pair(std::uint8_t pair, std::uint8_t* scales) {
  scales[0] = odd_scale(pair & 15U);
  scales[1] = odd_scale(unsigned{pair} >> 4);
}

// IQ2_XXS and IQ3_XXS: four times seven signs and a four-bit scale in a word.
unsigned signs_of(std::uint32_t word, std::size_t row) {
  return complete_signs((word >> (7 * row)) & 127U);
}

std::uint32_t load_word(const std::uint8_t* bytes) {
  std::uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

}  // namespace

void unpack_codes(const BlockIQ1_S& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t group = 0; group < kGroups; ++group) {
    const unsigned high = block.qh[group];
    const Codes shift = spread_bits(high >> 15 ? 0xff : 0) << 2;
    scales[group] = odd_scale((high >> 12) & 7U);
    for (std::size_t i = 0; i < kRowsPerGroup; ++i) {
      const std::size_t row = group * kRowsPerGroup + i;
      const unsigned idx = block.qs[row] | ((high >> (3 * i)) & 7U) << 8;
      store(spread_pairs(kBookIQ1_S[idx]) | shift, codes + row * kCodesLen);
    }
  }
}

void unpack_codes(const BlockIQ1_M& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t i = 0; i < 2 * kGroups; ++i)
    scales[i] = odd_scale((unsigned{block.scales[i / 4]} >> (i % 4 * 3)) & 7U);
  for (std::size_t row = 0; row < kGroups * kRowsPerGroup; ++row) {
    const unsigned high = unsigned{block.qh[row / 2]} >> (row % 2 * 4);
    const unsigned idx = block.qs[row] | (high & 7U) << 8;
    const Codes shift = spread_bits((high & 8U) != 0 ? 0xff : 0) << 2;
    store(spread_pairs(kBookIQ1_S[idx]) | shift, codes + row * kCodesLen);
  }
}

void unpack_codes(const BlockIQ2_XXS& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t group = 0; group < kGroups; ++group) {
    const std::uint8_t* rows = block.qs + group * 8;
    const std::uint32_t word = load_word(rows + 4);
    scales[group] = odd_scale(word >> 28);
    for (std::size_t i = 0; i < kRowsPerGroup; ++i) {
      store(spread_pairs(kBookIQ2_XXS[rows[i]]) | spread_bits(signs_of(word, i)) << 2,
            codes + (group * kRowsPerGroup + i) * kCodesLen);
    }
  }
}

void unpack_codes(const BlockIQ2_XS& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t group = 0; group < kGroups; ++group)
    unpack_scale_pair(block.scales[group], scales + 2 * group);
  for (std::size_t row = 0; row < kGroups * kRowsPerGroup; ++row) {
    const unsigned word = block.qs[row];
    store(spread_pairs(kBookIQ2_XS[word & 511U]) | spread_bits(complete_signs(word >> 9)) << 2,
          codes + row * kCodesLen);
  }
}

void unpack_codes(const BlockIQ2_S& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t group = 0; group < kGroups; ++group)
    unpack_scale_pair(block.scales[group], scales + 2 * group);
  for (std::size_t row = 0; row < kGroups * kRowsPerGroup; ++row) {
    const unsigned high = (unsigned{block.qh[row / 4]} >> (row % 4 * 2)) & 3U;
    store(spread_pairs(kBookIQ2_S[block.qs[row] | high << 8]) | spread_bits(block.signs[row]) << 2,
          codes + row * kCodesLen);
  }
}

void unpack_codes(const BlockIQ3_XXS& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t group = 0; group < kGroups; ++group) {
    const std::uint32_t word = load_word(block.words + group * 4);
    scales[group] = odd_scale(word >> 28);
    for (std::size_t i = 0; i < kRowsPerGroup; ++i) {
      const std::size_t pair = group * kRowsPerGroup + i;
      const std::uint8_t* rows = block.qs + 2 * pair;
      store(spread_triples(kBookIQ3_XXS[rows[0]], kBookIQ3_XXS[rows[1]]) |
                spread_bits(signs_of(word, i)) << 3,
            codes + pair * kCodesLen);
    }
  }
}

void unpack_codes(const BlockIQ3_S& block, std::uint8_t* codes, std::uint8_t* scales) {
  for (std::size_t group = 0; group < kGroups; ++group) {
    scales[group] = odd_scale((unsigned{block.scales[group / 2]} >> (group % 2 * 4)) & 15U);
    for (std::size_t i = 0; i < kRowsPerGroup; ++i) {
      const std::size_t pair = group * kRowsPerGroup + i;
      const unsigned high = unsigned{block.qh[group]} >> (2 * i);
      const unsigned first = block.qs[2 * pair] | (high & 1U) << 8;
      const unsigned second = block.qs[2 * pair + 1] | (high & 2U) << 7;
      store(spread_triples(kBookIQ3_S[first], kBookIQ3_S[second]) | spread_bits(block.signs[pair])
                                                                        << 3,
            codes + pair * kCodesLen);
    }
  }
}

namespace {

// Digit `idx` of the base-3 fraction byte / 256, whose first digit is the first value.
constexpr std::uint8_t ternary_digit(unsigned byte, std::size_t idx) {
  constexpr unsigned kPowers[] = {1, 3, 9, 27, 81};
  return static_cast<std::uint8_t>((byte * kPowers[idx] & 0xffU) * 3 >> 8);
}

// Digit after digit of `count` bytes.
std::uint8_t* unpack_digits(const std::uint8_t* bytes, std::size_t count, std::size_t num_digits,
                            std::uint8_t* out) {
  for (std::size_t digit = 0; digit < num_digits; ++digit) {
    for (std::size_t i = 0; i < count; ++i)
      *out++ = ternary_digit(bytes[i], digit);
  }
  return out;
}

}  // namespace

void unpack_ternary(const BlockTQ1_0& block, std::uint8_t* numbers) {
  numbers = unpack_digits(block.qs, 32, 5, numbers);
  numbers = unpack_digits(block.qs + 32, 16, 5, numbers);
  unpack_digits(block.qh, 4, 4, numbers);
}

void unpack_ternary(const BlockTQ2_0& block, std::uint8_t* numbers) {
  for (std::size_t i = 0; i < BlockTQ2_0::kLen; ++i) {
    numbers[i] =
        static_cast<std::uint8_t>((block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3);
  }
}

}  // namespace hearth
