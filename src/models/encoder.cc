#include "models/encoder.h"

#include <utility>

#include "models/decoder_encoder.h"
#include "models/encoder_batch.h"
#include "models/encoder_config.h"
#include "models/transformer_encoder.h"

namespace hearth {

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
