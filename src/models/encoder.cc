#include "models/encoder.h"

#include <algorithm>
#include <utility>

#include "models/decoder_encoder.h"
#include "models/encoder_batch.h"
#include "models/encoder_config.h"
#include "models/transformer_encoder.h"

namespace hearth {

void ShorterVectors::add(std::span<const std::size_t> further, std::size_t width) {
  for (const std::size_t length : further) {
    const auto place = std::ranges::lower_bound(lengths, length);
    if (length == 0 || length >= width || (place != lengths.end() && *place == length)) continue;
    lengths.insert(place, length);
  }
}

bool ShorterVectors::allow(std::size_t length) const {
  return any || length == usual || std::ranges::binary_search(lengths, length);
}

Result<std::unique_ptr<Encoder>> load_encoder(const ModelFile& file, Device& device,
                                              const EncoderLimits& limits) {
  HEARTH_RETURN_IF_ERROR(check_encoder_limits(limits));
  HEARTH_ASSIGN_OR_RETURN(EncoderPlan plan, read_encoder_plan(file));
  if (!plan.transformer.bidirectional) {
    return DecoderEncoder::load(file, std::move(plan), device, limits);
  }
  return TransformerEncoder::load(file, std::move(plan), device, limits);
}

}  // namespace hearth
