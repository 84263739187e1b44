// What a model's authors recommend for sampling.
#pragma once

#include <string>

#include "base/status.h"
#include "formats/model_file.h"
#include "sampling/sampler.h"

namespace hearth {

// Temperature, top_p, top_k, min_p and repetition penalty of the metadata keys general.sampling.*
// (GGUF specification; from generation_config.json in directories); where there is none, the field
// stays as SamplingParams has it. kDataLoss for a value outside the sampler's limits.
Result<SamplingParams> read_sampling_defaults(const ModelFile& file);

// "temperature 0.6, top_p 0.9": what differs from SamplingParams' own values; may be empty.
std::string describe_sampling(const SamplingParams& params);

}  // namespace hearth
