// The quantized block formats of GGUF files, bit for bit.
//
// A row of a quantized tensor is a run of blocks. A block holds kLen small integers and the numbers
// that scale them; every scale named `d`, `m` or `min` is a float16 bit pattern. The layouts are
// those of the GGUF specification; each comment gives the value a stored integer q stands for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth {

// Value i (i < 16) is the low nibble of qs[i], value i + 16 the high one: one load and one shift
// then give two runs of 16 in order. Value = d * (q - 8).
struct BlockQ4_0 {
  static constexpr std::size_t kLen = 32;
  std::uint16_t d;
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// Nibbles as in Q4_0. Value = d * q + m.
struct BlockQ4_1 {
  static constexpr std::size_t kLen = 32;
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

// Nibbles as in Q4_0; bit i of the little-endian word qh is the fifth bit of value i.
// Value = d * (q - 16).
struct BlockQ5_0 {
  static constexpr std::size_t kLen = 32;
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

// Bits as in Q5_0. Value = d * q + m.
struct BlockQ5_1 {
  static constexpr std::size_t kLen = 32;
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

// Value = d * q.
struct BlockQ8_0 {
  static constexpr std::size_t kLen = 32;
  std::uint16_t d;
  std::int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// 16 groups of 16 values. scales[g] holds the 4-bit scale (low) and 4-bit minimum (high) of group
// g. Each half of the block (128 values) owns 32 bytes of qs: byte l of a half holds values l, l +
// 32, l + 64 and l + 96 of that half in bit pairs from low to high. Value = d * scale * q - min *
// minimum.
struct BlockQ2_K {
  static constexpr std::size_t kLen = 256;
  std::uint8_t scales[16];
  std::uint8_t qs[64];
  std::uint16_t d;
  std::uint16_t min;
};
static_assert(sizeof(BlockQ2_K) == 84);

// Two low bits as in Q2_K. Bit k of hmask[l] is the third bit of value 32 * k + l, and a clear bit
// means minus 4. The 16 six-bit scales are spread over 12 bytes (see unpack_q3_k_scale), offset
// by 32. Value = d * (scale - 32) * (q - (high bit clear ? 4 : 0)).
struct BlockQ3_K {
  static constexpr std::size_t kLen = 256;
  std::uint8_t hmask[32];
  std::uint8_t qs[64];
  std::uint8_t scales[12];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

// 8 groups of 32 values with six-bit scales and minima packed into 12 bytes (see
// unpack_k_scale_min). Every 64 values own 32 bytes of qs: the low nibbles are the first 32 values,
// the high ones the second. Value = d * scale * q - min * minimum.
struct BlockQ4_K {
  static constexpr std::size_t kLen = 256;
  std::uint16_t d;
  std::uint16_t min;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

// As Q4_K, with a fifth bit: bit g of qh[l] belongs to value l of group g.
struct BlockQ5_K {
  static constexpr std::size_t kLen = 256;
  std::uint16_t d;
  std::uint16_t min;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

// 16 groups of 16 values with signed scales. Each half of the block owns 64 bytes of ql and 32 of
// qh: value l + 32 * k of the half (k < 4) has its low nibble in ql[l + 32 * (k % 2)], the low half
// of the byte for k < 2, the high half otherwise, and its two high bits in qh[l] at bit 2 * k.
// Value = d * scale * (q - 32).
struct BlockQ6_K {
  static constexpr std::size_t kLen = 256;
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  std::uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

// The 16 levels of the IQ4 formats: denser around zero, where most weights are.
inline constexpr std::int8_t kIQ4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

// Nibbles as in Q4_0. Value = d * kIQ4Levels[q].
struct BlockIQ4_NL {
  static constexpr std::size_t kLen = 32;
  std::uint16_t d;
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// 8 groups of 32 values, nibbles per group as in Q4_0. Group g's six-bit scale has its low nibble
// in scales_l[g / 2] (low half of the byte for even g) and its two high bits in scales_h at bit 2 *
// g. Value = d * (scale - 32) * kIQ4Levels[q].
struct BlockIQ4_XS {
  static constexpr std::size_t kLen = 256;
  std::uint16_t d;
  std::uint16_t scales_h;
  std::uint8_t scales_l[4];
  std::uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// The IQ1, IQ2 and IQ3 formats store runs of 8 (IQ3: 4) values as the number of a row in a code
// book (code_books.h), which spares the rows that are rare among weights. Signs, or what is added
// to the row, stand beside it; groups of kGroupLen values have a scale, an odd number s:
// value = d * kUnit * s * kLevels[code], the code being an index of the row and, above it, the
// sign. unpack_codes() in code_blocks.h takes blocks apart.

// IQ1: of -1, 0, 1 eighths above, then eighths below, in eighths.
inline constexpr std::int8_t kIQ1Levels[8] = {-7, 1, 9, 0, -9, -1, 7, 0};
inline constexpr std::int8_t kIQ2Levels[8] = {8, 25, 43, 0, -8, -25, -43, 0};
inline constexpr std::int8_t kIQ3XxsLevels[16] = {4,  12,  20,  28,  36,  44,  52,  62,
                                                  -4, -12, -20, -28, -36, -44, -52, -62};
inline constexpr std::int8_t kIQ3SLevels[16] = {1,  3,  5,  7,  9,  11,  13,  15,
                                                -1, -3, -5, -7, -9, -11, -13, -15};

// Row r has its low eight bits in qs[r]. Of word g in qh, the three bits at 3 * i are the high ones
// of row 4 * g + i, those at 12 are (s - 1) / 2, and bit 15 says that an eighth is taken off.
struct BlockIQ1_S {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 32;
  static constexpr float kUnit = 0.125f;
  static constexpr auto& kLevels = kIQ1Levels;
  std::uint16_t d;
  std::uint8_t qs[32];
  std::uint16_t qh[8];
};
static_assert(sizeof(BlockIQ1_S) == 50);

// Half a byte of qh, low half first, is row r's: three high bits and what bit 15 is in IQ1_S. Each
// word of scales has four three-bit (s - 1) / 2 and four bits of d, lowest word first.
struct BlockIQ1_M {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 16;
  static constexpr float kUnit = 0.125f;
  static constexpr auto& kLevels = kIQ1Levels;
  std::uint8_t qs[32];
  std::uint8_t qh[16];
  std::uint16_t scales[4];
};
static_assert(sizeof(BlockIQ1_M) == 56);

// Each group owns eight bytes: four row numbers, and a little-endian word of four times seven signs
// (the eighth makes the number of minuses even) below a four-bit (s - 1) / 2.
struct BlockIQ2_XXS {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 32;
  static constexpr float kUnit = 0.125f;
  static constexpr auto& kLevels = kIQ2Levels;
  std::uint16_t d;
  std::uint8_t qs[64];
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

// A word of qs is nine bits of row number and seven signs as in IQ2_XXS; half a byte of scales,
// low half first, is (s - 1) / 2.
struct BlockIQ2_XS {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 16;
  static constexpr float kUnit = 0.125f;
  static constexpr auto& kLevels = kIQ2Levels;
  std::uint16_t d;
  std::uint16_t qs[32];
  std::uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2_XS) == 74);

// Row r has its low bits in qs[r], two high ones in qh[r / 4] and all eight signs in signs[r];
// scales as in IQ2_XS.
struct BlockIQ2_S {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 16;
  static constexpr float kUnit = 0.125f;
  static constexpr auto& kLevels = kIQ2Levels;
  std::uint16_t d;
  std::uint8_t qs[32];
  std::uint8_t signs[32];
  std::uint8_t qh[8];
  std::uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2_S) == 82);

// Row numbers, then for each group a word of signs and scale as in IQ2_XXS.
struct BlockIQ3_XXS {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 32;
  static constexpr float kUnit = 0.25f;
  static constexpr auto& kLevels = kIQ3XxsLevels;
  std::uint16_t d;
  std::uint8_t qs[64];
  std::uint8_t words[32];
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

// Row r has its low bits in qs[r] and a ninth at bit r % 8 of qh[r / 8]; half a byte of scales is
// (s - 1) / 2 of a group.
struct BlockIQ3_S {
  static constexpr std::size_t kLen = 256;
  static constexpr std::size_t kGroupLen = 32;
  static constexpr float kUnit = 1.0f;
  static constexpr auto& kLevels = kIQ3SLevels;
  std::uint16_t d;
  std::uint8_t qs[64];
  std::uint8_t qh[8];
  std::uint8_t signs[32];
  std::uint8_t scales[4];
};
static_assert(sizeof(BlockIQ3_S) == 110);

// Ternary: five base-3 digits in a byte of qs, four in a byte of qh, as a fraction of 256 rounded
// up. The first digits of 32 bytes are 32 values, then come their second ones, and so on; then 16
// bytes of qs, then qh. Value = d * (q - 1).
struct BlockTQ1_0 {
  static constexpr std::size_t kLen = 256;
  std::uint8_t qs[48];
  std::uint8_t qh[4];
  std::uint16_t d;
};
static_assert(sizeof(BlockTQ1_0) == 54);

// Bit pairs as in Q2_K. Value = d * (q - 1).
struct BlockTQ2_0 {
  static constexpr std::size_t kLen = 256;
  std::uint8_t qs[64];
  std::uint16_t d;
};
static_assert(sizeof(BlockTQ2_0) == 66);

// Floats of four bits (one sign, two exponent bits, one of fraction), times two.
inline constexpr std::int8_t kMxFp4Levels[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                 0, -1, -2, -3, -4, -6, -8, -12};

// The microscaling format of the Open Compute Project. Nibbles as in Q4_0.
// Value = 2^(e - 127) / 2 * kMxFp4Levels[q]; 255 is no number.
struct BlockMXFP4 {
  static constexpr std::size_t kLen = 32;
  // Beyond it the largest level is not finite in float32.
  static constexpr std::uint8_t kMaxExponent = 252;
  std::uint8_t e;
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

// The levels of NormalFloat4: as many normally distributed weights are nearest to each of them.
// Source: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", appendix E.
inline constexpr float kNF4Levels[16] = {-1.0f,
                                         -0.6961928009986877f,
                                         -0.5250730514526367f,
                                         -0.39491748809814453f,
                                         -0.28444138169288635f,
                                         -0.18477343022823334f,
                                         -0.09105003625154495f,
                                         0.0f,
                                         0.07958029955625534f,
                                         0.16093020141124725f,
                                         0.24611230194568634f,
                                         0.33791524171829224f,
                                         0.44070982933044434f,
                                         0.5626170039176941f,
                                         0.7229568362236023f,
                                         1.0f};

// The 4-bit format of bitsandbytes, a block's numbers side by side. The first 16 bytes of qs are
// values 0 to 31, the others 32 to 63, nibbles as in Q4_0. Value = absmax * kNF4Levels[q], absmax
// being the largest magnitude of the original values, or what makes the error least.
struct BlockNF4 {
  static constexpr std::size_t kLen = 64;
  // Kernels multiply by whole numbers: by the levels times this, rounded, which moves values by
  // 0.2 % of absmax (root mean square; the format itself moves normally distributed ones by 4 %).
  static constexpr float kLevelScale = 112.0f;
  float absmax;
  std::uint8_t qs[32];
};
static_assert(sizeof(BlockNF4) == 36);

struct ScaleMin {
  std::uint8_t scale;
  std::uint8_t min;
};

// Scale and minimum of group g (0 to 7) of Q4_K and Q5_K. Groups 0-3 have theirs in the low six
// bits of bytes g and g + 4; groups 4-7 have four bits each in byte g + 4 and the two high bits of
// bytes g - 4 and g.
inline ScaleMin unpack_k_scale_min(const std::uint8_t scales[12], std::size_t g) {
  if (g < 4) {
    return {static_cast<std::uint8_t>(scales[g] & 63),
            static_cast<std::uint8_t>(scales[g + 4] & 63)};
  }
  return {static_cast<std::uint8_t>((scales[g + 4] & 15) | ((scales[g - 4] >> 6) << 4)),
          static_cast<std::uint8_t>((scales[g + 4] >> 4) | ((scales[g] >> 6) << 4))};
}

// The inverse: stores group g's pair, both below 64, in `scales`, whose bits for g are clear.
inline void pack_k_scale_min(std::uint8_t scales[12], std::size_t g, ScaleMin pair) {
  const auto merge = [scales](std::size_t idx, int bits) {
    scales[idx] = static_cast<std::uint8_t>(scales[idx] | bits);
  };
  if (g < 4) {
    merge(g, pair.scale);
    merge(g + 4, pair.min);
    return;
  }
  merge(g + 4, (pair.scale & 15) | ((pair.min & 15) << 4));
  merge(g - 4, (pair.scale >> 4) << 6);
  merge(g, (pair.min >> 4) << 6);
}

// Scale of group g (0 to 15) of Q3_K, offset removed: the low nibble is half a byte of scales[g %
// 8], the two high bits are at bit 2 * (g / 4) of scales[8 + g % 4].
inline int unpack_q3_k_scale(const std::uint8_t scales[12], std::size_t g) {
  const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
  const int high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
  return (low | (high << 4)) - 32;
}

// The inverse: stores a scale from -32 to 31 in `scales`, whose bits for g are clear.
inline void pack_q3_k_scale(std::uint8_t scales[12], std::size_t g, int scale) {
  const int stored = scale + 32;
  const std::size_t low_idx = g % 8;
  const std::size_t high_idx = 8 + g % 4;
  scales[low_idx] = static_cast<std::uint8_t>(scales[low_idx] | ((stored & 15) << (g / 8 * 4)));
  scales[high_idx] = static_cast<std::uint8_t>(scales[high_idx] | ((stored >> 4) << (2 * (g / 4))));
}

}  // namespace hearth
