// What one instruction set provides, and the packed weight layout all of them read. Internal to the
// kernels module.
//
// Files compiled with instruction set flags include this header, so it holds plain data, constexpr
// functions with internal linkage and nothing that could leave such code in a shared symbol.
//
// Order of summation, the same in every set, so that all sets give the same bits:
// - Products of packed weights: per output element one float32 chain over the 32-value groups of
// the
//   row, ascending. A group's integer dot product is exact; see multiply_panel in simd_kernels.h
//   for the float operations that fold it in.
// - Products of float weights, sums and sums of squares: kVirtualLanes chains, element k in chain
//   k % kVirtualLanes, ascending, absent elements of the last round counted as zeros; then lane i
//   is added to lane i + 8, i + 4, i + 2, i + 1.
// - Products rounded to bfloat16: one float32 chain per output element over the pairs of the row,
//   ascending, of each pair first the odd element, then the even one, with one rounding each: what
//   VDPBF16PS does. It takes a sum below the smallest normal float for zero, the other sets do not;
//   operands below it are zeros in all sets.
// - Attention scores: one chain over the head's components, ascending; values: one chain over the
//   positions, ascending. From a quantized cache: per group of components one chain without its
//   scale, folded into the score with the scale, ascending; values by weight x scale.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth {

inline constexpr std::size_t kVirtualLanes = 16;
inline constexpr std::size_t kPanelColumns = 16;  // Output features per packed panel.
inline constexpr std::size_t kGroupLen = 32;      // Values that share an activation scale.
inline constexpr std::size_t kSuperGroups = 8;    // Groups per 256-value super-block.
inline constexpr std::size_t kMaxTileRows = 32;   // Activation rows per kernel call.
inline constexpr std::size_t kMaxTileQueries = 16;
inline constexpr std::size_t kPartitionLen = 256;  // Positions per attention partition.
inline constexpr std::size_t kCacheLineBytes = 64;

enum class PackedFormat : std::uint8_t {
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_S,  // And IQ2_XS.
  kIQ3_XXS,
  kIQ3_S,
  kTernary,  // TQ1_0 and TQ2_0.
  kMXFP4,
  kNF4,
};
inline constexpr std::size_t kNumPackedFormats = 21;

// What q stands for: itself, or a row of kLevelTables.
enum class Levels : std::uint8_t { kEven, kIQ4, kIQ1, kIQ2, kIQ3_XXS, kIQ3_S, kMXFP4, kNF4 };

// A weight is scale * (q - zero point) or scale * q + min, q being an unsigned number of `bits`
// bits or what the table of `levels` holds for it.
struct PackedTraits {
  int bits = 0;          // Stored per value.
  int zero_shift = -1;   // The zero point is 1 << zero_shift; -1: none.
  bool has_min = false;  // Added per scale; with super-blocks it is subtracted, as in the file.
  Levels levels = Levels::kEven;
  bool halves = false;         // One scale for 16 values instead of 32.
  bool super = false;          // scale = f16 of the super-block * 8-bit sub-scale.
  bool signed_scales = false;  // Of the sub-scales.
  int unit_shift = 0;          // With super-blocks: the scale is divided by 1 << unit_shift.
  bool exponents = false;      // scale = 2^(e - 127) / 2, e being one byte.

  constexpr bool has_table() const { return levels != Levels::kEven; }
  // Bits of q.
  constexpr int product_bits() const { return has_table() ? zero_shift + 1 : bits; }
};

static constexpr PackedTraits packed_traits(PackedFormat format) {
  switch (format) {
    case PackedFormat::kQ4_0:
      return {.bits = 4, .zero_shift = 3};
    case PackedFormat::kQ4_1:
      return {.bits = 4, .has_min = true};
    case PackedFormat::kQ5_0:
      return {.bits = 5, .zero_shift = 4};
    case PackedFormat::kQ5_1:
      return {.bits = 5, .has_min = true};
    case PackedFormat::kQ8_0:
      return {.bits = 8, .zero_shift = 7};
    case PackedFormat::kQ2_K:
      return {.bits = 2, .has_min = true, .halves = true, .super = true};
    case PackedFormat::kQ3_K:
      return {.bits = 3, .zero_shift = 2, .halves = true, .super = true, .signed_scales = true};
    case PackedFormat::kQ4_K:
      return {.bits = 4, .has_min = true, .super = true};
    case PackedFormat::kQ5_K:
      return {.bits = 5, .has_min = true, .super = true};
    case PackedFormat::kQ6_K:
      return {.bits = 6, .zero_shift = 5, .halves = true, .super = true, .signed_scales = true};
    case PackedFormat::kIQ4_NL:
      return {.bits = 4, .zero_shift = 7, .levels = Levels::kIQ4};
    case PackedFormat::kIQ4_XS:
      return {
          .bits = 4, .zero_shift = 7, .levels = Levels::kIQ4, .super = true, .signed_scales = true};
    case PackedFormat::kIQ1_S:
      return {.bits = 3, .zero_shift = 4, .levels = Levels::kIQ1, .super = true, .unit_shift = 3};
    case PackedFormat::kIQ1_M:
      return {.bits = 3,
              .zero_shift = 4,
              .levels = Levels::kIQ1,
              .halves = true,
              .super = true,
              .unit_shift = 3};
    case PackedFormat::kIQ2_XXS:
      return {.bits = 3, .zero_shift = 6, .levels = Levels::kIQ2, .super = true, .unit_shift = 3};
    case PackedFormat::kIQ2_S:
      return {.bits = 3,
              .zero_shift = 6,
              .levels = Levels::kIQ2,
              .halves = true,
              .super = true,
              .unit_shift = 3};
    case PackedFormat::kIQ3_XXS:
      return {
          .bits = 4, .zero_shift = 6, .levels = Levels::kIQ3_XXS, .super = true, .unit_shift = 2};
    case PackedFormat::kIQ3_S:
      return {.bits = 4, .zero_shift = 4, .levels = Levels::kIQ3_S, .super = true};
    case PackedFormat::kTernary:
      return {.bits = 2, .zero_shift = 0};
    case PackedFormat::kMXFP4:
      return {.bits = 4, .zero_shift = 4, .levels = Levels::kMXFP4, .exponents = true};
    case PackedFormat::kNF4:
      return {.bits = 4, .zero_shift = 7, .levels = Levels::kNF4};
  }
  return {};
}

// The levels of tensor/quant_blocks.h plus the format's zero point, by `Levels`; those of three
// bits fill half a row.
inline constexpr std::uint8_t kLevelTables[][16] = {
    {},
    {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241},
    {9, 17, 25, 16, 7, 15, 23, 16},
    {72, 89, 107, 64, 56, 39, 21, 64},
    {68, 76, 84, 92, 100, 108, 116, 126, 60, 52, 44, 36, 28, 20, 12, 2},
    {17, 19, 21, 23, 25, 27, 29, 31, 15, 13, 11, 9, 7, 5, 3, 1},
    {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4},
    {16, 50, 69, 84, 96, 107, 118, 128, 137, 146, 156, 166, 177, 191, 209, 240},
};

static constexpr const std::uint8_t* table_of(Levels levels) {
  return kLevelTables[static_cast<std::size_t>(levels)];
}

// Where things lie in a panel: 16 output features (columns) of all input features.
//   quants  per group bits * 64 bytes, made of planes of 64-byte vectors. A vector holds 16 columns
//   x 4
//           consecutive inputs; the eight such "quads" of a group are Q[0..7].
//           4-bit plane, 4 vectors: vector c has Q[c] in the low and Q[c + 4] in the high nibbles.
//           2-bit plane, 2 vectors: vector c has Q[4 c + j] in bits 2 j.
//           1-bit plane, 1 vector: Q[q] in bit q.  8-bit plane: the eight quads.
//           3 bits = 2-bit plane, then 1-bit plane (bit 2); 5 = 4 + 1; 6 = 4 + 2.
//   scales  per group, 16 columns each: f16 scales [, f16 mins], or 8-bit exponents, or with
//   super-blocks
//           8-bit sub-scales (first half, second half) [, sub-mins in the same order].
//   supers  per super-block: 16 f16 scales [, 16 f16 mins].
struct PanelLayout {
  std::size_t group_quant_bytes = 0;
  std::size_t group_scale_bytes = 0;
  std::size_t super_bytes = 0;
  std::size_t scales_offset = 0;
  std::size_t supers_offset = 0;
  std::size_t total_bytes = 0;  // A multiple of kCacheLineBytes, which panels are aligned to.
};

static constexpr std::size_t round_up_to_line(std::size_t bytes) {
  return (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
}

static constexpr PanelLayout panel_layout(const PackedTraits& traits, std::size_t num_groups) {
  PanelLayout layout;
  const std::size_t parts = traits.has_min ? 2 : 1;
  layout.group_quant_bytes = static_cast<std::size_t>(traits.bits) * 64;
  layout.group_scale_bytes = traits.super       ? 16 * parts * (traits.halves ? 2 : 1)
                             : traits.exponents ? 16
                                                : 32 * parts;
  layout.super_bytes = traits.super ? 32 * parts : 0;
  layout.scales_offset = num_groups * layout.group_quant_bytes;
  layout.supers_offset =
      round_up_to_line(layout.scales_offset + num_groups * layout.group_scale_bytes);
  layout.total_bytes =
      round_up_to_line(layout.supers_offset + num_groups / kSuperGroups * layout.super_bytes);
  return layout;
}

// 32 inputs of one row, quantized: x ~ scale * q with |q| <= 127. A group with a non-finite input
// has a NaN scale and zero values.
struct ActivationGroup {
  std::int8_t q[kGroupLen];
  float scale;
  float sum;                   // Of q, exact.
  std::int32_t neg_sum;        // -(sum of q)
  std::int32_t neg_sum_first;  // -(sum of q[0..15])
};
static_assert(sizeof(ActivationGroup) == 48);

// Rows of float weights for one call of a float product.
struct FloatProduct {
  const void* weights = nullptr;  // num_columns rows of in_features values
  std::size_t weight_stride_bytes = 0;
  std::size_t num_columns = 0;   // <= kPanelColumns
  const float* input = nullptr;  // [num_rows, in_features]
  std::size_t input_stride = 0;
  std::size_t num_rows = 0;  // <= kMaxTileRows
  std::size_t in_features = 0;
  float* out = nullptr;  // [num_rows, kPanelColumns]; columns beyond num_columns untouched
};

// A panel of weights in bfloat16: for each pair of input features 16 columns of two values; missing
// columns and features are zeros. Rows of inputs are rounded to the same length.
struct Bf16Product {
  const std::uint16_t* panel = nullptr;  // [num_pairs, kPanelColumns, 2]; aligned to a cache line
  const std::uint16_t* input = nullptr;  // [num_rows, input_stride]
  std::size_t input_stride = 0;          // Even, at least 2 * num_pairs.
  std::size_t num_rows = 0;              // <= kMaxTileRows
  std::size_t num_pairs = 0;
  float* out = nullptr;  // [num_rows, kPanelColumns]; aligned to a cache line
};

// Round to nearest even as VCVTNEPS2BF16 does: what is below the smallest normal float becomes a
// zero, a NaN a quiet one.
static constexpr std::uint16_t round_to_bf16(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  if (magnitude < 0x00800000U) return static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

enum class KvFormat : std::uint8_t { kF16, kQ8_0 };  // See KvLayerView in device.h.
inline constexpr std::size_t kNumKvFormats = 2;
inline constexpr std::size_t kKvScaleGroup = 32;  // Components that share a scale.

// Where 16 consecutive positions of the first key/value head lie.
struct KvLanes {
  const std::byte* keys = nullptr;    // Component i of the first position at element
                                      // i * block_size, the other positions behind it.
  const std::byte* values = nullptr;  // Position p at element p * value_dim.
  // Of quantized formats: float16, group g of position p at element g * block_size + p.
  const std::byte* key_scales = nullptr;
  const std::byte* value_scales = nullptr;
  // Keys or values that will be read some time after these keys, and after these values; laid out
  // like them. Only to be prefetched: they need not exist.
  const std::byte* after_keys = nullptr;
  const std::byte* after_values = nullptr;
};

// Some key/value heads that lie next to each other, one partition, and for each head the same
// number of queries; up to kMaxTileQueries in all. Positions count from the start of the partition;
// lane block j holds positions [16 j, 16 j + 16). Lane blocks before the first position that any
// query attends to, and after the last, are not looked at.
struct AttentionTile {
  std::size_t num_heads = 0;     // Of keys and values.
  std::size_t num_queries = 0;   // Per head.
  std::size_t query_stride = 0;  // From a head's first query to the next head's; >= num_queries.
  std::size_t head_dim = 0;      // Of queries and keys.
  std::size_t value_dim = 0;
  const float* queries = nullptr;  // [num_heads, query_stride, head_dim], already scaled
  const KvLanes* lanes = nullptr;  // Per lane block.
  std::size_t block_size = 0;
  std::size_t head_stride = 0;            // Bytes from a head's keys to the next head's,
  std::size_t value_head_stride = 0;      // and from its values.
  const std::uint32_t* begins = nullptr;  // Per query of a head: attends to positions [begin, end)
  const std::uint32_t* ends = nullptr;    // of the partition; begin < end.
  float softcap = 0.0f;
  // With slopes, slope * (position - query's position) is added to each score.
  const float* slopes = nullptr;           // [num_heads, query_stride] or nullptr
  const float* query_positions = nullptr;  // Per query of a head; any number, integral.
  // With biases, biases[query][position] is added to each score. All lanes of the lane blocks of
  // [begin, end) can be read.
  const float* const* biases = nullptr;  // [num_heads, query_stride] or nullptr
  float* scores = nullptr;               // [num_heads, query_stride, kPartitionLen]; scratch
  float* maxima = nullptr;               // [num_heads, query_stride]; largest score
  float* sums = nullptr;                 // [num_heads, query_stride]; sum of exp(score - maximum)
  float* out = nullptr;  // [num_heads, query_stride, value_dim]; same weights times values
};

// A partial result folded into a running one: all [value_dim] wide.
struct AttentionState {
  float max = 0.0f;
  float sum = 0.0f;
  float* out = nullptr;
};

enum class FloatFormat : std::uint8_t { kF32, kF16, kBF16 };
inline constexpr std::size_t kNumFloatFormats = 3;

// As Activation in device.h.
enum class ActivationKind : std::uint8_t {
  kSilu,
  kGelu,
  kGeluTanh,
  kRelu,
  kReluSquared,
  kClampedSwish,
};

struct LayerNorm {
  const float* gain = nullptr;  // [len]
  const float* bias = nullptr;  // [len]
  float epsilon = 0.0f;
};

// Pointers need no alignment beyond their type's unless stated. Inputs and outputs do not overlap
// unless stated. Nothing here allocates or fails; NaN and infinity propagate.
struct KernelTable {
  // out [num_rows, kPanelColumns] = input x panel^T. `input` is [num_groups, num_rows], so that all
  // rows' shares of a group are adjacent; panel and out are aligned to kCacheLineBytes.
  using MultiplyPanel = void (*)(const std::uint8_t* panel, std::size_t num_groups,
                                 const ActivationGroup* input, std::size_t num_rows, float* out);
  MultiplyPanel multiply_panel[kNumPackedFormats];

  void (*multiply_float[kNumFloatFormats])(const FloatProduct& product);

  void (*multiply_bf16)(const Bf16Product& product);
  // out[i] = round_to_bf16(input[i])
  void (*round_bf16)(const float* input, std::size_t len, std::uint16_t* out);
  // The CPU multiplies bfloat16 faster than float32.
  bool bf16_is_fast;

  // Group g of the row goes to out[g * out_stride].
  void (*quantize_row)(const float* input, std::size_t num_groups, ActivationGroup* out,
                       std::size_t out_stride);

  // out = input / sqrt(mean(input^2) + epsilon) * gain; out may be input.
  void (*rms_norm)(const float* input, const float* gain, float epsilon, std::size_t len,
                   float* out);

  // out = (input - mean) / sqrt(mean of squared distances + epsilon) * gain + bias; out may be
  // input.
  void (*layer_norm)(const float* input, const LayerNorm& norm, std::size_t len, float* out);

  // out = activation(input); out may be input.
  void (*activation)(ActivationKind kind, const float* input, std::size_t len, float* out);

  // out = activation(gate) * up, or what the activation makes of `up`; out may be either.
  void (*gated_activation)(ActivationKind kind, const float* gate, const float* up, std::size_t len,
                           float* out);

  // out = input * factor; out may be input.
  void (*scale)(const float* input, float factor, std::size_t len, float* out);
  // out += input * factor, with one rounding.
  void (*add_scaled)(const float* input, float factor, std::size_t len, float* out);
  // out = cap * tanh(input / cap); out may be input.
  void (*softcap)(const float* input, float cap, std::size_t len, float* out);

  // Round to nearest even.
  void (*to_f16)(const float* input, std::size_t len, std::uint16_t* out);

  void (*attend[kNumKvFormats])(const AttentionTile& tile);
  // running = running merged with part; `part.out` is read only.
  void (*merge_attention)(AttentionState& running, const AttentionState& part,
                          std::size_t value_dim);
};

// Null when the set was not compiled in (another architecture).
const KernelTable* avx512_bf16_kernels();
const KernelTable* avx512_kernels();
const KernelTable* avx2_vnni_kernels();
const KernelTable* avx2_vnni512_kernels();
const KernelTable* avx2_kernels();
const KernelTable* neon_i8mm_kernels();
const KernelTable* neon_dotprod_kernels();
const KernelTable* neon_kernels();
const KernelTable& reference_kernels();

}  // namespace hearth
