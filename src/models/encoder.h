// Encoders: models that turn a whole text into one vector, or into the scores of labels. What one
// is stands in EncoderConfig; how it is computed is data too (encoder_config.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "kernels/device.h"

namespace hearth {

// How the hidden states of a sequence become one vector.
enum class Pooling : std::uint8_t {
  kCls,   // The first token's.
  kMean,  // The mean over all tokens.
  kLast,  // The last token's.
  kNone,  // None: a classification head reads the sequence itself.
};

// What turns a head's raw outputs into scores. encode() gives the raw outputs.
enum class HeadActivation : std::uint8_t {
  kNone,     // The outputs are the scores: regression, and rerankers made for raw scores.
  kSoftmax,  // Over all labels: one of them applies.
  kSigmoid,  // Each by itself: rerankers with one label, and several labels at once.
};

// A text put in front of an input for a purpose, as sentence-transformers names them.
struct EncoderPrompt {
  std::string name;  // "query"
  std::string text;  // "query: "; may be empty.
};

// To which lengths vectors may be cut: of models trained so that the first numbers say most
// (Matryoshka).
struct ShorterVectors {
  std::vector<std::size_t> lengths;  // Below the width, ascending.
  bool any = false;                  // To every one below the width.
  std::size_t usual = 0;             // What they are cut to where nobody asks; 0: not at all.

  // Lengths that others allow besides; those from `width` on mean nothing.
  void add(std::span<const std::size_t> further, std::size_t width);
  bool allow(std::size_t length) const;
};

// Where the two texts go in EncoderConfig::pair_template.
inline constexpr std::string_view kQueryPlace = "{query}";
inline constexpr std::string_view kDocumentPlace = "{document}";

// What a loaded encoder is; immutable.
struct EncoderConfig {
  std::string architecture;         // "bert"
  std::string name;                 // general.name; may be empty.
  std::size_t max_tokens = 0;       // Longest sequence, special tokens included.
  std::size_t width = 0;            // Numbers per result: the vector's, or the labels' count.
  std::size_t vocab_size = 0;       // Token ids are 0 to vocab_size - 1.
  std::size_t num_token_types = 0;  // Of EncoderInput::token_types; 0: the model knows none.
  Pooling pooling = Pooling::kMean;
  // Vectors have length 1. Files that do not say: GGUF yes (as llama.cpp does), directories no (as
  // sentence-transformers does).
  bool normalize = false;
  std::vector<std::string> labels;  // Of a classification head, in order; empty: makes vectors.
  HeadActivation head_activation = HeadActivation::kNone;
  // How a head reads two texts where not as the tokenizer joins them (decoders): a text with
  // kQueryPlace and kDocumentPlace; empty: the files do not say.
  std::optional<std::string> pair_template;
  std::vector<EncoderPrompt> prompts;
  ShorterVectors shorter;
  std::string default_prompt;  // The name of the one to use where none is asked for; empty: none.

  bool is_classifier() const { return !labels.empty(); }
};

// One sequence. Borrows.
struct EncoderInput {
  std::span<const std::int32_t> tokens;  // 1 to max_tokens ids.
  std::span<const std::int32_t>
      token_types;  // As many, or empty: zeros. Models without types ignore them.
};

// The largest batch to come.
struct EncoderLimits {
  std::size_t max_batch_tokens = 0;  // Of all inputs together.
  std::size_t max_batch_sequences = 0;
};

// Owned and called by one thread at a time; which one may change between calls.
class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual const EncoderConfig& config() const = 0;
  virtual const EncoderLimits& limits() const = 0;

  // Rows of `out` [inputs.size(), width]: vectors, or a head's raw outputs. All inputs go through
  // in one ragged batch, without padding. Each row's bits do not depend on the other inputs.
  // Allocates nothing. Inputs beyond the limits, longer than max_tokens or with ids out of range
  // are broken invariants: callers check them.
  virtual void encode(std::span<const EncoderInput> inputs, MatrixView out) = 0;

  virtual std::size_t num_parameters() const = 0;
  virtual std::size_t weight_bytes() const = 0;  // Repacked copies, and mapped data read in place.
  virtual std::size_t activation_bytes() const = 0;  // Working memory, keys and values included.
};

// True when the file's architecture is one of encoders (see supported_encoders()), or one of
// decoders and the file says how to pool: it was trained to embed. Whether or not it can be loaded.
bool is_encoder(const ModelFile& file);

// Names of the architectures, comma-separated, for messages.
std::string supported_encoders();

// What the file describes, without loading it. kUnimplemented names an architecture or feature that
// this build does not know and lists what it does; kDataLoss names a missing, mistyped or
// contradictory key.
Result<EncoderConfig> read_encoder_description(const ModelFile& file);

// Borrows `file` and `device`, which must outlive the encoder. Besides the errors of
// read_encoder_description(): kDataLoss lists all tensors that are missing or of another shape,
// kResourceExhausted without memory for weights or for batches of that size.
Result<std::unique_ptr<Encoder>> load_encoder(const ModelFile& file, Device& device,
                                              const EncoderLimits& limits);

}  // namespace hearth
