// What config.json says about a classification head: its labels, and how outputs become scores.
// Internal to the models module.
#pragma once

#include "base/status.h"
#include "models/hf_config.h"
#include "models/hf_families.h"

namespace hearth {

Status translate_hf_labels(const HfObject& config, const HfFamily& family, MetadataWriter& out);

}  // namespace hearth
