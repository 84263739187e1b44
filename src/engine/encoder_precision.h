// In which precision an encoder multiplies, and the proof that it may.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "kernels/device.h"
#include "models/encoder.h"

namespace hearth {

enum class EncoderPrecision : std::uint8_t {
  kAuto,  // kBf16 where the CPU multiplies it faster and the model's outputs hardly change.
  kF32,
  kBf16,
};

// "auto", "f32", "bf16".
std::string_view encoder_precision_name(EncoderPrecision precision);

// How far the outputs of one model in two precisions are apart, of a few made-up texts.
struct PrecisionGap {
  std::size_t num_texts = 0;
  double least_cosine = 1;    // Of vectors.
  double largest_change = 0;  // Of a head's raw outputs, relative to those beyond 1.

  // By a margin: texts of users are others.
  bool is_small() const;
};

// kInvalidArgument when kBf16 changes nothing: no layer's matrix is of plain floats.
Status check_bf16_applies(const ModelFile& file);

// Whether kAuto should try kBf16: the kernel set is fast at it, and no layer's matrix is quantized.
bool may_round_products(const ModelFile& file, std::string_view kernels);

// Short sequences of arbitrary tokens, fewer of larger models, and what a model makes of them.
// Immutable.
class PrecisionProbe {
 public:
  // Computes the outputs in float32 by a device of its own, which goes again. Texts have at most
  // `max_text_len` tokens (at least 1).
  static Result<PrecisionProbe> make(const ModelFile& file, const CpuDeviceOptions& options,
                                     std::size_t max_text_len);

  // Of an encoder of the same file, which takes one text at a time: limits() at least.
  PrecisionGap compare(Encoder& encoder) const;
  EncoderLimits limits() const;

 private:
  PrecisionProbe(std::size_t vocab_size, std::size_t num_texts, std::size_t text_len);
  std::size_t num_texts() const { return tokens_.size() / text_len_; }
  // [num_texts, width]
  std::vector<float> outputs_of(Encoder& encoder) const;

  std::size_t text_len_ = 0;
  std::vector<std::int32_t> tokens_;  // [num_texts, text_len]
  std::vector<float> exact_;          // [num_texts, width]
};

}  // namespace hearth
