// The choice of a block's scales by the least weighted error. Internal to the tensor module.
//
// The levels that values take and the scale that fits those levels best are found by turns: for
// given levels the best scale (and offset) is a least-squares problem with a closed solution, for a
// given scale every value takes its nearest level. Several first scales are tried, because that
// search ends in the nearest valley. Scales that a block stores as small integers are then chosen
// again among the integers around them, with the rounded unit they will have.
//
// Deterministic: sums have one fixed order. Thread-safe; nothing is kept between calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/quant_blocks.h"

namespace hearth {

// Values of a block and how much a squared error of each counts: not negative, and not all zero.
struct WeightedValues {
  const float* x = nullptr;
  const float* w = nullptr;
  std::size_t len = 0;  // A multiple of 8.

  WeightedValues part(std::size_t first, std::size_t count) const {
    return {x + first, w + first, count};
  }
};

// The nearest finite float16: what fits values near its limits best may lie beyond them.
std::uint16_t nearest_f16(float x);

// Levels 0 to max_q; a group's value is scale * q + offset.
struct AffineFit {
  float scale = 0.0f;  // Not negative.
  float offset = 0.0f;
};
AffineFit fit_affine(const WeightedValues& values, int max_q);

// Levels of a format without offsets: all integers in [low, high], or the format's own.
enum class LevelKind : std::uint8_t { kIntegers, kIQ4, kNF4 };
struct SignedLevels {
  int low = 0;  // The level farthest from zero.
  int high = 0;
  LevelKind kind = LevelKind::kIntegers;
};
// The scale of a group whose value is scale * level.
float fit_signed(const WeightedValues& values, const SignedLevels& levels);

// How the groups of a block with minima (Q2_K, Q4_K, Q5_K) are stored.
struct AffineFormat {
  std::size_t num_groups = 0;
  int max_q = 0;      // Largest stored value.
  int max_scale = 0;  // Largest stored scale and minimum.
};
// The scales of such a block: group g's values are d * scale[g] * q - min * minimum[g].
struct AffineScales {
  std::uint16_t d = 0;    // float16
  std::uint16_t min = 0;  // float16
  ScaleMin groups[16] = {};
};
AffineScales fit_affine_scales(const WeightedValues& values, const AffineFormat& format);

// The same without minima: group g's values are d * scale[g] * level.
struct SignedFormat {
  std::size_t num_groups = 0;
  SignedLevels levels;
  int min_scale = 0;  // Stored scales, both included.
  int max_scale = 0;
};
struct SignedScales {
  std::uint16_t d = 0;  // float16
  int groups[16] = {};
};
SignedScales fit_signed_scales(const WeightedValues& values, const SignedFormat& format);

}  // namespace hearth
