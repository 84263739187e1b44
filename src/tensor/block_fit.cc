#include "tensor/block_fit.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "tensor/float16.h"

namespace hearth {
namespace {

// Sums are kept in so many lanes, which makes their order fixed and lets the compiler use vectors.
constexpr std::size_t kLanes = 8;
// First scales to each side of the one that spans all values, and their distance in levels.
constexpr int kTriesPerSide = 9;
constexpr float kTryDistance = 0.125f;
// Rounds of nearest levels and best scale after the first; more hardly ever change anything.
constexpr int kRefinements = 2;

// Adds up pairs, pairs of pairs and so on.
double total(const float (&lanes)[kLanes]) {
  const float a = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6]);
  const float b = (lanes[1] + lanes[5]) + (lanes[3] + lanes[7]);
  return static_cast<double>(a + b);
}

// The nearest integer of [low, high], halves to even: adding and taking away 1.5 * 2^23 leaves no
// room for a fraction.
struct NearestInteger {
  float low;
  float high;
  float operator()(float x) const {
    constexpr float kNoFraction = 0x1.8p23f;
    const float limited = std::min(std::max(x, low), high);
    return (limited + kNoFraction) - kNoFraction;
  }
};

// The nearest of a format's levels, which ascend.
template <const auto& kLevels>
struct NearestLevel {
  float operator()(float x) const {
    auto level = static_cast<float>(kLevels[0]);
    for (std::size_t i = 1; i < std::size(kLevels); ++i) {
      const float border =
          (static_cast<float>(kLevels[i - 1]) + static_cast<float>(kLevels[i])) * 0.5f;
      level = x > border ? static_cast<float>(kLevels[i]) : level;
    }
    return level;
  }
};
using NearestIQ4 = NearestLevel<kIQ4Levels>;
using NearestNF4 = NearestLevel<kNF4Levels>;

float inverse_or_zero(float x) {
  return x == 0.0f ? 0.0f : 1.0f / x;
}

float extreme(const WeightedValues& values) {
  return *std::max_element(values.x, values.x + values.len,
                           [](float a, float b) { return std::abs(a) < std::abs(b); });
}

// Weighted sums of what a scale makes of a group, q being the levels.
struct Sums {
  double xq = 0.0;
  double qq = 0.0;
};

template <typename Nearest>
Sums sum_levels(const WeightedValues& values, float inverse, Nearest nearest) {
  float xq[kLanes] = {};
  float qq[kLanes] = {};
  for (std::size_t i = 0; i < values.len; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float x = values.x[i + lane];
      const float q = nearest(x * inverse);
      const float wq = values.w[i + lane] * q;
      xq[lane] += wq * x;
      qq[lane] += wq * q;
    }
  }
  return {total(xq), total(qq)};
}

// How much of the weighted squares a scale explains once it is the best one for its levels.
double explained(const Sums& sums) {
  return sums.qq > 0.0 ? sums.xq * sums.xq / sums.qq : 0.0;
}

template <typename Nearest>
float search_signed(const WeightedValues& values, const SignedLevels& levels, Nearest nearest) {
  const float largest = extreme(values);
  if (largest == 0.0f) return 0.0f;
  const float span = static_cast<float>(levels.high - levels.low);
  const float spacing = levels.kind == LevelKind::kIntegers ? 1.0f : span / 15.0f;
  Sums best;
  // The largest value may end up at either end of the levels; more often it is the farther one.
  for (const int end : {levels.low, levels.high}) {
    for (int i = -kTriesPerSide; i <= kTriesPerSide; ++i) {
      const float level = static_cast<float>(end) + static_cast<float>(i) * kTryDistance * spacing;
      const Sums sums = sum_levels(values, level / largest, nearest);
      if (explained(sums) > explained(best)) best = sums;
    }
  }
  for (int i = 0; i < kRefinements && best.xq != 0.0; ++i) {
    const Sums sums = sum_levels(values, static_cast<float>(best.qq / best.xq), nearest);
    if (explained(sums) <= explained(best)) break;
    best = sums;
  }
  return best.qq > 0.0 ? static_cast<float>(best.xq / best.qq) : 0.0f;
}

NearestInteger nearest_integer(const SignedLevels& levels) {
  return {static_cast<float>(levels.low), static_cast<float>(levels.high)};
}

// Weighted squared error of a group at a scale, and what fits the scale's unit to it.
struct GroupError {
  double error = std::numeric_limits<double>::infinity();
  Sums sums;  // Of levels times the stored scale.
};

template <typename Nearest>
GroupError error_at(const WeightedValues& values, float scale, Nearest nearest) {
  const float inverse = inverse_or_zero(scale);
  float errors[kLanes] = {};
  float xq[kLanes] = {};
  float qq[kLanes] = {};
  for (std::size_t i = 0; i < values.len; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float x = values.x[i + lane];
      const float w = values.w[i + lane];
      const float q = nearest(x * inverse);
      const float difference = x - scale * q;
      errors[lane] += w * difference * difference;
      xq[lane] += w * q * x;
      qq[lane] += w * q * q;
    }
  }
  return {total(errors), {total(xq), total(qq)}};
}

// Stored scales of all groups at the unit `d`, each the best of the integers around its own fit.
template <typename Nearest>
struct SignedChoice {
  double error = 0.0;
  Sums sums;
  SignedScales scales;
};

template <typename Nearest>
SignedChoice<Nearest> choose_signed(const WeightedValues& values, const SignedFormat& format,
                                    const float* fits, float d, Nearest nearest) {
  SignedChoice<Nearest> choice;
  choice.scales.d = nearest_f16(d);
  const float unit = f16_to_f32(choice.scales.d);
  const std::size_t group_len = values.len / format.num_groups;
  for (std::size_t g = 0; g < format.num_groups; ++g) {
    const WeightedValues group = values.part(g * group_len, group_len);
    const int middle = static_cast<int>(std::round(fits[g] * inverse_or_zero(unit)));
    GroupError best;
    for (int scale = std::max(middle - 1, format.min_scale);
         scale <= std::min(middle + 1, format.max_scale); ++scale) {
      const GroupError found = error_at(group, unit * static_cast<float>(scale), nearest);
      if (found.error >= best.error) continue;
      best = found;
      choice.scales.groups[g] = scale;
    }
    const double scale = choice.scales.groups[g];
    choice.error += best.error;
    choice.sums.xq += best.sums.xq * scale;
    choice.sums.qq += best.sums.qq * scale * scale;
  }
  return choice;
}

template <typename Nearest>
SignedScales search_signed_scales(const WeightedValues& values, const SignedFormat& format,
                                  Nearest nearest) {
  float fits[16] = {};
  const std::size_t group_len = values.len / format.num_groups;
  float largest = 0.0f;
  for (std::size_t g = 0; g < format.num_groups; ++g) {
    fits[g] = search_signed(values.part(g * group_len, group_len), format.levels, nearest);
    if (std::abs(fits[g]) > std::abs(largest)) largest = fits[g];
  }
  if (largest == 0.0f) return {};
  // The largest one becomes the stored scale farthest from zero.
  auto best =
      choose_signed(values, format, fits, largest / static_cast<float>(format.min_scale), nearest);
  for (int i = 0; i < kRefinements && best.sums.qq > 0.0; ++i) {
    const auto d = static_cast<float>(best.sums.xq / best.sums.qq);
    const auto choice = choose_signed(values, format, fits, d, nearest);
    if (choice.error >= best.error) break;
    best = choice;
  }
  return best.scales;
}

// Weighted sums of a group that do not depend on its levels.
struct AffineTotals {
  double w = 0.0;
  double x = 0.0;
  double xx = 0.0;
};

AffineTotals sum_values(const WeightedValues& values) {
  float w[kLanes] = {};
  float x[kLanes] = {};
  float xx[kLanes] = {};
  for (std::size_t i = 0; i < values.len; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float weighted = values.w[i + lane] * values.x[i + lane];
      w[lane] += values.w[i + lane];
      x[lane] += weighted;
      xx[lane] += weighted * values.x[i + lane];
    }
  }
  return {total(w), total(x), total(xx)};
}

struct AffineSums {
  double q = 0.0;
  double qq = 0.0;
  double xq = 0.0;
};

AffineSums sum_affine(const WeightedValues& values, const AffineFit& fit, float max_q) {
  const NearestInteger nearest = {0.0f, max_q};
  const float inverse = inverse_or_zero(fit.scale);
  float q[kLanes] = {};
  float qq[kLanes] = {};
  float xq[kLanes] = {};
  for (std::size_t i = 0; i < values.len; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float x = values.x[i + lane];
      const float level = nearest((x - fit.offset) * inverse);
      const float weighted = values.w[i + lane] * level;
      q[lane] += weighted;
      qq[lane] += weighted * level;
      xq[lane] += weighted * x;
    }
  }
  return {total(q), total(qq), total(xq)};
}

struct ScoredFit {
  AffineFit fit;
  double error = std::numeric_limits<double>::infinity();
};

// The best scale and offset for given levels: the normal equations of x = scale * q + offset.
ScoredFit solve_affine(const AffineTotals& totals, const AffineSums& sums, float max_offset) {
  double scale = 0.0;
  double offset = totals.x / totals.w;
  const double determinant = totals.w * sums.qq - sums.q * sums.q;
  if (determinant > 1e-9 * totals.w * sums.qq) {
    scale = (totals.w * sums.xq - totals.x * sums.q) / determinant;
    offset = (sums.qq * totals.x - sums.q * sums.xq) / determinant;
  }
  if (offset > static_cast<double>(max_offset)) {
    offset = static_cast<double>(max_offset);
    scale = sums.qq > 0.0 ? (sums.xq - offset * sums.q) / sums.qq : 0.0;
  }
  scale = std::max(scale, 0.0);
  const double error = totals.xx - 2.0 * scale * sums.xq - 2.0 * offset * totals.x +
                       scale * scale * sums.qq + 2.0 * scale * offset * sums.q +
                       offset * offset * totals.w;
  return {{static_cast<float>(scale), static_cast<float>(offset)}, error};
}

AffineFit search_affine(const WeightedValues& values, int max_q, float max_offset) {
  const auto [least, most] = std::minmax_element(values.x, values.x + values.len);
  const float low = std::min(*least, max_offset);
  const float extent = *most - low;
  if (!(extent > 0.0f)) return {0.0f, low};
  const AffineTotals totals = sum_values(values);
  const auto levels = static_cast<float>(max_q);
  ScoredFit best;
  for (int i = -kTriesPerSide; i <= kTriesPerSide; ++i) {
    const AffineFit first = {extent / (levels + static_cast<float>(i) * kTryDistance), low};
    const ScoredFit found = solve_affine(totals, sum_affine(values, first, levels), max_offset);
    if (found.error < best.error) best = found;
  }
  for (int i = 0; i < kRefinements; ++i) {
    const ScoredFit found = solve_affine(totals, sum_affine(values, best.fit, levels), max_offset);
    if (found.error >= best.error) break;
    best = found;
  }
  return best.fit;
}

// Error of a group with its final numbers, and its share of the sums that fit the block's units:
// x = d * (scale * q) - min * minimum.
struct UnitSums {
  double error = std::numeric_limits<double>::infinity();
  double aa = 0.0;  // a = scale * q
  double xa = 0.0;
  double ab = 0.0;  // b = minimum
  double bb = 0.0;
  double xb = 0.0;
};

// Levels and error of one group at a scale and minimum.
struct AffineError {
  double error = 0.0;
  AffineSums sums;
};

AffineError affine_error_at(const WeightedValues& values, const AffineFit& fit, float max_q) {
  const NearestInteger nearest = {0.0f, max_q};
  const float inverse = inverse_or_zero(fit.scale);
  float errors[kLanes] = {};
  float q[kLanes] = {};
  float qq[kLanes] = {};
  float xq[kLanes] = {};
  for (std::size_t i = 0; i < values.len; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float x = values.x[i + lane];
      const float level = nearest((x - fit.offset) * inverse);
      const float difference = x - fit.scale * level - fit.offset;
      const float weighted = values.w[i + lane] * level;
      errors[lane] += values.w[i + lane] * difference * difference;
      q[lane] += weighted;
      qq[lane] += weighted * level;
      xq[lane] += weighted * x;
    }
  }
  return {total(errors), {total(q), total(qq), total(xq)}};
}

UnitSums unit_sums(const AffineTotals& totals, const AffineError& found, ScaleMin stored) {
  const double scale = stored.scale;
  const double minimum = stored.min;
  return {.error = found.error,
          .aa = scale * scale * found.sums.qq,
          .xa = scale * found.sums.xq,
          .ab = scale * minimum * found.sums.q,
          .bb = minimum * minimum * totals.w,
          .xb = minimum * totals.x};
}

// A number of a block: `value` in whole units, and the integers around it.
struct Around {
  int first;
  int last;
};

Around around(float value, float unit, int max) {
  const int middle =
      std::clamp(static_cast<int>(std::round(value * inverse_or_zero(unit))), 0, max);
  return {std::max(middle - 1, 0), std::min(middle + 1, max)};
}

struct AffineChoice {
  AffineScales scales;
  UnitSums sums;
};

AffineChoice choose_affine(const WeightedValues& values, const AffineFormat& format,
                           const AffineFit* fits, AffineFit units) {
  AffineChoice choice;
  choice.sums.error = 0.0;
  choice.scales.d = nearest_f16(units.scale);
  choice.scales.min = nearest_f16(units.offset);
  const float d = f16_to_f32(choice.scales.d);
  const float min = f16_to_f32(choice.scales.min);
  const std::size_t group_len = values.len / format.num_groups;
  for (std::size_t g = 0; g < format.num_groups; ++g) {
    const WeightedValues group = values.part(g * group_len, group_len);
    const AffineTotals totals = sum_values(group);
    const Around scales = around(fits[g].scale, d, format.max_scale);
    const Around minima = around(-fits[g].offset, min, format.max_scale);
    UnitSums best;
    for (int scale = scales.first; scale <= scales.last; ++scale) {
      for (int minimum = minima.first; minimum <= minima.last; ++minimum) {
        const AffineFit fit = {d * static_cast<float>(scale), -min * static_cast<float>(minimum)};
        const auto found = affine_error_at(group, fit, static_cast<float>(format.max_q));
        if (found.error >= best.error) continue;
        const ScaleMin stored = {static_cast<std::uint8_t>(scale),
                                 static_cast<std::uint8_t>(minimum)};
        best = unit_sums(totals, found, stored);
        choice.scales.groups[g] = stored;
      }
    }
    choice.sums.error += best.error;
    choice.sums.aa += best.aa;
    choice.sums.xa += best.xa;
    choice.sums.ab += best.ab;
    choice.sums.bb += best.bb;
    choice.sums.xb += best.xb;
  }
  return choice;
}

// The best units for the integers and levels of a choice; negative ones count as none.
AffineFit solve_units(const UnitSums& sums) {
  const double determinant = sums.aa * sums.bb - sums.ab * sums.ab;
  double d = sums.aa > 0.0 ? sums.xa / sums.aa : 0.0;
  double min = 0.0;
  if (determinant > 1e-9 * sums.aa * sums.bb) {
    d = (sums.xa * sums.bb - sums.xb * sums.ab) / determinant;
    min = (sums.xa * sums.ab - sums.xb * sums.aa) / determinant;
  }
  return {static_cast<float>(std::max(d, 0.0)), static_cast<float>(std::max(min, 0.0))};
}

}  // namespace

std::uint16_t nearest_f16(float x) {
  constexpr float kMaxFloat16 = 65504.0f;
  return f32_to_f16(std::clamp(x, -kMaxFloat16, kMaxFloat16));
}

AffineFit fit_affine(const WeightedValues& values, int max_q) {
  return search_affine(values, max_q, std::numeric_limits<float>::infinity());
}

float fit_signed(const WeightedValues& values, const SignedLevels& levels) {
  switch (levels.kind) {
    case LevelKind::kIntegers:
      return search_signed(values, levels, nearest_integer(levels));
    case LevelKind::kIQ4:
      return search_signed(values, levels, NearestIQ4());
    case LevelKind::kNF4:
      return search_signed(values, levels, NearestNF4());
  }
  return 0.0f;
}

AffineScales fit_affine_scales(const WeightedValues& values, const AffineFormat& format) {
  AffineFit fits[16];
  AffineFit largest;
  const std::size_t group_len = values.len / format.num_groups;
  for (std::size_t g = 0; g < format.num_groups; ++g) {
    // A minimum can only lower the group.
    fits[g] = search_affine(values.part(g * group_len, group_len), format.max_q, 0.0f);
    largest.scale = std::max(largest.scale, fits[g].scale);
    largest.offset = std::max(largest.offset, -fits[g].offset);
  }
  const auto max_scale = static_cast<float>(format.max_scale);
  AffineChoice best =
      choose_affine(values, format, fits, {largest.scale / max_scale, largest.offset / max_scale});
  for (int i = 0; i < kRefinements; ++i) {
    const AffineChoice choice = choose_affine(values, format, fits, solve_units(best.sums));
    if (choice.sums.error >= best.sums.error) break;
    best = choice;
  }
  return best.scales;
}

SignedScales fit_signed_scales(const WeightedValues& values, const SignedFormat& format) {
  if (format.levels.kind == LevelKind::kIQ4)
    return search_signed_scales(values, format, NearestIQ4());
  return search_signed_scales(values, format, nearest_integer(format.levels));
}

}  // namespace hearth
