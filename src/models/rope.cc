#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "base/status.h"

namespace hearth {
namespace {

// The frequency index at which a full context makes `num_rotations` turns (YaRN, section 3.2).
double correction_index(const RopeConfig& config, double num_rotations) {
  const double original = static_cast<double>(config.original_context_len);
  return static_cast<double>(config.rope_dim) *
         std::log(original / (num_rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(config.freq_base));
}

// Share of extrapolation (the original frequency) per frequency index: 1 for fast rotations, 0 for
// slow ones, linear between.
std::vector<double> yarn_extrapolation(const RopeConfig& config) {
  const double last = static_cast<double>(config.rope_dim) - 1.0;
  double first = correction_index(config, config.yarn_beta_fast);
  double end = correction_index(config, config.yarn_beta_slow);
  if (config.yarn_truncate) {
    first = std::floor(first);
    end = std::ceil(end);
  }
  const double low = std::max(0.0, first);
  const double high = std::min(last, end);
  std::vector<double> share(config.rope_dim / 2);
  for (std::size_t i = 0; i < share.size(); ++i) {
    const double ramp = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    share[i] = (1.0 - std::clamp(ramp, 0.0, 1.0)) * config.yarn_ext_factor;
  }
  return share;
}

std::vector<double> frequencies(const RopeConfig& config, std::span<const float> freq_factors) {
  HEARTH_CHECK(freq_factors.empty() || freq_factors.size() == config.rope_dim / 2);
  std::vector<double> result(config.rope_dim / 2);
  std::vector<double> extrapolation(result.size(), 0.0);
  if (config.scaling == RopeScaling::kYarn) extrapolation = yarn_extrapolation(config);
  const double interpolation = 1.0 / config.factor;
  for (std::size_t i = 0; i < result.size(); ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(config.rope_dim);
    double frequency = std::pow(config.freq_base, exponent);
    if (!freq_factors.empty()) frequency /= static_cast<double>(freq_factors[i]);
    result[i] = frequency * (interpolation * (1.0 - extrapolation[i]) + extrapolation[i]);
  }
  return result;
}

}  // namespace

Rope::Rope(const RopeConfig& config, std::size_t max_positions) {
  const bool extended =
      config.scaling == RopeScaling::kLong && max_positions > config.original_context_len;
  magnitude_ = extended ? config.long_attn_factor : config.attn_factor;
  frequencies_ = frequencies(config, extended ? config.long_freq_factors : config.freq_factors);
}

void Rope::write_angles(std::span<const std::int32_t> positions, std::span<float> out) const {
  HEARTH_CHECK(out.size() == positions.size() * 2 * frequencies_.size());
  float* cos_sin = out.data();
  for (const std::int32_t position : positions) {
    for (const double frequency : frequencies_) {
      const double angle = static_cast<double>(position) * frequency;
      *cos_sin++ = static_cast<float>(magnitude_ * std::cos(angle));
      *cos_sin++ = static_cast<float>(magnitude_ * std::sin(angle));
    }
  }
}

}  // namespace hearth
