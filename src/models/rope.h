// Rotation angles of rotary position embedding, with every context-extension scheme folded in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/model_config.h"

namespace hearth {

// From positions to angles, step by step: a table of all positions of a long context would cost
// tens of megabytes and a noticeable part of a start. Immutable.
class Rope {
 public:
  Rope() = default;  // Of no angles.
  // LongRoPE has other angles where positions go beyond those the model was first trained on.
  Rope(const RopeConfig& config, std::size_t max_positions);

  // cos and sin of every angle as RopeTable wants them: out [positions.size(), rope_dim / 2, 2].
  // Angles are formed in double precision. YaRN's attention temperature and LongRoPE's factor are
  // on both cos and sin.
  void write_angles(std::span<const std::int32_t> positions, std::span<float> out) const;

 private:
  std::vector<double> frequencies_;  // [rope_dim / 2]
  double magnitude_ = 1.0;
};

}  // namespace hearth
