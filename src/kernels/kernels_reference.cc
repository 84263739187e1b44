// Plain loops, for any CPU: the statement of what the fast kernels compute, bit for bit.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kernel_table.h"
#include "kernels/simd_math.h"
#include "tensor/float16.h"

namespace hearth {
namespace {

using Lanes = std::array<float, kVirtualLanes>;

float add_up(Lanes lanes) {
  for (std::size_t half = kVirtualLanes / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i)
      lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

float load_f16(const std::uint8_t* p, std::size_t idx) {
  std::uint16_t bits;
  std::memcpy(&bits, p + idx * sizeof(bits), sizeof(bits));
  return f16_to_f32(bits);
}

// ---- Products of packed weights
// ------------------------------------------------------------------

// Value k (0..31) of a group's quants for a column, as the panel layout places it.
int unpack_value(const PackedTraits& traits, const std::uint8_t* quants, std::size_t column,
                 std::size_t k) {
  const std::size_t quad = k / 4;
  const std::size_t byte = column * 4 + k % 4;
  const auto plane = [&](std::size_t vector, std::size_t shift, int mask) {
    return (quants[vector * 64 + byte] >> shift) & mask;
  };
  const auto nibble = [&] { return plane(quad % 4, quad / 4 * 4, 0xf); };
  const auto level = [&](int q) { return traits.has_table() ? table_of(traits.levels)[q] : q; };
  switch (traits.bits) {
    case 2:
      return plane(quad / 4, quad % 4 * 2, 3);
    case 3:
      return level(plane(quad / 4, quad % 4 * 2, 3) | (plane(2, quad, 1) << 2));
    case 4:
      return level(nibble());
    case 5:
      return nibble() | (plane(4, quad, 1) << 4);
    case 6:
      return nibble() | (plane(4 + quad / 4, quad % 4 * 2, 3) << 4);
    default:
      return plane(quad, 0, 0xff);
  }
}

struct GroupScales {
  float scale[2] = {};
  float min[2] = {};  // As it is added.
};

GroupScales load_scales(const PackedTraits& traits, const std::uint8_t* scales,
                        const std::uint8_t* supers, std::size_t column) {
  GroupScales result;
  if (traits.exponents) {
    result.scale[0] = std::ldexp(0.5f, scales[column] - 127);
    return result;
  }
  if (!traits.super) {
    result.scale[0] = load_f16(scales, column);
    if (traits.has_min) result.min[0] = load_f16(scales + 32, column);
    return result;
  }
  const std::size_t parts = traits.halves ? 2 : 1;
  const float super = std::ldexp(load_f16(supers, column), -traits.unit_shift);
  for (std::size_t i = 0; i < parts; ++i) {
    const std::uint8_t sub = scales[i * 16 + column];
    result.scale[i] =
        super * static_cast<float>(traits.signed_scales
                                       ? static_cast<int>(static_cast<std::int8_t>(sub))
                                       : static_cast<int>(sub));
    if (traits.has_min) {
      result.min[i] =
          -load_f16(supers + 32, column) * static_cast<float>(scales[(parts + i) * 16 + column]);
    }
  }
  return result;
}

// The group's share of an output element before the activation scale.
float group_value(const PackedTraits& traits, const int* weights, const GroupScales& scales,
                  const ActivationGroup& input) {
  const int zero_point = traits.zero_shift >= 0 ? 1 << traits.zero_shift : 0;
  int dot[2] = {0, 0};
  for (std::size_t k = 0; k < kGroupLen; ++k) {
    dot[k * 2 / kGroupLen] += (weights[k] - zero_point) * input.q[k];
  }
  if (!traits.halves) {
    const auto whole = static_cast<float>(dot[0] + dot[1]);
    if (!traits.has_min) return scales.scale[0] * whole;
    return std::fma(scales.scale[0], whole, scales.min[0] * input.sum);
  }
  float value = scales.scale[0] * static_cast<float>(dot[0]);
  value = std::fma(scales.scale[1], static_cast<float>(dot[1]), value);
  if (traits.has_min) {
    const int neg_second = input.neg_sum - input.neg_sum_first;
    value = std::fma(-scales.min[0], static_cast<float>(input.neg_sum_first), value);
    value = std::fma(-scales.min[1], static_cast<float>(neg_second), value);
  }
  return value;
}

template <PackedFormat kFormat>
void multiply_panel(const std::uint8_t* panel, std::size_t num_groups, const ActivationGroup* input,
                    std::size_t num_rows, float* out) {
  constexpr PackedTraits kTraits = packed_traits(kFormat);
  const PanelLayout layout = panel_layout(kTraits, num_groups);
  std::fill_n(out, num_rows * kPanelColumns, 0.0f);
  for (std::size_t g = 0; g < num_groups; ++g) {
    for (std::size_t column = 0; column < kPanelColumns; ++column) {
      int weights[kGroupLen];
      for (std::size_t k = 0; k < kGroupLen; ++k) {
        weights[k] = unpack_value(kTraits, panel + g * layout.group_quant_bytes, column, k);
      }
      const GroupScales scales =
          load_scales(kTraits, panel + layout.scales_offset + g * layout.group_scale_bytes,
                      panel + layout.supers_offset + g / kSuperGroups * layout.super_bytes, column);
      for (std::size_t r = 0; r < num_rows; ++r) {
        const ActivationGroup& row = input[g * num_rows + r];
        float& cell = out[r * kPanelColumns + column];
        cell = std::fma(row.scale, group_value(kTraits, weights, scales, row), cell);
      }
    }
  }
}

// ---- Products of float weights
// -------------------------------------------------------------------

template <FloatFormat kFormat>
float load_weight(const std::uint8_t* row, std::size_t k) {
  if constexpr (kFormat == FloatFormat::kF32) {
    float value;
    std::memcpy(&value, row + k * sizeof(value), sizeof(value));
    return value;
  } else if constexpr (kFormat == FloatFormat::kF16) {
    return load_f16(row, k);
  } else {
    std::uint16_t bits;
    std::memcpy(&bits, row + k * sizeof(bits), sizeof(bits));
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
}

template <FloatFormat kFormat>
void multiply_float(const FloatProduct& p) {
  const std::size_t rounded = (p.in_features + kVirtualLanes - 1) / kVirtualLanes * kVirtualLanes;
  for (std::size_t column = 0; column < p.num_columns; ++column) {
    const auto* weights =
        static_cast<const std::uint8_t*>(p.weights) + column * p.weight_stride_bytes;
    for (std::size_t r = 0; r < p.num_rows; ++r) {
      const float* input = p.input + r * p.input_stride;
      Lanes acc{};
      for (std::size_t k = 0; k < rounded; ++k) {
        const bool present = k < p.in_features;
        const float w = present ? load_weight<kFormat>(weights, k) : 0.0f;
        const float x = present ? input[k] : 0.0f;
        acc[k % kVirtualLanes] = std::fma(w, x, acc[k % kVirtualLanes]);
      }
      p.out[r * kPanelColumns + column] = add_up(acc);
    }
  }
}

void multiply_bf16(const Bf16Product& p) {
  const auto value = [](std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  };
  for (std::size_t r = 0; r < p.num_rows; ++r) {
    for (std::size_t column = 0; column < kPanelColumns; ++column) {
      float sum = 0.0f;
      for (std::size_t pair = 0; pair < p.num_pairs; ++pair) {
        const std::uint16_t* w = p.panel + 2 * (pair * kPanelColumns + column);
        const std::uint16_t* x = p.input + r * p.input_stride + 2 * pair;
        sum = std::fma(value(w[1]), value(x[1]), sum);
        sum = std::fma(value(w[0]), value(x[0]), sum);
      }
      p.out[r * kPanelColumns + column] = sum;
    }
  }
}

void round_bf16(const float* input, std::size_t len, std::uint16_t* out) {
  for (std::size_t k = 0; k < len; ++k)
    out[k] = round_to_bf16(std::bit_cast<std::uint32_t>(input[k]));
}

// ---- Quantization of activations
// -----------------------------------------------------------------

void quantize_row(const float* input, std::size_t num_groups, ActivationGroup* out,
                  std::size_t out_stride) {
  for (std::size_t g = 0; g < num_groups; ++g) {
    const float* x = input + g * kGroupLen;
    ActivationGroup& group = out[g * out_stride];
    float max = 0.0f;
    bool finite = true;
    for (std::size_t k = 0; k < kGroupLen; ++k) {
      finite = finite && std::isfinite(x[k]);
      max = std::max(max, std::fabs(x[k]));
    }
    group.scale = finite ? max / 127.0f : std::numeric_limits<float>::quiet_NaN();
    const float inverse = finite && max > 1e-35f ? 127.0f / max : 0.0f;
    int sums[2] = {0, 0};
    for (std::size_t k = 0; k < kGroupLen; ++k) {
      const int q = finite ? static_cast<int>(std::nearbyint(x[k] * inverse)) : 0;
      group.q[k] = static_cast<std::int8_t>(q);
      sums[k * 2 / kGroupLen] += q;
    }
    group.sum = static_cast<float>(sums[0] + sums[1]);
    group.neg_sum = -(sums[0] + sums[1]);
    group.neg_sum_first = -sums[0];
  }
}

// ---- Element-wise
// --------------------------------------------------------------------------------

// The policy of simd_math.h for one float.
struct Scalar {
  using F = float;
  static F set1(float x) { return x; }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return std::fma(a, b, c); }
  static F abs(F x) { return std::fabs(x); }
  static F select_less(F a, F b, F yes, F no) { return a < b ? yes : no; }
  static F power_of_two(F shifted) {
    return std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + (127U << 23));
  }
};

void rms_norm(const float* input, const float* gain, float epsilon, std::size_t len, float* out) {
  const std::size_t rounded = (len + kVirtualLanes - 1) / kVirtualLanes * kVirtualLanes;
  Lanes acc{};
  for (std::size_t k = 0; k < rounded; ++k) {
    const float x = k < len ? input[k] : 0.0f;
    acc[k % kVirtualLanes] = std::fma(x, x, acc[k % kVirtualLanes]);
  }
  const float mean = add_up(acc) / static_cast<float>(len);
  const float inverse = 1.0f / std::sqrt(mean + epsilon);
  for (std::size_t k = 0; k < len; ++k)
    out[k] = input[k] * inverse * gain[k];
}

void layer_norm(const float* input, const LayerNorm& norm, std::size_t len, float* out) {
  const auto count = static_cast<float>(len);
  Lanes sums{};
  for (std::size_t k = 0; k < len; ++k)
    sums[k % kVirtualLanes] += input[k];
  const float mean = add_up(sums) / count;
  Lanes squares{};
  for (std::size_t k = 0; k < len; ++k) {
    const float distance = input[k] - mean;
    squares[k % kVirtualLanes] = std::fma(distance, distance, squares[k % kVirtualLanes]);
  }
  const float inverse = 1.0f / std::sqrt(add_up(squares) / count + norm.epsilon);
  for (std::size_t k = 0; k < len; ++k)
    out[k] = std::fma((input[k] - mean) * inverse, norm.gain[k], norm.bias[k]);
}

float activate(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return silu_of<Scalar>(x);
    case ActivationKind::kGelu:
      return gelu_of<Scalar>(x);
    case ActivationKind::kGeluTanh:
      return gelu_tanh_of<Scalar>(x);
    case ActivationKind::kRelu:
      return relu_of<Scalar>(x);
    case ActivationKind::kReluSquared:
      return relu_squared_of<Scalar>(x);
    case ActivationKind::kClampedSwish:
      return clamped_swish_of<Scalar>(x);
  }
  return x;
}

void activation(ActivationKind kind, const float* input, std::size_t len, float* out) {
  for (std::size_t k = 0; k < len; ++k)
    out[k] = activate(kind, input[k]);
}

void gated_activation(ActivationKind kind, const float* gate, const float* up, std::size_t len,
                      float* out) {
  const bool clamps = kind == ActivationKind::kClampedSwish;
  for (std::size_t k = 0; k < len; ++k)
    out[k] = activate(kind, gate[k]) * (clamps ? clamped_up_of<Scalar>(up[k]) : up[k]);
}

void scale(const float* input, float factor, std::size_t len, float* out) {
  for (std::size_t k = 0; k < len; ++k)
    out[k] = input[k] * factor;
}

void add_scaled(const float* input, float factor, std::size_t len, float* out) {
  for (std::size_t k = 0; k < len; ++k)
    out[k] = std::fma(input[k], factor, out[k]);
}

float capped(float x, float cap) {
  return cap * tanh_of<Scalar>(x / cap);
}

void softcap(const float* input, float cap, std::size_t len, float* out) {
  for (std::size_t k = 0; k < len; ++k)
    out[k] = capped(input[k], cap);
}

void to_f16(const float* input, std::size_t len, std::uint16_t* out) {
  for (std::size_t k = 0; k < len; ++k)
    out[k] = f32_to_f16(input[k]);
}

// ---- Attention
// -----------------------------------------------------------------------------------

template <KvFormat kFormat>
float load_kv(const std::byte* p, std::size_t idx) {
  if constexpr (kFormat == KvFormat::kF16) {
    return load_f16(reinterpret_cast<const std::uint8_t*>(p), idx);
  } else {
    return static_cast<float>(static_cast<std::int8_t>(p[idx]));
  }
}

// The scale of group `group` of one of 16 positions.
float load_kv_scale(const AttentionTile& t, const std::byte* scales, std::size_t position,
                    std::size_t group) {
  return load_f16(reinterpret_cast<const std::uint8_t*>(scales),
                  group * t.block_size + position % kVirtualLanes);
}

template <KvFormat kFormat>
float score_of(const AttentionTile& t, std::size_t head, const float* query, std::size_t position) {
  const KvLanes& lanes = t.lanes[position / kVirtualLanes];
  const std::byte* keys = lanes.keys + head * t.head_stride;
  constexpr bool kQuantized = kFormat != KvFormat::kF16;
  const std::size_t group_len = kQuantized ? kKvScaleGroup : t.head_dim;
  float score = 0.0f;
  for (std::size_t begin = 0; begin < t.head_dim; begin += group_len) {
    float sum = 0.0f;
    for (std::size_t i = begin; i < std::min(begin + group_len, t.head_dim); ++i) {
      const float key = load_kv<kFormat>(keys, i * t.block_size + position % kVirtualLanes);
      sum = std::fma(query[i], key, sum);
    }
    if constexpr (kQuantized) {
      const std::byte* scales = lanes.key_scales + head * t.head_stride;
      score = std::fma(load_kv_scale(t, scales, position, begin / group_len), sum, score);
    } else {
      score = sum;
    }
  }
  return t.softcap > 0.0f ? capped(score, t.softcap) : score;
}

template <KvFormat kFormat>
void add_value(const AttentionTile& t, std::size_t head, std::size_t position, float weight,
               float* out) {
  const KvLanes& lanes = t.lanes[position / kVirtualLanes];
  const std::byte* values = lanes.values + head * t.value_head_stride;
  for (std::size_t i = 0; i < t.value_dim; ++i) {
    float scaled = weight;
    if constexpr (kFormat != KvFormat::kF16) {
      const std::byte* scales = lanes.value_scales + head * t.value_head_stride;
      scaled = weight * load_kv_scale(t, scales, position, i / kKvScaleGroup);
    }
    const float value = load_kv<kFormat>(values, position % kVirtualLanes * t.value_dim + i);
    out[i] = std::fma(scaled, value, out[i]);
  }
}

template <KvFormat kFormat>
void attend_query(const AttentionTile& t, std::size_t head, std::size_t query) {
  const std::size_t row = head * t.query_stride + query;
  float* scores = t.scores + row * kPartitionLen;
  float max = -std::numeric_limits<float>::infinity();
  for (std::size_t p = t.begins[query]; p < t.ends[query]; ++p) {
    scores[p] = score_of<kFormat>(t, head, t.queries + row * t.head_dim, p);
    if (t.slopes != nullptr) {
      const float distance = static_cast<float>(p) - t.query_positions[query];
      scores[p] = std::fma(t.slopes[row], distance, scores[p]);
    }
    if (t.biases != nullptr) scores[p] += t.biases[row][p];
    max = scores[p] > max ? scores[p] : max;
  }
  Lanes sums{};
  float* out = t.out + row * t.value_dim;
  std::fill_n(out, t.value_dim, 0.0f);
  for (std::size_t p = t.begins[query]; p < t.ends[query]; ++p) {
    const float weight = exp_of<Scalar>(scores[p] - max);
    sums[p % kVirtualLanes] += weight;
    add_value<kFormat>(t, head, p, weight, out);
  }
  t.maxima[row] = max;
  t.sums[row] = add_up(sums);
}

template <KvFormat kFormat>
void attend(const AttentionTile& t) {
  for (std::size_t head = 0; head < t.num_heads; ++head) {
    for (std::size_t query = 0; query < t.num_queries; ++query)
      attend_query<kFormat>(t, head, query);
  }
}

void merge_attention(AttentionState& running, const AttentionState& part, std::size_t value_dim) {
  const float max = running.max > part.max || std::isnan(running.max) ? running.max : part.max;
  const float old_scale = exp_of<Scalar>(running.max - max);
  const float new_scale = exp_of<Scalar>(part.max - max);
  running.sum = std::fma(running.sum, old_scale, part.sum * new_scale);
  for (std::size_t i = 0; i < value_dim; ++i) {
    running.out[i] = std::fma(running.out[i], old_scale, part.out[i] * new_scale);
  }
  running.max = max;
}

using P = PackedFormat;
constexpr KernelTable kTable = {
    .multiply_panel =
        {multiply_panel<P::kQ4_0>,    multiply_panel<P::kQ4_1>,    multiply_panel<P::kQ5_0>,
         multiply_panel<P::kQ5_1>,    multiply_panel<P::kQ8_0>,    multiply_panel<P::kQ2_K>,
         multiply_panel<P::kQ3_K>,    multiply_panel<P::kQ4_K>,    multiply_panel<P::kQ5_K>,
         multiply_panel<P::kQ6_K>,    multiply_panel<P::kIQ4_NL>,  multiply_panel<P::kIQ4_XS>,
         multiply_panel<P::kIQ1_S>,   multiply_panel<P::kIQ1_M>,   multiply_panel<P::kIQ2_XXS>,
         multiply_panel<P::kIQ2_S>,   multiply_panel<P::kIQ3_XXS>, multiply_panel<P::kIQ3_S>,
         multiply_panel<P::kTernary>, multiply_panel<P::kMXFP4>,   multiply_panel<P::kNF4>},
    .multiply_float = {multiply_float<FloatFormat::kF32>, multiply_float<FloatFormat::kF16>,
                       multiply_float<FloatFormat::kBF16>},
    .multiply_bf16 = multiply_bf16,
    .round_bf16 = round_bf16,
    .bf16_is_fast = false,
    .quantize_row = quantize_row,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .activation = activation,
    .gated_activation = gated_activation,
    .scale = scale,
    .add_scaled = add_scaled,
    .softcap = softcap,
    .to_f16 = to_f16,
    .attend = {attend<KvFormat::kF16>, attend<KvFormat::kQ8_0>},
    .merge_attention = merge_attention,
};

}  // namespace

const KernelTable& reference_kernels() {
  return kTable;
}

}  // namespace hearth
