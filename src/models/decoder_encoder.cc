#include "models/decoder_encoder.h"

#include <new>

namespace hearth {

Result<std::unique_ptr<Encoder>> DecoderEncoder::load(const ModelFile& file, EncoderPlan plan,
                                                      Device& device, const EncoderLimits& limits) {
  const HeadShape heads = plan.transformer.heads;
  WeightBinder binder(file, device);
  EncoderHead head(plan.head, plan.transformer, binder);
  HEARTH_ASSIGN_OR_RETURN(auto decoder, Decoder::load(binder, std::move(plan.transformer), device,
                                                      DecoderResult::kHiddenStates));
  HEARTH_ASSIGN_OR_RETURN(KvStorage kv, make_encoder_kv(heads, limits));
  std::unique_ptr<DecoderEncoder> encoder(
      new DecoderEncoder(std::move(plan.description), std::move(decoder), device, std::move(kv)));
  encoder->head_ = std::move(head);
  HEARTH_RETURN_IF_ERROR(encoder->reserve(limits));
  return encoder;
}

Status DecoderEncoder::reserve(const EncoderLimits& limits) {
  try {
    batch_.reserve(limits);
    head_.reserve(limits.max_batch_sequences);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kResourceExhausted,
                       "not enough memory for batches of {} tokens in {} sequences",
                       limits.max_batch_tokens, limits.max_batch_sequences);
  }
  device_.reserve({.max_tokens = limits.max_batch_sequences, .max_features = head_.max_features()});
  limits_ = limits;
  return decoder_->reserve(limits.max_batch_tokens, limits.max_batch_sequences, config_.max_tokens);
}

void DecoderEncoder::encode(std::span<const EncoderInput> inputs, MatrixView out) {
  HEARTH_CHECK(out.rows == inputs.size() && out.cols == config_.width);
  if (inputs.empty()) return;
  batch_.pack(inputs, config_, Pooling::kLast);
  const ConstMatrixView states =
      decoder_->hidden_states({.tokens = std::span(batch_.tokens).first(batch_.num_tokens),
                               .positions = std::span(batch_.positions).first(batch_.num_tokens),
                               .sequences = batch_.sequences,
                               .logit_rows = std::span(batch_.read_rows).first(inputs.size())},
                              kv_);
  head_.run(device_, states, out);
}

}  // namespace hearth
