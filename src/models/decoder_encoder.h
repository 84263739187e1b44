// A decoder as an encoder: what it has read of a text at the last token is the text's vector.
// Internal to the models module; see encoder.h.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "kv/kv_storage.h"
#include "models/decoder.h"
#include "models/encoder.h"
#include "models/encoder_batch.h"
#include "models/encoder_config.h"
#include "models/encoder_head.h"

namespace hearth {

class DecoderEncoder final : public Encoder {
 public:
  static Result<std::unique_ptr<Encoder>> load(const ModelFile& file, EncoderPlan plan,
                                               Device& device, const EncoderLimits& limits);

  const EncoderConfig& config() const override { return config_; }
  const EncoderLimits& limits() const override { return limits_; }
  void encode(std::span<const EncoderInput> inputs, MatrixView out) override;
  std::size_t num_parameters() const override { return decoder_->num_parameters(); }
  std::size_t weight_bytes() const override { return decoder_->weight_bytes(); }
  std::size_t activation_bytes() const override {
    return decoder_->activation_bytes() + kv_.bytes() + batch_.bytes() + head_.bytes();
  }

 private:
  DecoderEncoder(EncoderConfig config, std::unique_ptr<Decoder> decoder, Device& device,
                 KvStorage kv)
      : config_(std::move(config)),
        decoder_(std::move(decoder)),
        device_(device),
        kv_(std::move(kv)) {}

  Status reserve(const EncoderLimits& limits);

  EncoderConfig config_;
  std::unique_ptr<Decoder> decoder_;
  Device& device_;
  KvStorage kv_;  // One layer's, used by all in turn.
  EncoderLimits limits_;
  EncoderBatch batch_;
  EncoderHead head_;
};

}  // namespace hearth
