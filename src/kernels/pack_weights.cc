#include "kernels/pack_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <span>

#include "base/status.h"
#include "tensor/code_blocks.h"
#include "tensor/finite.h"
#include "tensor/float16.h"
#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

// The kernels' tables are the formats' levels above their zero points.
template <std::size_t kCount>
constexpr bool matches(Levels levels, const std::int8_t (&values)[kCount], int zero_point) {
  for (std::size_t i = 0; i < kCount; ++i) {
    if (table_of(levels)[i] != values[i] + zero_point) return false;
  }
  return true;
}
static_assert(matches(Levels::kIQ4, kIQ4Levels, 128));
static_assert(matches(Levels::kIQ1, kIQ1Levels, 16));
static_assert(matches(Levels::kIQ2, kIQ2Levels, 64));
static_assert(matches(Levels::kIQ3_XXS, kIQ3XxsLevels, 64));
static_assert(matches(Levels::kIQ3_S, kIQ3SLevels, 16));
static_assert(matches(Levels::kMXFP4, kMxFp4Levels, 16));

// Those of NF4 are rounded.
constexpr bool matches_nf4() {
  for (std::size_t i = 0; i < std::size(kNF4Levels); ++i) {
    const float exact = kNF4Levels[i] * BlockNF4::kLevelScale + 128.0f;
    const float error = exact - static_cast<float>(table_of(Levels::kNF4)[i]);
    if (error < -0.5f || error > 0.5f) return false;
  }
  return true;
}
static_assert(matches_nf4());

// Sixteen rows are read at once, more streams than hardware follows. Beyond the last row nothing
// useful is asked for, which is harmless: a prefetch never faults.
constexpr std::size_t kPrefetchDistance = 512;

// Four values that lie side by side, a byte each, as one word: bit operations take all four at
// once, and panels are laid out in such quads.
using Quad = std::uint32_t;
constexpr std::size_t kQuadLen = 4;
constexpr std::size_t kGroupQuads = kGroupLen / kQuadLen;

constexpr Quad in_each_byte(unsigned value) {
  return value * 0x01010101U;
}

Quad load_quad(const void* bytes) {
  Quad quad;
  std::memcpy(&quad, bytes, sizeof(quad));
  return quad;
}

// The low four bits of a number as one bit in each byte.
constexpr Quad spread_bits(unsigned bits) {
  return ((bits & 0x0fU) * 0x00204081U) & in_each_byte(1);
}

// One block of a row: 32 values, or 256 with super-blocks.
struct UnpackedBlock {
  Quad quads[kGroupQuads * kSuperGroups];
  std::uint16_t scale;  // float16
  std::uint16_t min;    // float16
  // Per group, or per half group.
  std::uint8_t sub_scales[16];
  std::uint8_t sub_mins[16];
};

std::uint8_t byte_of(unsigned value) {
  return static_cast<std::uint8_t>(value);
}

// Values i and i + 16 of a 32-value group share a byte.
void unpack_nibbles(const std::uint8_t* qs, Quad* out) {
  for (std::size_t i = 0; i < kGroupQuads / 2; ++i) {
    const Quad pairs = load_quad(qs + i * kQuadLen);
    out[i] = pairs & in_each_byte(0x0f);
    out[i + kGroupQuads / 2] = (pairs >> 4) & in_each_byte(0x0f);
  }
}

void add_fifth_bits(const std::uint8_t* high, Quad* out) {
  const std::uint32_t bits = load_quad(high);
  for (std::size_t i = 0; i < kGroupQuads; ++i)
    out[i] |= spread_bits(bits >> (i * kQuadLen)) << 4;
}

// `num_bits` bits of every byte of 32, from bit `shift` on.
void unpack_fields(const std::uint8_t* bytes, unsigned shift, unsigned num_bits, Quad* out) {
  const Quad mask = in_each_byte((1U << num_bits) - 1U);
  for (std::size_t i = 0; i < kGroupQuads; ++i)
    out[i] = (load_quad(bytes + i * kQuadLen) >> shift) & mask;
}

// The same fields above what `out` holds already.
void add_fields(const std::uint8_t* bytes, unsigned shift, unsigned num_bits, unsigned above,
                Quad* out) {
  Quad fields[kGroupQuads];
  unpack_fields(bytes, shift, num_bits, fields);
  for (std::size_t i = 0; i < kGroupQuads; ++i)
    out[i] |= fields[i] << above;
}

// Q4_K and Q5_K: 64 values at a time, low nibbles first, then high nibbles.
template <typename Block>
void unpack_k_block(const Block& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.min;
  for (std::size_t group = 0; group < kSuperGroups; ++group) {
    const ScaleMin unpacked = unpack_k_scale_min(block.scales, group);
    out.sub_scales[group] = unpacked.scale;
    out.sub_mins[group] = unpacked.min;
    const unsigned shift = group % 2 * 4;
    unpack_fields(block.qs + group / 2 * kGroupLen, shift, 4, out.quads + group * kGroupQuads);
  }
}

void unpack(const BlockQ4_0& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_nibbles(block.qs, out.quads);
}

void unpack(const BlockQ4_1& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.m;
  unpack_nibbles(block.qs, out.quads);
}

void unpack(const BlockQ5_0& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_nibbles(block.qs, out.quads);
  add_fifth_bits(block.qh, out.quads);
}

void unpack(const BlockQ5_1& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.m;
  unpack_nibbles(block.qs, out.quads);
  add_fifth_bits(block.qh, out.quads);
}

void unpack(const BlockQ8_0& block, UnpackedBlock& out) {
  out.scale = block.d;
  for (std::size_t i = 0; i < kGroupQuads; ++i)
    out.quads[i] = load_quad(block.qs + i * kQuadLen) ^ in_each_byte(0x80);  // + 128
}

void unpack(const BlockQ2_K& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.min;
  for (std::size_t i = 0; i < 16; ++i) {
    out.sub_scales[i] = block.scales[i] & 0x0f;
    out.sub_mins[i] = block.scales[i] >> 4;
  }
  for (unsigned group = 0; group < kSuperGroups; ++group) {
    unpack_fields(block.qs + group / 4 * kGroupLen, group % 4 * 2, 2,
                  out.quads + group * kGroupQuads);
  }
}

void unpack(const BlockQ3_K& block, UnpackedBlock& out) {
  out.scale = block.d;
  for (std::size_t i = 0; i < 16; ++i) {
    out.sub_scales[i] = byte_of(static_cast<unsigned>(unpack_q3_k_scale(block.scales, i)));
  }
  for (unsigned group = 0; group < kSuperGroups; ++group) {
    Quad* quads = out.quads + group * kGroupQuads;
    unpack_fields(block.qs + group / 4 * kGroupLen, group % 4 * 2, 2, quads);
    add_fields(block.hmask, group, 1, 2, quads);
  }
}

void unpack(const BlockQ4_K& block, UnpackedBlock& out) {
  unpack_k_block(block, out);
}

void unpack(const BlockQ5_K& block, UnpackedBlock& out) {
  unpack_k_block(block, out);
  for (unsigned group = 0; group < kSuperGroups; ++group)
    add_fields(block.qh, group, 1, 4, out.quads + group * kGroupQuads);
}

void unpack(const BlockQ6_K& block, UnpackedBlock& out) {
  out.scale = block.d;
  std::memcpy(out.sub_scales, block.scales, sizeof(block.scales));
  for (unsigned group = 0; group < kSuperGroups; ++group) {
    const unsigned part = group % 4;  // Of its half of the block.
    Quad* quads = out.quads + group * kGroupQuads;
    unpack_fields(block.ql + group / 4 * 64 + part % 2 * kGroupLen, part / 2 * 4, 4, quads);
    add_fields(block.qh + group / 4 * kGroupLen, part * 2, 2, 4, quads);
  }
}

void unpack(const BlockIQ4_NL& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_nibbles(block.qs, out.quads);
}

void unpack(const BlockIQ4_XS& block, UnpackedBlock& out) {
  out.scale = block.d;
  for (std::size_t group = 0; group < kSuperGroups; ++group) {
    const unsigned low = (unsigned{block.scales_l[group / 2]} >> (group % 2 * 4)) & 0x0fU;
    const unsigned high = (unsigned{block.scales_h} >> (group * 2)) & 3U;
    out.sub_scales[group] = byte_of((low | (high << 4)) - 32U);
    unpack_nibbles(block.qs + group * 16, out.quads + group * kGroupQuads);
  }
}

template <typename Block>
  requires requires { Block::kLevels; }
void unpack(const Block& block, UnpackedBlock& out) {
  out.scale = code_block_scale(block);
  unpack_codes(block, reinterpret_cast<std::uint8_t*>(out.quads), out.sub_scales);
}

template <typename Block>
  requires requires(const Block& block, std::uint8_t* numbers) { unpack_ternary(block, numbers); }
void unpack(const Block& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_ternary(block, reinterpret_cast<std::uint8_t*>(out.quads));
}

void unpack(const BlockMXFP4& block, UnpackedBlock& out) {
  out.sub_scales[0] = block.e;
  unpack_nibbles(block.qs, out.quads);
}

void unpack(const BlockNF4& block, UnpackedBlock& out) {
  out.scale = f32_to_f16(block.absmax / BlockNF4::kLevelScale);
  unpack_nibbles(block.qs, out.quads);
  unpack_nibbles(block.qs + 16, out.quads + kGroupQuads);
}

// Writes one column's share of a group's bit planes: see PanelLayout.
template <int kBits>
void write_planes(const Quad (&quads)[kGroupQuads], std::uint8_t* column) {
  constexpr bool kNibbles = kBits >= 4 && kBits <= 6;
  constexpr std::size_t kVectorBytes = kPanelColumns * kQuadLen;
  const auto store = [column](std::size_t vector, Quad quad) {
    std::memcpy(column + vector * kVectorBytes, &quad, sizeof(quad));
  };
  if constexpr (kBits == 8) {
    for (std::size_t q = 0; q < kGroupQuads; ++q)
      store(q, quads[q]);
  }
  if constexpr (kNibbles) {
    for (std::size_t v = 0; v < 4; ++v)
      store(v, (quads[v] & in_each_byte(0x0f)) | ((quads[v + 4] & in_each_byte(0x0f)) << 4));
  }
  if constexpr (kBits == 2 || kBits == 3 || kBits == 6) {
    constexpr unsigned kFrom = kNibbles ? 4 : 0;
    for (std::size_t v = 0; v < 2; ++v) {
      Quad bits = 0;
      for (std::size_t j = 0; j < 4; ++j)
        bits |= ((quads[v * 4 + j] >> kFrom) & in_each_byte(3)) << (2 * j);
      store((kNibbles ? 4 : 0) + v, bits);
    }
  }
  if constexpr (kBits == 3 || kBits == 5) {
    constexpr unsigned kFrom = kNibbles ? 4 : 2;
    Quad bits = 0;
    for (std::size_t q = 0; q < kGroupQuads; ++q)
      bits |= ((quads[q] >> kFrom) & in_each_byte(1)) << q;
    store(kNibbles ? 4 : 2, bits);
  }
}

using ColumnBlocks = std::array<UnpackedBlock, kPanelColumns>;

template <PackedTraits kTraits>
void write_group(const ColumnBlocks& blocks, std::size_t group, std::uint8_t* quants,
                 std::uint8_t* scales) {
  constexpr std::size_t kParts = kTraits.halves ? 2 : 1;
  for (std::size_t c = 0; c < kPanelColumns; ++c) {
    Quad quads[kGroupQuads];
    std::memcpy(quads, blocks[c].quads + group * kGroupQuads, sizeof(quads));
    write_planes<kTraits.bits>(quads, quants + c * kQuadLen);
    if constexpr (kTraits.exponents) {
      scales[c] = blocks[c].sub_scales[0];
    } else if constexpr (!kTraits.super) {
      std::memcpy(scales + c * 2, &blocks[c].scale, 2);
      if constexpr (kTraits.has_min) std::memcpy(scales + 32 + c * 2, &blocks[c].min, 2);
    } else {
      for (std::size_t i = 0; i < kParts; ++i) {
        scales[i * 16 + c] = blocks[c].sub_scales[group * kParts + i];
        if constexpr (kTraits.has_min) {
          scales[(kParts + i) * 16 + c] = blocks[c].sub_mins[group * kParts + i];
        }
      }
    }
  }
}

template <PackedFormat kFormat, typename Block>
void pack(const PanelSource& source, std::uint8_t* panel) {
  constexpr PackedTraits kTraits = packed_traits(kFormat);
  constexpr std::size_t kGroups = Block::kLen / kGroupLen;
  const std::size_t num_blocks = source.in_features / Block::kLen;
  const PanelLayout layout = panel_layout(kTraits, num_blocks * kGroups);
  // What rounding up leaves between the parts; the rest is written below.
  const std::size_t end_of_scales =
      layout.scales_offset + num_blocks * kGroups * layout.group_scale_bytes;
  const std::size_t num_supers = num_blocks * kGroups / kSuperGroups;
  const std::size_t end_of_supers = layout.supers_offset + num_supers * layout.super_bytes;
  std::memset(panel + end_of_scales, 0, layout.supers_offset - end_of_scales);
  std::memset(panel + end_of_supers, 0, layout.total_bytes - end_of_supers);
  ColumnBlocks blocks{};
  for (std::size_t b = 0; b < num_blocks; ++b) {
    for (std::size_t c = 0; c < source.num_columns; ++c) {
      const std::byte* at = source.rows + c * source.row_bytes + b * sizeof(Block);
      __builtin_prefetch(at + kPrefetchDistance);
      Block block;  // A copy: the file aligns tensors, not blocks.
      std::memcpy(&block, at, sizeof(Block));
      unpack(block, blocks[c]);
    }
    for (std::size_t i = 0; i < kGroups; ++i) {
      const std::size_t g = b * kGroups + i;
      write_group<kTraits>(blocks, i, panel + g * layout.group_quant_bytes,
                           panel + layout.scales_offset + g * layout.group_scale_bytes);
    }
    if constexpr (kTraits.super) {
      std::uint8_t* supers = panel + layout.supers_offset + b * layout.super_bytes;
      for (std::size_t c = 0; c < kPanelColumns; ++c) {
        std::memcpy(supers + c * 2, &blocks[c].scale, 2);
        if constexpr (kTraits.has_min) std::memcpy(supers + 32 + c * 2, &blocks[c].min, 2);
      }
    }
  }
}

}  // namespace

std::optional<PackedFormat> packed_format_of(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return PackedFormat::kQ4_0;
    case DType::kQ4_1:
      return PackedFormat::kQ4_1;
    case DType::kQ5_0:
      return PackedFormat::kQ5_0;
    case DType::kQ5_1:
      return PackedFormat::kQ5_1;
    case DType::kQ8_0:
      return PackedFormat::kQ8_0;
    case DType::kQ2_K:
      return PackedFormat::kQ2_K;
    case DType::kQ3_K:
      return PackedFormat::kQ3_K;
    case DType::kQ4_K:
      return PackedFormat::kQ4_K;
    case DType::kQ5_K:
      return PackedFormat::kQ5_K;
    case DType::kQ6_K:
      return PackedFormat::kQ6_K;
    case DType::kIQ4_NL:
      return PackedFormat::kIQ4_NL;
    case DType::kIQ4_XS:
      return PackedFormat::kIQ4_XS;
    case DType::kIQ1_S:
      return PackedFormat::kIQ1_S;
    case DType::kIQ1_M:
      return PackedFormat::kIQ1_M;
    case DType::kIQ2_XXS:
      return PackedFormat::kIQ2_XXS;
    case DType::kIQ2_XS:
    case DType::kIQ2_S:
      return PackedFormat::kIQ2_S;
    case DType::kIQ3_XXS:
      return PackedFormat::kIQ3_XXS;
    case DType::kIQ3_S:
      return PackedFormat::kIQ3_S;
    case DType::kTQ1_0:
    case DType::kTQ2_0:
      return PackedFormat::kTernary;
    case DType::kMXFP4:
      return PackedFormat::kMXFP4;
    case DType::kNF4:
      return PackedFormat::kNF4;
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
      return std::nullopt;
  }
  return std::nullopt;
}

bool has_finite_scales(PackedFormat format, std::size_t in_features, const std::uint8_t* panel) {
  const PackedTraits traits = packed_traits(format);
  const std::size_t num_groups = in_features / kGroupLen;
  const PanelLayout layout = panel_layout(traits, num_groups);
  const std::span scales(panel + layout.scales_offset, num_groups * layout.group_scale_bytes);
  if (traits.exponents) {
    return std::ranges::max(scales) <= BlockMXFP4::kMaxExponent;
  }
  const std::span supers(panel + layout.supers_offset,
                         num_groups / kSuperGroups * layout.super_bytes);
  return all_finite(DType::kF16, std::as_bytes(traits.super ? supers : scales));
}

void pack_panel(DType dtype, const PanelSource& source, std::uint8_t* panel) {
  using P = PackedFormat;
  switch (dtype) {
    case DType::kQ4_0:
      return pack<P::kQ4_0, BlockQ4_0>(source, panel);
    case DType::kQ4_1:
      return pack<P::kQ4_1, BlockQ4_1>(source, panel);
    case DType::kQ5_0:
      return pack<P::kQ5_0, BlockQ5_0>(source, panel);
    case DType::kQ5_1:
      return pack<P::kQ5_1, BlockQ5_1>(source, panel);
    case DType::kQ8_0:
      return pack<P::kQ8_0, BlockQ8_0>(source, panel);
    case DType::kQ2_K:
      return pack<P::kQ2_K, BlockQ2_K>(source, panel);
    case DType::kQ3_K:
      return pack<P::kQ3_K, BlockQ3_K>(source, panel);
    case DType::kQ4_K:
      return pack<P::kQ4_K, BlockQ4_K>(source, panel);
    case DType::kQ5_K:
      return pack<P::kQ5_K, BlockQ5_K>(source, panel);
    case DType::kQ6_K:
      return pack<P::kQ6_K, BlockQ6_K>(source, panel);
    case DType::kIQ4_NL:
      return pack<P::kIQ4_NL, BlockIQ4_NL>(source, panel);
    case DType::kIQ4_XS:
      return pack<P::kIQ4_XS, BlockIQ4_XS>(source, panel);
    case DType::kIQ1_S:
      return pack<P::kIQ1_S, BlockIQ1_S>(source, panel);
    case DType::kIQ1_M:
      return pack<P::kIQ1_M, BlockIQ1_M>(source, panel);
    case DType::kIQ2_XXS:
      return pack<P::kIQ2_XXS, BlockIQ2_XXS>(source, panel);
    case DType::kIQ2_XS:
      return pack<P::kIQ2_S, BlockIQ2_XS>(source, panel);
    case DType::kIQ2_S:
      return pack<P::kIQ2_S, BlockIQ2_S>(source, panel);
    case DType::kIQ3_XXS:
      return pack<P::kIQ3_XXS, BlockIQ3_XXS>(source, panel);
    case DType::kIQ3_S:
      return pack<P::kIQ3_S, BlockIQ3_S>(source, panel);
    case DType::kTQ1_0:
      return pack<P::kTernary, BlockTQ1_0>(source, panel);
    case DType::kTQ2_0:
      return pack<P::kTernary, BlockTQ2_0>(source, panel);
    case DType::kMXFP4:
      return pack<P::kMXFP4, BlockMXFP4>(source, panel);
    case DType::kNF4:
      return pack<P::kNF4, BlockNF4>(source, panel);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
      HEARTH_CHECK(packed_format_of(dtype).has_value());
  }
}

}  // namespace hearth
