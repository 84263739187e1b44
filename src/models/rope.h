// Rotation angles of rotary position embedding, with every context-extension scheme folded in.
#pragma once

#include <cstddef>
#include <vector>

#include "models/model_config.h"

namespace hearth {

// cos and sin of every angle for positions [0, max_positions): [max_positions, rope_dim / 2, 2], as
// RopeTable wants it. Angles are formed in double precision. YaRN's attention temperature and
// LongRoPE's factor are on both cos and sin.
std::vector<float> make_rope_table(const RopeConfig& config, std::size_t max_positions);

}  // namespace hearth
