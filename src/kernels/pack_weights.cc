#include "kernels/pack_weights.h"

#include <array>
#include <cstring>

#include "tensor/quant_blocks.h"

namespace hearth {
namespace {

constexpr std::size_t kSuperLen = kGroupLen * kSuperGroups;

// One block of a row: 32 values, or 256 with super-blocks.
struct UnpackedBlock {
  std::uint8_t q[kSuperLen];
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
void unpack_nibbles(const std::uint8_t* qs, std::uint8_t* q) {
  for (std::size_t i = 0; i < 16; ++i) {
    q[i] = qs[i] & 0x0f;
    q[i + 16] = qs[i] >> 4;
  }
}

void add_fifth_bits(const std::uint8_t* high, std::uint8_t* q) {
  std::uint32_t bits;
  std::memcpy(&bits, high, sizeof(bits));
  for (std::size_t i = 0; i < kGroupLen; ++i)
    q[i] |= byte_of(((bits >> i) & 1U) << 4);
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
    const std::uint8_t* qs = block.qs + group / 2 * kGroupLen;
    const unsigned shift = group % 2 * 4;
    for (std::size_t i = 0; i < kGroupLen; ++i) {
      out.q[group * kGroupLen + i] = byte_of((unsigned{qs[i]} >> shift) & 0x0fU);
    }
  }
}

void unpack(const BlockQ4_0& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_nibbles(block.qs, out.q);
}

void unpack(const BlockQ4_1& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.m;
  unpack_nibbles(block.qs, out.q);
}

void unpack(const BlockQ5_0& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_nibbles(block.qs, out.q);
  add_fifth_bits(block.qh, out.q);
}

void unpack(const BlockQ5_1& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.m;
  unpack_nibbles(block.qs, out.q);
  add_fifth_bits(block.qh, out.q);
}

void unpack(const BlockQ8_0& block, UnpackedBlock& out) {
  out.scale = block.d;
  for (std::size_t i = 0; i < kGroupLen; ++i) {
    out.q[i] = byte_of(static_cast<unsigned>(block.qs[i] + 128));
  }
}

void unpack(const BlockQ2_K& block, UnpackedBlock& out) {
  out.scale = block.d;
  out.min = block.min;
  for (std::size_t i = 0; i < 16; ++i) {
    out.sub_scales[i] = block.scales[i] & 0x0f;
    out.sub_mins[i] = block.scales[i] >> 4;
  }
  for (std::size_t group = 0; group < kSuperGroups; ++group) {
    const std::uint8_t* qs = block.qs + group / 4 * kGroupLen;
    for (std::size_t i = 0; i < kGroupLen; ++i) {
      out.q[group * kGroupLen + i] = byte_of((unsigned{qs[i]} >> (group % 4 * 2)) & 3U);
    }
  }
}

void unpack(const BlockQ3_K& block, UnpackedBlock& out) {
  out.scale = block.d;
  for (std::size_t i = 0; i < 16; ++i) {
    out.sub_scales[i] = byte_of(static_cast<unsigned>(unpack_q3_k_scale(block.scales, i)));
  }
  for (std::size_t group = 0; group < kSuperGroups; ++group) {
    const std::uint8_t* qs = block.qs + group / 4 * kGroupLen;
    for (std::size_t i = 0; i < kGroupLen; ++i) {
      const unsigned low = (unsigned{qs[i]} >> (group % 4 * 2)) & 3U;
      const unsigned high = (unsigned{block.hmask[i]} >> group) & 1U;
      out.q[group * kGroupLen + i] = byte_of(low | (high << 2));
    }
  }
}

void unpack(const BlockQ4_K& block, UnpackedBlock& out) {
  unpack_k_block(block, out);
}

void unpack(const BlockQ5_K& block, UnpackedBlock& out) {
  unpack_k_block(block, out);
  for (std::size_t i = 0; i < kSuperLen; ++i) {
    const unsigned bits = block.qh[i % kGroupLen];
    out.q[i] |= byte_of(((bits >> (i / kGroupLen)) & 1U) << 4);
  }
}

void unpack(const BlockQ6_K& block, UnpackedBlock& out) {
  out.scale = block.d;
  std::memcpy(out.sub_scales, block.scales, sizeof(block.scales));
  for (std::size_t group = 0; group < kSuperGroups; ++group) {
    const std::size_t part = group % 4;  // Of its half of the block.
    const std::uint8_t* low = block.ql + group / 4 * 64 + part % 2 * kGroupLen;
    const std::uint8_t* high = block.qh + group / 4 * kGroupLen;
    for (std::size_t i = 0; i < kGroupLen; ++i) {
      const unsigned nibble = (unsigned{low[i]} >> (part / 2 * 4)) & 0x0fU;
      const unsigned top = (unsigned{high[i]} >> (part * 2)) & 3U;
      out.q[group * kGroupLen + i] = byte_of(nibble | (top << 4));
    }
  }
}

void unpack(const BlockIQ4_NL& block, UnpackedBlock& out) {
  out.scale = block.d;
  unpack_nibbles(block.qs, out.q);
}

void unpack(const BlockIQ4_XS& block, UnpackedBlock& out) {
  out.scale = block.d;
  for (std::size_t group = 0; group < kSuperGroups; ++group) {
    const unsigned low = (unsigned{block.scales_l[group / 2]} >> (group % 2 * 4)) & 0x0fU;
    const unsigned high = (unsigned{block.scales_h} >> (group * 2)) & 3U;
    out.sub_scales[group] = byte_of((low | (high << 4)) - 32U);
    unpack_nibbles(block.qs + group * 16, out.q + group * kGroupLen);
  }
}

using Quads = std::array<std::array<std::uint8_t, 64>, 8>;

// Writes one group's bit planes.
template <int kBits>
void write_planes(const Quads& quads, std::uint8_t* out) {
  constexpr bool kNibbles = kBits >= 4 && kBits <= 6;
  for (std::size_t i = 0; i < 64; ++i) {
    if constexpr (kBits == 8) {
      for (std::size_t q = 0; q < 8; ++q)
        out[q * 64 + i] = quads[q][i];
    }
    if constexpr (kNibbles) {
      for (std::size_t v = 0; v < 4; ++v) {
        out[v * 64 + i] = byte_of((quads[v][i] & 0x0fU) | ((quads[v + 4][i] & 0x0fU) << 4));
      }
    }
    if constexpr (kBits == 2 || kBits == 3 || kBits == 6) {
      constexpr unsigned kFrom = kNibbles ? 4 : 0;
      std::uint8_t* plane = out + (kNibbles ? 256 : 0);
      for (std::size_t v = 0; v < 2; ++v) {
        unsigned bits = 0;
        for (std::size_t j = 0; j < 4; ++j) {
          bits |= ((quads[v * 4 + j][i] >> kFrom) & 3U) << (2 * j);
        }
        plane[v * 64 + i] = byte_of(bits);
      }
    }
    if constexpr (kBits == 3 || kBits == 5) {
      constexpr unsigned kFrom = kNibbles ? 4 : 2;
      unsigned bits = 0;
      for (std::size_t q = 0; q < 8; ++q)
        bits |= ((quads[q][i] >> kFrom) & 1U) << q;
      out[(kNibbles ? 256 : 128) + i] = byte_of(bits);
    }
  }
}

using ColumnBlocks = std::array<UnpackedBlock, kPanelColumns>;

template <PackedTraits kTraits>
void write_group(const ColumnBlocks& blocks, std::size_t group, std::uint8_t* quants,
                 std::uint8_t* scales) {
  Quads quads;
  for (std::size_t c = 0; c < kPanelColumns; ++c) {
    for (std::size_t q = 0; q < 8; ++q) {
      std::memcpy(&quads[q][c * 4], blocks[c].q + group * kGroupLen + q * 4, 4);
    }
  }
  write_planes<kTraits.bits>(quads, quants);
  constexpr std::size_t kParts = kTraits.halves ? 2 : 1;
  for (std::size_t c = 0; c < kPanelColumns; ++c) {
    if constexpr (!kTraits.super) {
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
  std::memset(panel + layout.scales_offset, 0, layout.total_bytes - layout.scales_offset);
  ColumnBlocks blocks{};
  for (std::size_t b = 0; b < num_blocks; ++b) {
    for (std::size_t c = 0; c < source.num_columns; ++c) {
      Block block;  // A copy: the file aligns tensors, not blocks.
      std::memcpy(&block, source.rows + c * source.row_bytes + b * sizeof(Block), sizeof(Block));
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
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
      return std::nullopt;
  }
  return std::nullopt;
}

void pack_panel(PackedFormat format, const PanelSource& source, std::uint8_t* panel) {
  using P = PackedFormat;
  switch (format) {
    case P::kQ4_0:
      return pack<P::kQ4_0, BlockQ4_0>(source, panel);
    case P::kQ4_1:
      return pack<P::kQ4_1, BlockQ4_1>(source, panel);
    case P::kQ5_0:
      return pack<P::kQ5_0, BlockQ5_0>(source, panel);
    case P::kQ5_1:
      return pack<P::kQ5_1, BlockQ5_1>(source, panel);
    case P::kQ8_0:
      return pack<P::kQ8_0, BlockQ8_0>(source, panel);
    case P::kQ2_K:
      return pack<P::kQ2_K, BlockQ2_K>(source, panel);
    case P::kQ3_K:
      return pack<P::kQ3_K, BlockQ3_K>(source, panel);
    case P::kQ4_K:
      return pack<P::kQ4_K, BlockQ4_K>(source, panel);
    case P::kQ5_K:
      return pack<P::kQ5_K, BlockQ5_K>(source, panel);
    case P::kQ6_K:
      return pack<P::kQ6_K, BlockQ6_K>(source, panel);
    case P::kIQ4_NL:
      return pack<P::kIQ4_NL, BlockIQ4_NL>(source, panel);
    case P::kIQ4_XS:
      return pack<P::kIQ4_XS, BlockIQ4_XS>(source, panel);
  }
}

}  // namespace hearth
