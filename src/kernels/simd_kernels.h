// The fast kernels, written once over a vector policy and compiled per instruction set. The
// plain-loop statement of the same arithmetic is kernels_reference.cc.
//
// A policy V lives in the anonymous namespace of its file, which gives every template below
// internal linkage there. It provides
//   kLanes                float lanes per register: kVirtualLanes or half of it
//   F, I, B               registers of kLanes floats, kLanes int32, 4 * kLanes bytes
//   float and integer operations named as used here; *_partial forms touch only the first n lanes
//   dot<kBits, kQuads>    I = sum over kQuads of (unsigned weights x signed inputs) + an initial I
//   kHasDotPair           there is dot_pair<kBits, kQuads>: the same for two rows of inputs
//   kDotIsSigned8         8-bit dot products take the zero point of 128 off the weights themselves
//   even_bf16, odd_bf16   the first or second values of kLanes pairs of bfloat16
//   reduce_four           four times reduce, the same sums to four adjacent floats
//   kScoreBlocks, kValueRegisters, kFloatAccumulators, kFloatRows
//                         register tile shapes
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/kernel_table.h"
#include "kernels/simd_bf16.h"
#include "kernels/simd_elementwise.h"
#include "kernels/simd_math.h"

namespace hearth {

struct Range {
  std::size_t begin;
  std::size_t end;
};

// ---- Products of packed weights
// ------------------------------------------------------------------

// Quad q of a group's quants for the columns of register `part`.
template <class V, PackedTraits kTraits, int q>
typename V::B unpack_quad(const std::uint8_t* quants) {
  using B = typename V::B;
  if constexpr (kTraits.bits == 8) {
    return V::load_bytes(quants + q * 64);
  } else if constexpr (kTraits.bits == 2 || kTraits.bits == 3) {
    const B pairs = V::load_bytes(quants + q / 4 * 64);
    B value = V::and_bytes(V::template shift_bits<-2 * (q % 4)>(pairs), 0x03);
    if constexpr (kTraits.bits == 3) {
      const B high = V::load_bytes(quants + 128);
      value = V::or_bytes(value, V::and_bytes(V::template shift_bits<2 - q>(high), 0x04));
    }
    if constexpr (kTraits.has_table()) value = V::look_up(value, table_of(kTraits.levels));
    return value;
  } else {
    const B nibbles = V::load_bytes(quants + q % 4 * 64);
    B value = V::and_bytes(V::template shift_bits < q<4 ? 0 : -4>(nibbles), 0x0f);
    if constexpr (kTraits.bits == 5) {
      const B high = V::load_bytes(quants + 256);
      value = V::or_bytes(value, V::and_bytes(V::template shift_bits<4 - q>(high), 0x10));
    }
    if constexpr (kTraits.bits == 6) {
      const B high = V::load_bytes(quants + 256 + q / 4 * 64);
      value = V::or_bytes(value, V::and_bytes(V::template shift_bits<4 - 2 * (q % 4)>(high), 0x30));
    }
    if constexpr (kTraits.has_table()) value = V::look_up(value, table_of(kTraits.levels));
    return value;
  }
}

template <class V, PackedTraits kTraits>
struct GroupWeights {
  typename V::B quads[8];
  typename V::F scale[kTraits.halves ? 2 : 1];
  typename V::F min[kTraits.halves ? 2 : 1];  // Only with has_min.
};

// 2^(e - 127) / 2 of each byte e: the bits of an exponent are those of the float that is so many
// units above 1.5 * 2^23, and no exponent is that of the smallest number, a subnormal one.
template <class V>
typename V::F load_exponents(const std::uint8_t* bytes) {
  const auto shifted = V::add(V::load_uint8(bytes), V::set1(0x1.8p23f - 127.0f));
  const auto power = V::max(V::power_of_two(shifted), V::set1(0x1p-127f));
  return V::mul(power, V::set1(0.5f));
}

// The float scales (and mins, signed as they are added) of a group for the columns of one register.
template <class V, PackedTraits kTraits>
void load_scales(const std::uint8_t* scales, const std::uint8_t* supers,
                 GroupWeights<V, kTraits>& group) {
  constexpr std::size_t kParts = kTraits.halves ? 2 : 1;
  if constexpr (kTraits.exponents) {
    group.scale[0] = load_exponents<V>(scales);
  } else if constexpr (!kTraits.super) {
    group.scale[0] = V::load_f16(reinterpret_cast<const std::uint16_t*>(scales));
    if constexpr (kTraits.has_min) {
      group.min[0] = V::load_f16(reinterpret_cast<const std::uint16_t*>(scales + 32));
    }
  } else {
    auto super = V::load_f16(reinterpret_cast<const std::uint16_t*>(supers));
    if constexpr (kTraits.unit_shift > 0) {
      super = V::mul(super, V::set1(1.0f / (1 << kTraits.unit_shift)));
    }
    for (std::size_t i = 0; i < kParts; ++i) {
      const std::uint8_t* sub = scales + i * 16;
      group.scale[i] =
          V::mul(super, kTraits.signed_scales ? V::load_int8(sub) : V::load_uint8(sub));
    }
    if constexpr (kTraits.has_min) {
      const auto super_min =
          V::sub(V::set1(0.0f), V::load_f16(reinterpret_cast<const std::uint16_t*>(supers + 32)));
      for (std::size_t i = 0; i < kParts; ++i) {
        group.min[i] = V::mul(super_min, V::load_uint8(scales + kParts * 16 + i * 16));
      }
    }
  }
}

// The integer products of a group, one for each of its scales.
template <class V, PackedTraits kTraits>
struct GroupDots {
  static constexpr int kBits = kTraits.product_bits();
  static constexpr int kParts = kTraits.halves ? 2 : 1;
  static constexpr int kQuads = 8 / kParts;
  typename V::I part[kParts];
};

// What the products begin with, to take the weights' zero point off.
template <class V, PackedTraits kTraits>
GroupDots<V, kTraits> start_dots(const ActivationGroup& input) {
  using I = typename V::I;
  using Dots = GroupDots<V, kTraits>;
  constexpr bool kZero = kTraits.zero_shift >= 0 && !(Dots::kBits == 8 && V::kDotIsSigned8);
  constexpr int kShift = kZero ? kTraits.zero_shift : 0;
  const auto start = [](I neg_sum) {
    return kZero ? V::template shift_left<kShift>(neg_sum) : V::zero_int();
  };
  if constexpr (Dots::kParts == 1) {
    return {{start(V::set1_int(input.neg_sum))}};
  } else {
    const I neg_first = V::set1_int(input.neg_sum_first);
    return {{start(neg_first), start(V::sub_int(V::set1_int(input.neg_sum), neg_first))}};
  }
}

template <class V, PackedTraits kTraits>
GroupDots<V, kTraits> group_dots(const GroupWeights<V, kTraits>& group,
                                 const ActivationGroup& input) {
  using Dots = GroupDots<V, kTraits>;
  Dots dots = start_dots<V, kTraits>(input);
  for (int i = 0; i < Dots::kParts; ++i) {
    dots.part[i] = V::template dot<Dots::kBits, Dots::kQuads>(
        group.quads + i * Dots::kQuads, input.q + i * 4 * Dots::kQuads, dots.part[i]);
  }
  return dots;
}

// acc += activation scale * (weight scale * integer dot product [+ min * sum of q])
template <class V, PackedTraits kTraits>
typename V::F add_scaled_dots(const GroupWeights<V, kTraits>& group, const ActivationGroup& input,
                              const GroupDots<V, kTraits>& dots, typename V::F acc) {
  using F = typename V::F;
  using I = typename V::I;
  F value;
  if constexpr (!kTraits.halves) {
    const F dot = V::to_float(dots.part[0]);
    if constexpr (kTraits.has_min) {
      value = V::fma(group.scale[0], dot, V::mul(group.min[0], V::set1(input.sum)));
    } else {
      value = V::mul(group.scale[0], dot);
    }
  } else {
    value = V::mul(group.scale[0], V::to_float(dots.part[0]));
    value = V::fma(group.scale[1], V::to_float(dots.part[1]), value);
    if constexpr (kTraits.has_min) {
      const I neg_first = V::set1_int(input.neg_sum_first);
      const I neg_second = V::sub_int(V::set1_int(input.neg_sum), neg_first);
      value = V::fnma(group.min[0], V::to_float(neg_first), value);
      value = V::fnma(group.min[1], V::to_float(neg_second), value);
    }
  }
  return V::fma(V::set1(input.scale), value, acc);
}

template <class V, PackedTraits kTraits>
typename V::F accumulate_group(const GroupWeights<V, kTraits>& group, const ActivationGroup& input,
                               typename V::F acc) {
  return add_scaled_dots<V, kTraits>(group, input, group_dots<V, kTraits>(group, input), acc);
}

// A policy with dot_pair() multiplies the weights by two rows at once: adds the group's products
// for input[0] and input[1] to the cells of the first and of the second row.
template <class V, PackedTraits kTraits>
void accumulate_group_pair(const GroupWeights<V, kTraits>& group, const ActivationGroup* input,
                           float* first, float* second) {
  using Dots = GroupDots<V, kTraits>;
  Dots a = start_dots<V, kTraits>(input[0]);
  Dots b = start_dots<V, kTraits>(input[1]);
  for (int i = 0; i < Dots::kParts; ++i) {
    const int at = i * 4 * Dots::kQuads;
    V::template dot_pair<Dots::kBits, Dots::kQuads>(
        group.quads + i * Dots::kQuads, {input[0].q + at, input[1].q + at}, a.part[i], b.part[i]);
  }
  V::store(first, add_scaled_dots<V, kTraits>(group, input[0], a, V::load(first)));
  V::store(second, add_scaled_dots<V, kTraits>(group, input[1], b, V::load(second)));
}

// Asks for what is needed a few microseconds from now: hardware prefetchers begin anew on every
// page, and panels lie one behind the other. Far enough for several cores to share a memory
// channel, near enough for the second-level cache. Beyond the last panel it asks for nothing
// useful, which is harmless: a prefetch never faults.
inline constexpr std::size_t kPrefetchDistance = 16 * 1024;

static inline void prefetch_ahead(const std::uint8_t* at, std::size_t num_bytes) {
  for (std::size_t i = 0; i < num_bytes; i += kCacheLineBytes)
    __builtin_prefetch(at + kPrefetchDistance + i, /*rw=*/0, /*locality=*/2);
}

// kRows = 0: any number of rows, accumulated in `out` (32 rows are 2 KiB: it stays in the
// first-level cache, and the weights' registers are reused for every row).
template <class V, PackedTraits kTraits, int kRows>
void multiply_panel_rows(const std::uint8_t* panel, std::size_t num_groups,
                         const ActivationGroup* input, std::size_t num_rows, float* out) {
  using F = typename V::F;
  const PanelLayout layout = panel_layout(kTraits, num_groups);
  F acc[kRegs<V>][kRows == 0 ? 1 : kRows];
  if constexpr (kRows == 0) {
    for (std::size_t i = 0; i < num_rows * kPanelColumns; i += V::kLanes) {
      V::store(out + i, V::set1(0.0f));
    }
  } else {
    for (auto& part : acc) {
      for (F& row : part)
        row = V::set1(0.0f);
    }
  }
  for (std::size_t g = 0; g < num_groups; ++g) {
    const std::uint8_t* quants = panel + g * layout.group_quant_bytes;
    const std::uint8_t* scales = panel + layout.scales_offset + g * layout.group_scale_bytes;
    prefetch_ahead(quants, layout.group_quant_bytes);
    const std::uint8_t* supers =
        panel + layout.supers_offset + g / kSuperGroups * layout.super_bytes;
    const ActivationGroup* rows = input + g * (kRows == 0 ? num_rows : kRows);
    for (std::size_t part = 0; part < kRegs<V>; ++part) {
      const std::size_t column = part * V::kLanes;
      GroupWeights<V, kTraits> group;
      [&]<int... q>(std::integer_sequence<int, q...>) {
        ((group.quads[q] = unpack_quad<V, kTraits, q>(quants + column * 4)), ...);
      }(std::make_integer_sequence<int, 8>());
      load_scales<V, kTraits>(scales + column * (kTraits.super || kTraits.exponents ? 1 : 2),
                              supers + column * 2, group);
      if constexpr (kRows == 0) {
        std::size_t r = 0;
        if constexpr (V::kHasDotPair) {
          for (; r + 2 <= num_rows; r += 2) {
            float* cell = out + r * kPanelColumns + column;
            accumulate_group_pair<V, kTraits>(group, rows + r, cell, cell + kPanelColumns);
          }
        }
        for (; r < num_rows; ++r) {
          float* cell = out + r * kPanelColumns + column;
          V::store(cell, accumulate_group<V, kTraits>(group, rows[r], V::load(cell)));
        }
      } else {
        for (std::size_t r = 0; r < kRows; ++r) {
          acc[part][r] = accumulate_group<V, kTraits>(group, rows[r], acc[part][r]);
        }
      }
    }
  }
  if constexpr (kRows > 0) {
    for (std::size_t part = 0; part < kRegs<V>; ++part) {
      for (std::size_t r = 0; r < kRows; ++r) {
        V::store(out + r * kPanelColumns + part * V::kLanes, acc[part][r]);
      }
    }
  }
}

template <class V, PackedFormat kFormat>
void multiply_panel(const std::uint8_t* panel, std::size_t num_groups, const ActivationGroup* input,
                    std::size_t num_rows, float* out) {
  constexpr PackedTraits kTraits = packed_traits(kFormat);
  if (num_rows == 1) {
    multiply_panel_rows<V, kTraits, 1>(panel, num_groups, input, num_rows, out);
  } else {
    multiply_panel_rows<V, kTraits, 0>(panel, num_groups, input, num_rows, out);
  }
}

// ---- Products of float weights
// -------------------------------------------------------------------

template <class V, FloatFormat kFormat>
typename V::F load_weights(const std::uint8_t* row, std::size_t k) {
  if constexpr (kFormat == FloatFormat::kF32) {
    return V::load(reinterpret_cast<const float*>(row) + k);
  } else if constexpr (kFormat == FloatFormat::kF16) {
    return V::load_f16(reinterpret_cast<const std::uint16_t*>(row) + k);
  } else {
    return V::load_bf16(reinterpret_cast<const std::uint16_t*>(row) + k);
  }
}

template <class V, FloatFormat kFormat>
typename V::F load_weights_partial(const std::uint8_t* row, std::size_t k, std::size_t len) {
  if constexpr (kFormat == FloatFormat::kF32) {
    return V::load_partial(reinterpret_cast<const float*>(row) + k, len);
  } else if constexpr (kFormat == FloatFormat::kF16) {
    return V::load_f16_partial(reinterpret_cast<const std::uint16_t*>(row) + k, len);
  } else {
    return V::load_bf16_partial(reinterpret_cast<const std::uint16_t*>(row) + k, len);
  }
}

template <FloatFormat kFormat>
inline constexpr std::size_t kWeightBytes = kFormat == FloatFormat::kF32 ? 4 : 2;

// The sums of kColumns x kRows output elements, every element's kVirtualLanes chains in registers.
template <class V, int kColumns, int kRows>
struct FloatTile {
  typename V::F acc[kRows][kColumns][kRegs<V>];
};

template <class V, FloatFormat kFormat, int kColumns, int kRows>
void sum_float_products(const FloatProduct& p, std::size_t column, std::size_t row,
                        FloatTile<V, kColumns, kRows>& tile) {
  using F = typename V::F;
  const auto* weights =
      static_cast<const std::uint8_t*>(p.weights) + column * p.weight_stride_bytes;
  const float* input = p.input + row * p.input_stride;
  const auto step = [&](auto load_w, auto load_x) {
    for (std::size_t part = 0; part < kRegs<V>; ++part) {
      F w[kColumns];
      for (std::size_t c = 0; c < kColumns; ++c)
        w[c] = load_w(weights + c * p.weight_stride_bytes, part);
      for (std::size_t r = 0; r < kRows; ++r) {
        const F x = load_x(input + r * p.input_stride, part);
        for (std::size_t c = 0; c < kColumns; ++c)
          tile.acc[r][c][part] = V::fma(w[c], x, tile.acc[r][c][part]);
      }
    }
  };
  for (auto& columns : tile.acc) {
    for (auto& lanes : columns) {
      for (F& part : lanes)
        part = V::set1(0.0f);
    }
  }
  std::size_t k = 0;
  for (; k + kVirtualLanes <= p.in_features; k += kVirtualLanes) {
    if (row == 0 && k * kWeightBytes<kFormat> % kCacheLineBytes == 0) {
      for (std::size_t c = 0; c < kColumns; ++c) {
        prefetch_ahead(weights + c * p.weight_stride_bytes + k * kWeightBytes<kFormat>,
                       kCacheLineBytes);
      }
    }
    step([k](const std::uint8_t* w,
             std::size_t part) { return load_weights<V, kFormat>(w, k + part * V::kLanes); },
         [k](const float* x, std::size_t part) { return V::load(x + k + part * V::kLanes); });
  }
  if (k < p.in_features) {
    const std::size_t rest = p.in_features - k;
    step(
        [k, rest](const std::uint8_t* w, std::size_t part) {
          return load_weights_partial<V, kFormat>(w, k + part * V::kLanes,
                                                  lanes_below<V>(rest, part));
        },
        [k, rest](const float* x, std::size_t part) {
          return V::load_partial(x + k + part * V::kLanes, lanes_below<V>(rest, part));
        });
  }
}

template <class V, FloatFormat kFormat, int kColumns, int kRows>
void multiply_float_tile(const FloatProduct& p, std::size_t column, std::size_t row) {
  using F = typename V::F;
  constexpr std::size_t kSums = static_cast<std::size_t>(kColumns) * kRows;
  FloatTile<V, kColumns, kRows> tile;
  sum_float_products<V, kFormat, kColumns, kRows>(p, column, row, tile);
  F lanes[kSums];  // The two halves of a sum's chains are added first: see reduce_lanes.
  for (std::size_t i = 0; i < kSums; ++i) {
    const auto& parts = tile.acc[i / kColumns][i % kColumns];
    if constexpr (kRegs<V> == 1) {
      lanes[i] = parts[0];
    } else {
      lanes[i] = V::add(parts[0], parts[1]);
    }
  }
  float sums[kSums];
  std::size_t i = 0;
  for (; i + 4 <= kSums; i += 4)
    V::reduce_four(lanes[i], lanes[i + 1], lanes[i + 2], lanes[i + 3], sums + i);
  for (; i < kSums; ++i)
    sums[i] = V::reduce(lanes[i]);
  for (i = 0; i < kSums; ++i)
    p.out[(row + i / kColumns) * kPanelColumns + column + i % kColumns] = sums[i];
}

template <class V, FloatFormat kFormat, int kRows>
void multiply_float_rows(const FloatProduct& p, std::size_t row) {
  constexpr int kFitting = V::kFloatAccumulators / (kRows * kRegs<V>);
  constexpr int kColumns = kFitting >= 4 ? 4 : kFitting >= 2 ? 2 : 1;
  std::size_t column = 0;
  for (; column + kColumns <= p.num_columns; column += kColumns)
    multiply_float_tile<V, kFormat, kColumns, kRows>(p, column, row);
  for (; column < p.num_columns; ++column)
    multiply_float_tile<V, kFormat, 1, kRows>(p, column, row);
}

template <class V, FloatFormat kFormat>
void multiply_float(const FloatProduct& p) {
  constexpr std::size_t kMost = V::kFloatRows;
  std::size_t row = 0;
  std::size_t left = p.num_rows;
  for (; left >= kMost; left -= kMost, row += kMost) {
    if (kMost == 6 && left == 8) break;  // Two tiles of four beat one of six and one of two.
    multiply_float_rows<V, kFormat, V::kFloatRows>(p, row);
  }
  if constexpr (kMost > 4) {
    for (; left >= 4; left -= 4, row += 4)
      multiply_float_rows<V, kFormat, 4>(p, row);
  }
  for (; left >= 2; left -= 2, row += 2)
    multiply_float_rows<V, kFormat, 2>(p, row);
  if (left > 0) multiply_float_rows<V, kFormat, 1>(p, row);
}

// ---- Quantization of activations
// -----------------------------------------------------------------

template <class V>
void quantize_row(const float* input, std::size_t num_groups, ActivationGroup* out,
                  std::size_t out_stride) {
  using F = typename V::F;
  using I = typename V::I;
  constexpr std::size_t kParts = kGroupLen / V::kLanes;
  for (std::size_t g = 0; g < num_groups; ++g) {
    F x[kParts];
    // The largest magnitude by its bits: any NaN is above infinity, and infinity above the rest.
    I largest = V::zero_int();
    for (std::size_t i = 0; i < kParts; ++i) {
      x[i] = V::load(input + g * kGroupLen + i * V::kLanes);
      largest = V::max_int(largest, V::bits_of(V::abs(x[i])));
    }
    const float max = V::float_of_bits(V::reduce_max_int(largest));
    const bool finite = max < __builtin_inff();
    ActivationGroup& group = out[g * out_stride];
    group.scale = finite ? max / 127.0f : __builtin_nanf("");
    // Below this the reciprocal would overflow; such inputs quantize to zero.
    const float inverse = finite && max > 1e-35f ? 127.0f / max : 0.0f;
    std::int32_t sums[2] = {0, 0};
    for (std::size_t i = 0; i < kParts; ++i) {
      const I q = finite ? V::round_to_int(V::mul(x[i], V::set1(inverse))) : V::zero_int();
      V::store_int8(group.q + i * V::kLanes, q);
      sums[i * 2 / kParts] += V::reduce_add_int(q);
    }
    group.sum = static_cast<float>(sums[0] + sums[1]);
    group.neg_sum = -(sums[0] + sums[1]);
    group.neg_sum_first = -sums[0];
  }
}

// ---- Attention
// -----------------------------------------------------------------------------------

// Queries per register tile: with two registers of keys or values each they hide the latency of a
// fused multiply-add.
inline constexpr std::size_t kTileQueries = 4;
// With several heads their keys (and values) are taken so many positions at a time: the heads of a
// block lie together, and memory is read in its own order.
inline constexpr std::size_t kHeadTurnLen = 2 * kVirtualLanes;

template <KvFormat kFormat>
inline constexpr std::size_t kKvElementBytes = kFormat == KvFormat::kF16 ? 2 : 1;

// To the second-level cache. The hardware's own prefetching stops at the end of each short run.
inline void prefetch(const std::byte* p) {
  __builtin_prefetch(p, /*rw=*/0, /*locality=*/2);
}

// Elements of keys, values or their scales.
template <class V, KvFormat kFormat>
typename V::F load_kv(const std::byte* p, std::size_t idx) {
  if constexpr (kFormat == KvFormat::kF16) {
    return V::load_f16(reinterpret_cast<const std::uint16_t*>(p) + idx);
  } else {
    return V::load_int8(reinterpret_cast<const std::uint8_t*>(p) + idx);
  }
}

// The scores of queries [query, query + kQueries) of a head in `kBlocks` lane blocks from `block`.
template <class V, KvFormat kFormat, std::size_t kQueries, std::size_t kBlocks>
void score_tile(const AttentionTile& t, std::size_t head, std::size_t query, std::size_t block) {
  using F = typename V::F;
  constexpr bool kQuantized = kFormat != KvFormat::kF16;
  constexpr std::size_t kParts = kBlocks * kRegs<V>;
  const F zero = V::set1(0.0f);
  F score[kQueries][kParts];
  for (auto& row : score) {
    for (F& part : row)
      part = zero;
  }
  const float* q = t.queries + (head * t.query_stride + query) * t.head_dim;
  const std::byte* keys[kBlocks];
  const std::byte* ahead[kBlocks];
  for (std::size_t b = 0; b < kBlocks; ++b) {
    keys[b] = t.lanes[block + b].keys + head * t.head_stride;
    ahead[b] = t.lanes[block + b].after_keys + head * t.head_stride;
  }
  constexpr std::size_t kComponentsPerLine =
      kCacheLineBytes / (kVirtualLanes * kKvElementBytes<kFormat>);
  const auto add_components = [&](Range range, F(&acc)[kQueries][kParts]) {
    for (std::size_t i = range.begin; i < range.end; ++i) {
      if (query == 0 && i % kComponentsPerLine == 0) {
        for (std::size_t b = 0; b < kBlocks; ++b)
          prefetch(ahead[b] + i * t.block_size * kKvElementBytes<kFormat>);
      }
      F k[kParts];
      for (std::size_t part = 0; part < kParts; ++part) {
        k[part] = load_kv<V, kFormat>(keys[part / kRegs<V>],
                                      i * t.block_size + part % kRegs<V> * V::kLanes);
      }
      for (std::size_t r = 0; r < kQueries; ++r) {
        const F component = V::set1(q[r * t.head_dim + i]);
        for (std::size_t part = 0; part < kParts; ++part) {
          acc[r][part] = V::fma(component, k[part], acc[r][part]);
        }
      }
    }
  };
  if constexpr (!kQuantized) {
    add_components({0, t.head_dim}, score);
  } else {
    for (Range range = {0, 0}; range.begin < t.head_dim; range.begin = range.end) {
      const std::size_t group = range.begin / kKvScaleGroup;
      range.end =
          range.begin + kKvScaleGroup < t.head_dim ? range.begin + kKvScaleGroup : t.head_dim;
      F acc[kQueries][kParts];
      for (auto& row : acc) {
        for (F& part : row)
          part = zero;
      }
      add_components(range, acc);
      for (std::size_t part = 0; part < kParts; ++part) {
        const std::byte* scales =
            t.lanes[block + part / kRegs<V>].key_scales + head * t.head_stride;
        if (query == 0) prefetch(ahead[part / kRegs<V>] + (t.head_dim + 2 * group) * t.block_size);
        const F scale =
            load_kv<V, KvFormat::kF16>(scales, group * t.block_size + part % kRegs<V> * V::kLanes);
        for (std::size_t r = 0; r < kQueries; ++r)
          score[r][part] = V::fma(scale, acc[r][part], score[r][part]);
      }
    }
  }
  for (std::size_t r = 0; r < kQueries; ++r) {
    float* scores =
        t.scores + (head * t.query_stride + query + r) * kPartitionLen + block * kVirtualLanes;
    for (std::size_t part = 0; part < kParts; ++part)
      V::store(scores + part * V::kLanes, score[r][part]);
  }
}

// body.operator()<kQueries>(query) for all of `num_queries` queries, kTileQueries at a time and the
// rest together.
template <class Body>
void for_each_query_tile(std::size_t num_queries, Body body) {
  std::size_t query = 0;
  for (; query + kTileQueries <= num_queries; query += kTileQueries)
    body.template operator()<kTileQueries>(query);
  static_assert(kTileQueries == 4);
  switch (num_queries - query) {
    case 3:
      return body.template operator()<3>(query);
    case 2:
      return body.template operator()<2>(query);
    case 1:
      return body.template operator()<1>(query);
    default:
      return;
  }
}

// All scores in lane blocks [block, end_block).
template <class V, KvFormat kFormat>
void score_blocks(const AttentionTile& t, std::size_t block, std::size_t end_block) {
  const auto score = [&]<std::size_t kBlocks>(std::size_t first) {
    for (std::size_t head = 0; head < t.num_heads; ++head) {
      for_each_query_tile(t.num_queries, [&]<std::size_t kQueries>(std::size_t query) {
        score_tile<V, kFormat, kQueries, kBlocks>(t, head, query, first);
      });
    }
  };
  for (; block + V::kScoreBlocks <= end_block; block += V::kScoreBlocks)
    score.template operator()<V::kScoreBlocks>(block);
  for (; block < end_block; ++block)
    score.template operator()<1>(block);
}

// 0, 1, 2, ...: what the lanes of a partition's scores stand for.
struct LanePositions {
  float values[kPartitionLen];
  constexpr LanePositions() : values() {
    for (std::size_t i = 0; i < kPartitionLen; ++i)
      values[i] = static_cast<float>(i);
  }
};
inline constexpr LanePositions kLanePositions;

// Replaces a query's scores in [begin, end) by exp(score - maximum), the rest of the touched lane
// blocks by zero. `row` is the query's place among those of all heads.
template <class V>
void soften_scores(const AttentionTile& t, std::size_t row, Range range) {
  using F = typename V::F;
  float* scores = t.scores + row * kPartitionLen;
  const float query_position = t.slopes != nullptr ? t.query_positions[row % t.query_stride] : 0.0f;
  const std::size_t begin = range.begin;
  const std::size_t end = range.end;
  const std::size_t first = begin / kVirtualLanes * kVirtualLanes;
  const F lowest = V::set1(-__builtin_inff());
  F largest = lowest;
  for (std::size_t i = first; i < end; i += V::kLanes) {
    F score = V::load(scores + i);
    if (t.softcap > 0.0f) score = capped<V>(score, t.softcap);
    if (t.slopes != nullptr) {
      const F distance = V::sub(V::load(kLanePositions.values + i), V::set1(query_position));
      score = V::fma(V::set1(t.slopes[row]), distance, score);
    }
    if (t.biases != nullptr) score = V::add(score, V::load(t.biases[row] + i));
    score = V::keep_range(score, i, begin, end, lowest);
    V::store(scores + i, score);
    largest = V::max(score, largest);
  }
  const float max = V::reduce_max(largest);
  F acc[kRegs<V>];
  for (F& part : acc)
    part = V::set1(0.0f);
  for (std::size_t i = first; i < end; i += kVirtualLanes) {
    for (std::size_t part = 0; part < kRegs<V>; ++part) {
      const std::size_t at = i + part * V::kLanes;
      const F e = exp_of<V>(V::sub(V::load(scores + at), V::set1(max)));
      const F weight = V::keep_range(e, at, begin, end, V::set1(0.0f));
      V::store(scores + at, weight);
      acc[part] = V::add(acc[part], weight);
    }
  }
  t.maxima[row] = max;
  t.sums[row] = reduce_lanes<V>(acc);
}

// Queries [query, query + kQueries) of a head, kWidth registers of components from `component` on.
struct ValueTile {
  std::size_t head;
  std::size_t query;
  std::size_t component;
};

// out += weights of positions [begin, end) x values; the last register may be partial. Weights come
// from weight(position, query, register).
template <class V, KvFormat kFormat, std::size_t kQueries, std::size_t kWidth, class Weight>
void value_tile(const AttentionTile& t, const ValueTile& at, Range range, Weight weight) {
  using F = typename V::F;
  const std::size_t rest = t.value_dim - at.component - (kWidth - 1) * V::kLanes;
  const std::size_t last_len = rest < V::kLanes ? rest : V::kLanes;
  const auto len_of = [last_len](std::size_t w) { return w + 1 == kWidth ? last_len : V::kLanes; };
  float* out = t.out + (at.head * t.query_stride + at.query) * t.value_dim + at.component;
  F acc[kQueries][kWidth];
  for (std::size_t r = 0; r < kQueries; ++r) {
    for (std::size_t w = 0; w < kWidth; ++w) {
      acc[r][w] = load_lanes<V>(out + r * t.value_dim + w * V::kLanes, len_of(w));
    }
  }
  const auto step = [&](std::size_t position, auto load_last) {
    const std::byte* values =
        t.lanes[position / kVirtualLanes].values + at.head * t.value_head_stride;
    const std::size_t first = position % kVirtualLanes * t.value_dim + at.component;
    if (at.query == 0) {
      const std::byte* ahead = t.lanes[position / kVirtualLanes].after_values +
                               at.head * t.value_head_stride + first * kKvElementBytes<kFormat>;
      for (std::size_t w = 0; w < kWidth * V::kLanes;
           w += kCacheLineBytes / kKvElementBytes<kFormat>)
        prefetch(ahead + w * kKvElementBytes<kFormat>);
    }
    F value[kWidth];
    for (std::size_t w = 0; w + 1 < kWidth; ++w)
      value[w] = load_kv<V, kFormat>(values, first + w * V::kLanes);
    value[kWidth - 1] = load_last(values, first + (kWidth - 1) * V::kLanes);
    for (std::size_t r = 0; r < kQueries; ++r) {
      for (std::size_t w = 0; w < kWidth; ++w)
        acc[r][w] = V::fma(V::set1(weight(position, r, w)), value[w], acc[r][w]);
    }
  };
  if (last_len == V::kLanes) {
    for (std::size_t p = range.begin; p < range.end; ++p)
      step(p, [](const std::byte* v, std::size_t idx) { return load_kv<V, kFormat>(v, idx); });
  } else {
    for (std::size_t p = range.begin; p < range.end; ++p) {
      step(p, [last_len](const std::byte* v, std::size_t idx) {
        if constexpr (kFormat == KvFormat::kF16) {
          return V::load_f16_partial(reinterpret_cast<const std::uint16_t*>(v) + idx, last_len);
        } else {
          std::uint8_t lanes[V::kLanes] = {};
          __builtin_memcpy(lanes, v + idx, last_len);
          return V::load_int8(lanes);
        }
      });
    }
  }
  for (std::size_t r = 0; r < kQueries; ++r) {
    for (std::size_t w = 0; w < kWidth; ++w) {
      store_lanes<V>(out + r * t.value_dim + w * V::kLanes, len_of(w), acc[r][w]);
    }
  }
}

template <class V, std::size_t kQueries, std::size_t kWidth>
void value_tile_f16(const AttentionTile& t, const ValueTile& at, Range range) {
  const float* weights = t.scores + (at.head * t.query_stride + at.query) * kPartitionLen;
  value_tile<V, KvFormat::kF16, kQueries, kWidth>(
      t, at, range, [weights](std::size_t position, std::size_t r, std::size_t) {
        return weights[r * kPartitionLen + position];
      });
}

// The range lies within kHeadTurnLen positions from a multiple of that.
template <class V, std::size_t kQueries, std::size_t kWidth>
void value_tile_q8(const AttentionTile& t, const ValueTile& at, Range range) {
  constexpr std::size_t kGroups = (kWidth * V::kLanes + kKvScaleGroup - 1) / kKvScaleGroup;
  const float* weights = t.scores + (at.head * t.query_stride + at.query) * kPartitionLen;
  const std::size_t first = range.begin / kVirtualLanes * kVirtualLanes;
  const std::size_t first_group = at.component / kKvScaleGroup;
  float scaled[kGroups][kQueries][kHeadTurnLen];
  for (std::size_t p = first; p < range.end; p += V::kLanes) {
    const std::byte* scales =
        t.lanes[p / kVirtualLanes].value_scales + at.head * t.value_head_stride;
    if (at.query == 0) {
      prefetch(t.lanes[p / kVirtualLanes].after_values + at.head * t.value_head_stride +
               (t.value_dim + 2 * first_group) * t.block_size);
    }
    for (std::size_t g = 0; g < kGroups; ++g) {
      if ((first_group + g) * kKvScaleGroup >= t.value_dim) break;
      const auto scale =
          load_kv<V, KvFormat::kF16>(scales, (first_group + g) * t.block_size + p % kVirtualLanes);
      for (std::size_t r = 0; r < kQueries; ++r) {
        V::store(scaled[g][r] + (p - first),
                 V::mul(V::load(weights + r * kPartitionLen + p), scale));
      }
    }
  }
  value_tile<V, KvFormat::kQ8_0, kQueries, kWidth>(
      t, at, range, [&](std::size_t position, std::size_t r, std::size_t w) {
        return scaled[w * V::kLanes / kKvScaleGroup][r][position - first];
      });
}

template <class V, KvFormat kFormat, std::size_t kQueries>
void add_values(const AttentionTile& t, std::size_t head, std::size_t query, Range range) {
  if (range.begin >= range.end) return;
  const auto add = [&]<std::size_t kWidth>(std::size_t component) {
    const ValueTile at = {head, query, component};
    if constexpr (kFormat == KvFormat::kF16) {
      value_tile_f16<V, kQueries, kWidth>(t, at, range);
    } else {
      value_tile_q8<V, kQueries, kWidth>(t, at, range);
    }
  };
  constexpr std::size_t kWide = V::kValueRegisters * V::kLanes;
  std::size_t component = 0;
  for (; component + kWide <= t.value_dim; component += kWide)
    add.template operator()<V::kValueRegisters>(component);
  for (; component < t.value_dim; component += V::kLanes)
    add.template operator()<1>(component);
}

// Queries of different rows end at different positions: what all of them see is done together, the
// rest one by one, so that no query ever multiplies a position that it does not attend to. Only
// positions in `turn` are looked at.
template <class V, KvFormat kFormat, std::size_t kQueries>
void value_queries(const AttentionTile& t, std::size_t head, std::size_t query, Range turn) {
  const auto seen_by = [&t, turn](std::size_t r) {
    return Range{t.begins[r] > turn.begin ? t.begins[r] : turn.begin,
                 t.ends[r] < turn.end ? t.ends[r] : turn.end};
  };
  Range common = turn;
  for (std::size_t r = query; r < query + kQueries; ++r) {
    const Range seen = seen_by(r);
    common.begin = common.begin < seen.begin ? seen.begin : common.begin;
    common.end = common.end > seen.end ? seen.end : common.end;
  }
  if (common.begin >= common.end) {
    for (std::size_t r = query; r < query + kQueries; ++r)
      add_values<V, kFormat, 1>(t, head, r, seen_by(r));
    return;
  }
  for (std::size_t r = query; r < query + kQueries; ++r)
    add_values<V, kFormat, 1>(t, head, r, {seen_by(r).begin, common.begin});
  add_values<V, kFormat, kQueries>(t, head, query, common);
  for (std::size_t r = query; r < query + kQueries; ++r)
    add_values<V, kFormat, 1>(t, head, r, {common.end, seen_by(r).end});
}

template <class V, KvFormat kFormat>
void attend(const AttentionTile& t) {
  std::size_t begin = kPartitionLen;
  std::size_t end = 0;
  for (std::size_t r = 0; r < t.num_queries; ++r) {
    begin = t.begins[r] < begin ? t.begins[r] : begin;
    end = t.ends[r] > end ? t.ends[r] : end;
  }
  score_blocks<V, kFormat>(t, begin / kVirtualLanes, (end + kVirtualLanes - 1) / kVirtualLanes);
  for (std::size_t head = 0; head < t.num_heads; ++head) {
    const std::size_t row = head * t.query_stride;
    for (std::size_t r = 0; r < t.num_queries; ++r)
      soften_scores<V>(t, row + r, {t.begins[r], t.ends[r]});
    for (std::size_t i = 0; i < t.num_queries * t.value_dim; ++i)
      t.out[row * t.value_dim + i] = 0.0f;
  }
  const bool in_turns = t.num_heads > 1 || kFormat != KvFormat::kF16;
  const std::size_t turn_len = in_turns ? kHeadTurnLen : kPartitionLen;
  for (std::size_t turn = begin / turn_len * turn_len; turn < end; turn += turn_len) {
    for (std::size_t head = 0; head < t.num_heads; ++head) {
      for_each_query_tile(t.num_queries, [&]<std::size_t kQueries>(std::size_t query) {
        value_queries<V, kFormat, kQueries>(t, head, query, {turn, turn + turn_len});
      });
    }
  }
}

template <class V>
void merge_attention(AttentionState& running, const AttentionState& part, std::size_t value_dim) {
  using F = typename V::F;
  // A NaN maximum stays, as any NaN must.
  const float max = running.max > part.max || running.max != running.max ? running.max : part.max;
  const float old_scale = V::first_lane(exp_of<V>(V::set1(running.max - max)));
  const float new_scale = V::first_lane(exp_of<V>(V::set1(part.max - max)));
  running.sum = __builtin_fmaf(running.sum, old_scale, part.sum * new_scale);
  for_each_register<V>(value_dim, [&](std::size_t i, std::size_t n) {
    const F added = V::mul(load_lanes<V>(part.out + i, n), V::set1(new_scale));
    const F kept = load_lanes<V>(running.out + i, n);
    store_lanes<V>(running.out + i, n, V::fma(kept, V::set1(old_scale), added));
  });
  running.max = max;
}

// ---- The table
// -----------------------------------------------------------------------------------

template <class V>
constexpr KernelTable make_kernel_table() {
  using P = PackedFormat;
  return {
      .multiply_panel = {multiply_panel<V, P::kQ4_0>,    multiply_panel<V, P::kQ4_1>,
                         multiply_panel<V, P::kQ5_0>,    multiply_panel<V, P::kQ5_1>,
                         multiply_panel<V, P::kQ8_0>,    multiply_panel<V, P::kQ2_K>,
                         multiply_panel<V, P::kQ3_K>,    multiply_panel<V, P::kQ4_K>,
                         multiply_panel<V, P::kQ5_K>,    multiply_panel<V, P::kQ6_K>,
                         multiply_panel<V, P::kIQ4_NL>,  multiply_panel<V, P::kIQ4_XS>,
                         multiply_panel<V, P::kIQ1_S>,   multiply_panel<V, P::kIQ1_M>,
                         multiply_panel<V, P::kIQ2_XXS>, multiply_panel<V, P::kIQ2_S>,
                         multiply_panel<V, P::kIQ3_XXS>, multiply_panel<V, P::kIQ3_S>,
                         multiply_panel<V, P::kTernary>, multiply_panel<V, P::kMXFP4>,
                         multiply_panel<V, P::kNF4>},
      .multiply_float = {multiply_float<V, FloatFormat::kF32>, multiply_float<V, FloatFormat::kF16>,
                         multiply_float<V, FloatFormat::kBF16>},
      .multiply_bf16 = multiply_bf16<V>,
      .round_bf16 = round_bf16,
      .bf16_is_fast = false,
      .quantize_row = quantize_row<V>,
      .rms_norm = rms_norm<V>,
      .layer_norm = layer_norm<V>,
      .activation = activation<V>,
      .gated_activation = gated_activation<V>,
      .scale = scale<V>,
      .add_scaled = add_scaled<V>,
      .softcap = softcap<V>,
      .to_f16 = to_f16<V>,
      .attend = {attend<V, KvFormat::kF16>, attend<V, KvFormat::kQ8_0>},
      .merge_attention = merge_attention<V>,
  };
}

}  // namespace hearth
